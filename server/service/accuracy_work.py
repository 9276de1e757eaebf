"""Orders accuracy evaluations of candidates: what is awaited, and the job that brings it."""

from __future__ import annotations

from nas_engine.domain.objective import Metric
from server.service.errors import InvalidValueError
from server.service.ports.unit_of_work import Topic, Transaction
from server.service.settings import SearchSettings
from server.service.states import JobKind
from server.service.values.candidate import AwaitedEvaluation, Candidate
from server.service.values.job import NewJob
from server.service.values.payloads import ArchitectureDocument, EvaluatePayload
from server.service.values.search import Search


class AccuracyWork:
    """Orders EVALUATE jobs; runs inside the caller's transaction, on locked searches."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings

    def order(self, tx: Transaction, search: Search, candidate: Candidate, metric: Metric = Metric.TOP1) -> None:
        """Have a candidate evaluated with the search's current supernet version, as the next attempt.

        Raises:
            InvalidValueError: the search has no supernet version.
        """
        if search.supernet_version_id is None:
            raise InvalidValueError(f"search {search.id} wants {metric.label} and has no supernet version")
        attempt = next_attempt(tx, candidate, metric)
        expect(tx, search, candidate, metric, attempt, search.supernet_version_id)
        payload = EvaluatePayload(
            search_id=search.id,
            candidate_id=candidate.id,
            architecture=ArchitectureDocument.of(candidate.record.architecture),
            supernet_version_id=search.supernet_version_id,
            attempt=attempt,
            split="test" if metric is Metric.TEST_TOP1 else "validation",
        )
        tx.jobs.add(
            NewJob(
                kind=JobKind.EVALUATE,
                payload=payload.to_json(),
                dedupe_key=f"evaluate:{metric.label}:{candidate.id}:{attempt}",
                priority=search.spec.priority,
                max_attempts=self._settings.max_evaluation_attempts,
                search_id=search.id,
                candidate_id=candidate.id,
            )
        )
        tx.wake(Topic.WORKER_JOBS)


def expect(
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
    tx.evaluations.await_many([awaited])


def next_attempt(tx: Transaction, candidate: Candidate, metric: Metric) -> int:
    """Number of the next evaluation of a metric of a candidate."""
    attempts = [e.attempt for e in tx.evaluations.of_candidates([candidate.id]) if e.metric is metric]
    return max(attempts, default=0) + 1
