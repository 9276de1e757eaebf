"""Orders accuracy evaluations of candidates."""

from __future__ import annotations

from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import ACCURACIES, TOP1, declared_metric
from server.candidates.candidate import Candidate
from server.candidates.evaluations import next_attempt, record_awaited
from server.candidates.payloads import EvaluatePayload
from server.candidates.search import Search
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.core.errors import InvalidValueError
from server.jobs.job import Job, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.spaces.architecture import ArchitectureDocument


class AccuracyScheduler:
    """Orders EVALUATE jobs; runs inside the caller's transaction, on locked searches."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings

    def order(self, tx: Transaction, search: Search, candidate: Candidate, metric: Metric = TOP1) -> Job:
        """Have a candidate evaluated with the search's current supernet version, as the next attempt.

        Raises:
            InvalidValueError: the search has no supernet version.
        """
        if search.supernet_version_id is None:
            raise InvalidValueError(f"search {search.id} wants {metric.name} and has no supernet version")
        attempt = next_attempt(tx, candidate, metric)
        record_awaited(tx, search, candidate, metric, attempt, search.supernet_version_id)
        declared = declared_metric(metric.name)
        payload = EvaluatePayload(
            search_id=search.id,
            candidate_id=candidate.id,
            architecture=ArchitectureDocument.of(candidate.record.architecture),
            supernet_version_id=search.supernet_version_id,
            attempt=attempt,
            metric=None if metric in ACCURACIES else metric.name,
            split="validation" if declared is None else declared.split,
        )
        job = JobStore(tx).add_job(
            NewJob(
                kind=JobKind.EVALUATE,
                payload=payload.to_json(),
                dedupe_key=f"evaluate:{metric.name}:{candidate.id}:{attempt}",
                priority=search.spec.priority,
                max_attempts=self._settings.max_evaluation_attempts,
                search_id=search.id,
                owner=search.owner,
                candidate_id=candidate.id,
            )
        )
        tx.wake(Topic.WORKER_JOBS)
        return job
