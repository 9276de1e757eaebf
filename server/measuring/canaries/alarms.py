"""What follows from a canary that is off: which results to take again, and which devices share a pool."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from nas_engine.domain.objective import Metric
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import lock_searches
from server.candidates.states import CandidateState
from server.core.database.transaction import Transaction
from server.fleet.device import Device, DeviceState
from server.fleet.store import DeviceStore
from server.measuring.canaries.canary import CanaryRecord
from server.measuring.canaries.store import CanaryStore
from server.measuring.orders import LatencyScheduler

POOL_TOLERANCE = 0.03
"""Share by which the canaries of devices that share a pool may differ."""


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
            found = [
                e
                for e in EvaluationStore(tx).evaluations_of_candidates([candidate.id])
                if e.metric is Metric.LATENCY_US
            ]
            awaits = any(
                a.metric is Metric.LATENCY_US for a in EvaluationStore(tx).awaited_evaluations_of(candidate.id)
            )
            newest = max(found, key=lambda e: e.attempt, default=None)
            if newest is None or newest.measurement_id not in self._ids or awaits:
                continue
            self._searches[search.id] = latency.request(tx, search, candidate, newest.attempt + 1)
            num_ordered += 1
        return num_ordered


def pool_canaries(tx: Transaction, device: Device, pool_key: str, artifact_sha256: str) -> tuple[CanaryRecord, ...]:
    """The last good canaries of the other active devices that offer this pool key."""
    found = []
    for other in DeviceStore(tx).devices_of_type(device.device_type):
        if other.id == device.id or other.state is not DeviceState.ACTIVE:
            continue
        if pool_key in other.capabilities.pool_keys():
            good = CanaryStore(tx).last_canary_under(other.id, pool_key, artifact_sha256, passed=True)
            found += [] if good is None else [good]
    return tuple(found)


def known_answer(canaries: Iterable[CanaryRecord]) -> str:
    """The output digest that most of them gave; empty where none told one."""
    digests = Counter(canary.output_digest for canary in canaries if canary.output_digest)
    return digests.most_common(1)[0][0] if digests else ""


def pool_disagreement(
    others: Sequence[CanaryRecord], median_us: float, output_digest: str | None, tolerance: float = POOL_TOLERANCE
) -> str:
    """How a canary differs from those of its pool; empty where it does not, or nobody else has one."""
    if not others:
        return ""
    answer = known_answer(others)
    if output_digest and answer and output_digest != answer:
        return f"its canary gives other outputs than {len(others)} others of its pool: find out which of them are right"
    pool_us = statistics.median(canary.median_us for canary in others)
    if abs(median_us / pool_us - 1.0) <= tolerance:
        return ""
    return (
        f"its canary takes {median_us:.1f} us, that of {len(others)} others of its pool {pool_us:.1f} us: "
        f"within {tolerance:.0%} they would share a pool; find out why, or give it another clocks profile"
    )
