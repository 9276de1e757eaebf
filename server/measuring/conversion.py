"""Results of conversions: the model file is filed, and what it was made for is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas_engine.domain.json_value import JsonValue
from server.artifacts.artifact import ModelExport, ModelFormat, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import advance, affected_searches, end_candidate
from server.candidates.search import Search
from server.candidates.states import CandidateState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidValueError
from server.core.ids import IdPrefix, new_id
from server.jobs.completion import complete_job
from server.jobs.job import Job, JobTarget, LeaseRef, NewJob
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.measuring.classify_orders import queue_classification
from server.measuring.orders import LatencyScheduler, ModelFile, npu_refusal
from server.measuring.payloads import ConvertPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedModel:
    """A model file that was made and stored as an artifact.

    Attributes:
        cpu_operators: operators the converter left on the processor.
        log_sha256: what the converter printed, an artifact; None where there is none.
    """

    sha256: str
    format: ModelFormat
    weights: WeightsOrigin
    supernet_version_id: str | None = None
    cpu_operators: tuple[str, ...] = ()
    log_sha256: str | None = None

    @property
    def log(self) -> dict[str, JsonValue]:
        """The member of a job's result that names the log; none where there is none."""
        return {} if self.log_sha256 is None else {"log_sha256": self.log_sha256}


class ConversionResults:
    """Takes model files in from the workers that made them."""

    def __init__(self, uow: UnitOfWork, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._settings = settings or SearchSettings()
        self._latency = LatencyScheduler(self._settings)

    def record(self, lease: LeaseRef, conversion: ConvertedModel, *others: ConvertedModel) -> None:
        """End a CONVERT job with its model file (an artifact already), and queue the measuring it was made for.

        Args:
            lease: of the job.
            conversion: in the format the job asks for.
            others: further files that came of the same conversion.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
            NotFoundError: the model file is no artifact.
        """

        def work(tx: Transaction) -> None:
            seen = JobStore(tx).get_job(lease.job_id)
            payload = read_payload(ConvertPayload, seen.payload)
            affected_searches(tx, seen)
            job = JobStore(tx).lock_job_of_lease(lease)
            for made in (conversion, *others):
                ArtifactStore(tx).get_artifact(made.sha256)
                if payload.arch_id is not None:
                    ArtifactStore(tx).add_export(_export(tx, payload, payload.arch_id, made))
            model = ModelFile(conversion.sha256, conversion.format, conversion.cpu_operators)
            if payload.deploys:
                operators = list(conversion.cpu_operators)
                complete_job(tx, job, {"sha256": conversion.sha256, "cpu_operators": operators, **conversion.log})
                return
            if payload.measure is not None or payload.classify is not None:
                self._resolve_own(tx, job, payload, model, conversion.log)
                return
            complete_job(tx, job, {"sha256": conversion.sha256, **conversion.log})
            self._order_measurements(tx, affected_searches(tx, job), payload, model)

        self._uow.write(work)

    def _order_measurements(
        self, tx: Transaction, searches: Mapping[str, Search], payload: ConvertPayload, model: ModelFile
    ) -> None:
        """Queue what was waiting for the file; where the search wants the NPU alone and it does not do, end that."""
        current = dict(searches)
        for awaited in EvaluationStore(tx).awaited_evaluations_under(payload.latency_key, payload.hardware_key):
            search, candidate = current[awaited.search_id], CandidateStore(tx).get_candidate(awaited.candidate_id)
            board = search.spec.board_of(awaited.metric)
            if board is None:
                continue
            reason = npu_refusal(board, model.cpu_operators)
            if reason and not awaited.is_needed:
                EvaluationStore(tx).settle_awaited(candidate.id, awaited.metric)
            elif reason and not candidate.state.final:
                current[search.id] = end_candidate(tx, search, candidate, CandidateState.INFEASIBLE, reason)
            else:
                self._latency.order_measurement(tx, search, board, candidate, model)
        for search in current.values():
            advance(tx, search, self._settings)

    def _resolve_own(
        self, tx: Transaction, job: Job, payload: ConvertPayload, model: ModelFile, log: Mapping[str, JsonValue]
    ) -> None:
        """Queue what was asked of a model that was there as ONNX; the job's result names what was queued."""
        target = payload.measure_target
        if target is None:
            raise InvalidValueError(f"job {job.id} converts a model and does not say who is to run it")
        result: dict[str, JsonValue] = {"sha256": model.sha256, "cpu_operators": [*model.cpu_operators], **log}
        if payload.classify is not None:
            classify = payload.classify.model_copy(update={"model_sha256": model.sha256})
            candidate = None if job.candidate_id is None else CandidateStore(tx).get_candidate(job.candidate_id)
            queued = queue_classification(
                tx,
                classify,
                target,
                priority=job.priority,
                candidate=candidate,
                owner=job.owner,
                interactive=job.interactive,
            )
            result["classify_job_id"] = queued.id
        if payload.measure is not None:
            found = {"model_sha256": model.sha256, "cpu_operators": model.cpu_operators}
            following = JobStore(tx).add_job(
                NewJob(
                    kind=JobKind.MEASURE,
                    payload=payload.measure.model_copy(update=found).to_json(),
                    priority=job.priority,
                    interactive=job.interactive,
                    max_attempts=target.max_attempts,
                    target=JobTarget(device_type=target.device_type, pool_key=target.pool_key, labels=target.labels),
                    latency_key=payload.latency_key,
                    hardware_key=payload.hardware_key,
                    owner=job.owner,
                )
            )
            tx.wake(Topic.DEVICE_JOBS)
            result["next_job_id"] = following.id
        complete_job(tx, job, result)


def _export(tx: Transaction, payload: ConvertPayload, arch_id: str, made: ConvertedModel) -> ModelExport:
    return ModelExport(
        id=new_id(IdPrefix.EXPORT),
        arch_id=arch_id,
        latency_key=payload.latency_key,
        format=made.format,
        weights=made.weights,
        sha256=made.sha256,
        supernet_version_id=made.supernet_version_id,
        cpu_operators=made.cpu_operators,
        created_at=tx.now(),
    )
