"""What follows from a canary that is off: which results to take again."""

from __future__ import annotations

from collections.abc import Sequence

from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import lock_searches
from server.candidates.states import CandidateState
from server.core.database.transaction import Transaction
from server.measuring.orders import LatencyScheduler


class CanaryAlarms:
    """Measurements that became suspect, and the searches that rest on them, locked. Make it before locking devices."""

    def __init__(self, tx: Transaction, measurement_ids: Sequence[str]) -> None:
        self._tx = tx
        self._ids = frozenset(measurement_ids)
        resting = EvaluationStore(tx).evaluations_from_measurements(measurement_ids) if measurement_ids else ()
        self._candidate_ids = tuple(dict.fromkeys(evaluation.candidate_id for evaluation in resting))
        self._searches = lock_searches(tx, (evaluation.search_id for evaluation in resting))

    def measure_again(self, latency: LatencyScheduler) -> int:
        """Order a new measurement for every candidate of a running search whose current latency is suspect.

        Returns:
            How many were ordered.
        """
        tx, num_ordered = self._tx, 0
        for candidate in CandidateStore(tx).get_candidates(self._candidate_ids):
            search = self._searches[candidate.search_id]
            if search.state.final or candidate.state is not CandidateState.COMPLETE:
                continue
            awaited = {one.metric for one in EvaluationStore(tx).awaited_evaluations_of(candidate.id)}
            newest = {  # by attempt: the last one stays
                one.metric: one
                for one in EvaluationStore(tx).evaluations_of_candidates([candidate.id])
                if search.spec.board_of(one.metric) is not None and one.metric not in awaited
            }
            attempts = {metric: one.attempt + 1 for metric, one in newest.items() if one.measurement_id in self._ids}
            if attempts:
                self._searches[search.id] = latency.request(tx, search, candidate, attempts)
                num_ordered += 1
        return num_ordered
