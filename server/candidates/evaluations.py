"""Evaluations of candidates: which is awaited, which attempt it is, what a table knows already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.domain.metric import Metric
from server.candidates.candidate import AwaitedEvaluation, Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import record_value
from server.candidates.search import Search
from server.candidates.states import EvaluationSource
from server.core.database.transaction import Transaction
from server.core.errors import InvalidValueError
from server.core.ids import IdPrefix, new_id
from server.spaces.architecture import KnownValue


def record_known(
    tx: Transaction,
    search: Search,
    candidate: Candidate,
    awaited: Sequence[Metric],
    known: Mapping[Metric, KnownValue],
) -> Search:
    """Give a candidate of a locked search the values that its table holds; completes it.

    Raises:
        InvalidValueError: the table lacks a metric that the search wants.
    """
    missing = [metric.name for metric in awaited if metric not in known]
    if missing:
        raise InvalidValueError(f"the table of search {search.id} holds no {', '.join(missing)} of {candidate.arch_id}")
    # All of them are awaited before the first is recorded, which would complete the candidate otherwise.
    for metric in awaited:
        record_awaited(tx, search, candidate, metric, 1, None)
    for metric in awaited:
        evaluation = Evaluation(
            id=new_id(IdPrefix.EVALUATION),
            search_id=search.id,
            candidate_id=candidate.id,
            metric=metric,
            value=known[metric].value,
            uncertainty=known[metric].standard_error,
            source=EvaluationSource.TABLE,
            created_at=tx.now(),
        )
        search = record_value(tx, search, CandidateStore(tx).get_candidate(candidate.id), evaluation)
    return search


def record_awaited(
    tx: Transaction,
    search: Search,
    candidate: Candidate,
    metric: Metric,
    attempt: int,
    supernet_version_id: str | None,
) -> None:
    """Hold the generation barrier, and keep the candidate unfinished, until this evaluation is there."""
    awaited = AwaitedEvaluation(
        search_id=search.id,
        candidate_id=candidate.id,
        metric=metric,
        attempt=attempt,
        supernet_version_id=supernet_version_id,
    )
    EvaluationStore(tx).await_evaluations([awaited])


def next_attempt(tx: Transaction, candidate: Candidate, metric: Metric) -> int:
    """Number of the next evaluation of a metric of a candidate."""
    attempts = [e.attempt for e in EvaluationStore(tx).evaluations_of_candidates([candidate.id]) if e.metric == metric]
    return max(attempts, default=0) + 1
