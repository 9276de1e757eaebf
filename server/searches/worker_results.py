"""Results of the worker's jobs: accuracies and model files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nas_engine.domain.environment import Dtype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.classification import compress_predictions, top1
from nas_engine.domain.objective import Metric
from server.artifacts.artifact import ModelExport
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import advance, affected_searches, end_candidate, record_value
from server.candidates.payloads import EvaluatePayload
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import CandidateState, EvaluationSource
from server.classifying.classification import ClassificationRecord, FloatPredictions
from server.classifying.orders import ClassificationWork, ImageChoice, queue_classification
from server.classifying.results import store_compared
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidValueError
from server.core.ids import IdPrefix, new_id
from server.jobs.completion import JobEnds
from server.jobs.job import Job, JobTarget, LeaseRef, NewJob
from server.jobs.kinds import JobKind
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.measuring.conversion import Conversion
from server.measuring.orders import LatencyWork, ModelFile, npu_refusal
from server.measuring.payloads import ConvertPayload, MeasurePayload
from server.training.deployables import order_finalist


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """An accuracy evaluation.

    Attributes:
        top1: fraction of images classified rightly, 0 to 1.
        num_images: how many were looked at; gives the standard error.
    """

    top1: float
    num_images: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.top1) and 0.0 <= self.top1 <= 1.0) or self.num_images < 1:
            raise InvalidValueError(f"top1 {self.top1} of {self.num_images} images: report a failure instead")

    @property
    def standard_error(self) -> float:
        """Of a proportion (binomial, normal approximation)."""
        return math.sqrt(self.top1 * (1.0 - self.top1) / self.num_images)


class WorkerResults:
    """Takes results in from workers."""

    def __init__(self, uow: UnitOfWork, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._settings = settings or SearchSettings()
        self._latency = LatencyWork(self._settings)
        self._classification = ClassificationWork(self._settings)
        self._ends = JobEnds(self._settings)

    def record_accuracy(
        self,
        lease: LeaseRef,
        accuracy: Accuracy,
        final_model: Conversion | None = None,
        answers: FloatPredictions | None = None,
    ) -> None:
        """End an EVALUATE job with its value; completes the candidate and opens the barrier where it was the last.

        Args:
            lease: of the job.
            accuracy: on the images the job asked for.
            final_model: with a test accuracy, the network exported with the same weights (an artifact already).
            answers: of that network to the images a device is to classify with it; the device's job follows.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
        """

        def work(tx: Transaction) -> None:
            payload = read_payload(EvaluatePayload, JobStore(tx).get(lease.job_id).payload)
            search = SearchStore(tx).lock(payload.search_id)
            job = JobStore(tx).guard(lease)
            evaluation = Evaluation(
                id=new_id(IdPrefix.EVALUATION),
                search_id=search.id,
                candidate_id=payload.candidate_id,
                metric=Metric.TEST_TOP1 if payload.split == "test" else Metric.TOP1,
                value=accuracy.top1,
                uncertainty=accuracy.standard_error,
                source=EvaluationSource.EVALUATED,
                attempt=payload.attempt,
                supernet_version_id=payload.supernet_version_id,
                created_at=tx.now(),
            )
            self._ends.done(tx, job, {"top1": accuracy.top1})
            candidate = CandidateStore(tx).get(payload.candidate_id)
            if final_model is not None:
                ArtifactStore(tx).get(final_model.sha256)
                candidate = replace(candidate, final_model_sha256=final_model.sha256)
                CandidateStore(tx).save(candidate)
            if final_model is not None and answers is not None and not search.state.final:
                self._classify(tx, search, candidate, final_model, answers)
            elif final_model is not None:
                order_finalist(tx, search, candidate, self._settings.max_evaluation_attempts)
            search = record_value(tx, search, candidate, evaluation)
            advance(tx, search, self._settings)

        self._uow.write(work)

    def _classify(
        self, tx: Transaction, search: Search, candidate: Candidate, model: Conversion, answers: FloatPredictions
    ) -> None:
        """Keep the float network's answers as the reference, and have the device give its own."""
        ArtifactStore(tx).get(answers.images_sha256)
        record = ClassificationRecord(
            id=new_id(IdPrefix.CLASSIFICATION),
            source=EvaluationSource.EVALUATED,
            images_sha256=answers.images_sha256,
            num_images=len(answers.labels),
            num_classes=answers.num_classes,
            num_correct=top1(answers.predictions, answers.labels).num_correct,
            model_sha256=model.sha256,
            source_sha256=model.sha256,
            dtype=Dtype.FP32,
            batch=1,
            search_id=search.id,
            candidate_id=candidate.id,
            arch_id=candidate.arch_id,
            predictions=compress_predictions(answers.predictions),
            created_at=tx.now(),
        )
        store_compared(tx, record, answers.labels)
        images = ImageChoice(sha256=answers.images_sha256, num_images=len(answers.labels))
        self._classification.order(tx, search, candidate, images)

    def record_conversion(self, lease: LeaseRef, conversion: Conversion, *others: Conversion) -> None:
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
            seen = JobStore(tx).get(lease.job_id)
            payload = read_payload(ConvertPayload, seen.payload)
            affected_searches(tx, seen)
            job = JobStore(tx).guard(lease)
            for made in (conversion, *others):
                ArtifactStore(tx).get(made.sha256)
                if payload.arch_id is not None:
                    ArtifactStore(tx).add_export(_export(tx, payload, payload.arch_id, made))
            model = ModelFile(conversion.sha256, conversion.format, conversion.cpu_operators)
            if payload.deploys:
                self._ends.done(tx, job, {"sha256": conversion.sha256, "cpu_operators": list(conversion.cpu_operators)})
                return
            if payload.measure is not None or payload.classify is not None:
                self._end_own(tx, job, payload, model)
                return
            self._ends.done(tx, job, {"sha256": conversion.sha256})
            self._order_measurements(tx, affected_searches(tx, job), payload, model)

        self._uow.write(work)

    def _order_measurements(
        self, tx: Transaction, searches: Mapping[str, Search], payload: ConvertPayload, model: ModelFile
    ) -> None:
        """Queue what was waiting for the file; where the search wants the NPU alone and it does not do, end that."""
        current = dict(searches)
        for awaited in EvaluationStore(tx).awaited_under(payload.latency_key, payload.hardware_key):
            search, candidate = current[awaited.search_id], CandidateStore(tx).get(awaited.candidate_id)
            reason = npu_refusal(search, model.cpu_operators)
            if reason and not candidate.state.final:
                current[search.id] = end_candidate(tx, search, candidate, CandidateState.INFEASIBLE, reason)
            else:
                self._latency.order_measurement(tx, search, candidate, model)
        for search in current.values():
            advance(tx, search, self._settings)

    def _end_own(self, tx: Transaction, job: Job, payload: ConvertPayload, model: ModelFile) -> None:
        """Queue what was asked of a model that was there as ONNX; the job's result names what was queued."""
        if payload.measure_target is None:
            raise InvalidValueError(f"job {job.id} converts a model and does not say who is to run it")
        result: dict[str, JsonValue] = {"sha256": model.sha256, "cpu_operators": [*model.cpu_operators]}
        if payload.classify is not None:
            classify = payload.classify.model_copy(update={"model_sha256": model.sha256})
            candidate = None if job.candidate_id is None else CandidateStore(tx).get(job.candidate_id)
            queued = queue_classification(
                tx, classify, payload.measure_target, priority=job.priority, candidate=candidate
            )
            result["classify_job_id"] = queued.id
        if payload.measure is not None:
            result["next_job_id"] = self._measure_own(tx, job, payload, payload.measure, model).id
        self._ends.done(tx, job, result)

    @staticmethod
    def _measure_own(
        tx: Transaction, job: Job, payload: ConvertPayload, wanted: MeasurePayload, model: ModelFile
    ) -> Job:
        target = payload.measure_target
        assert target is not None
        measure = wanted.model_copy(update={"model_sha256": model.sha256, "cpu_operators": model.cpu_operators})
        following = JobStore(tx).add(
            NewJob(
                kind=JobKind.MEASURE,
                payload=measure.to_json(),
                priority=job.priority,
                max_attempts=target.max_attempts,
                target=JobTarget(device_type=target.device_type, pool_key=target.pool_key, labels=target.labels),
                latency_key=payload.latency_key,
                hardware_key=payload.hardware_key,
            )
        )
        tx.wake(Topic.DEVICE_JOBS)
        return following


def _export(tx: Transaction, payload: ConvertPayload, arch_id: str, made: Conversion) -> ModelExport:
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
