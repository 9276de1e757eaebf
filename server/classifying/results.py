"""Results of classifying jobs: right answers are counted here, where the labels are; idempotent and fenced."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from nas_engine.domain.environment import DeviceClass, HardwareKey
from nas_engine.domain.errors import DatasetError, InvalidMeasurementError
from nas_engine.domain.measuring.classification import Classification, compress_predictions, top1
from nas_engine.domain.measuring.image_set import ImageSetHeader
from nas_engine.domain.objective import Metric
from server.artifacts.artifact import check_sha256
from server.artifacts.artifacts import Artifacts
from server.artifacts.image_sets import image_set_head
from server.candidates.candidate import Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.lifecycle import advance, affected_searches, record_value
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationRecord, Labels, compared
from server.classifying.store import ClassificationStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError, NotFoundError
from server.core.ids import IdPrefix, new_id
from server.fleet.device import Device, HardwareProfile
from server.fleet.store import DeviceStore, HardwareStore
from server.jobs.cancellation import cancel_job
from server.jobs.completion import JobEnds
from server.jobs.failures import Failure, FailureType
from server.jobs.job import Job, LeaseRef
from server.jobs.kinds import JobKind
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.results import ResultReceipt, ResultStatus, open_result
from server.jobs.settings import SearchSettings
from server.jobs.states import JobState, LeaseOutcome
from server.measuring.payloads import ClassifyPayload

_log = logging.getLogger(__name__)


class ClassificationResults:
    """Takes classifications in from agents."""

    def __init__(self, uow: UnitOfWork, artifacts: Artifacts, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._artifacts = artifacts
        self._settings = settings or SearchSettings()
        self._ends = JobEnds(self._settings)

    def put(self, device_id: str, lease: LeaseRef, classification: Classification, result_digest: str) -> ResultReceipt:
        """Store answers and everything that follows from them, in one transaction.

        Args:
            result_digest: sha256 of the result as sent: tells a repeated one from another one for the same lease.
        """
        check_sha256(result_digest)
        try:
            head = image_set_head(self._artifacts, classification.images_sha256)
        except (NotFoundError, InvalidValueError, DatasetError) as error:
            _log.warning("classification under lease %s: %s", lease.lease_id, error)
            head = None

        def work(tx: Transaction) -> ResultReceipt:
            opened = open_result(tx, device_id, lease, result_digest)
            if isinstance(opened, ResultReceipt):
                return opened
            return self._take(tx, DeviceStore(tx).get(device_id), opened, lease, classification, head, result_digest)

        return self._uow.write(work)

    def _take(
        self,
        tx: Transaction,
        device: Device,
        job: Job,
        lease: LeaseRef,
        classification: Classification,
        head: tuple[ImageSetHeader, Labels] | None,
        digest: str,
    ) -> ResultReceipt:
        # The lease may have died without another one: then nobody else has the job, and the result is welcome.
        current = job.lease_epoch == lease.lease_epoch and job.state in (JobState.LEASED, JobState.QUEUED)
        complaint = _misfit(job, classification, head)
        if complaint or head is None:
            self._end_attempt(tx, job, lease, device, Failure(FailureType.INVALID_RESULT, complaint), digest)
            return ResultReceipt(ResultStatus.REJECTED, complaint)
        _, labels_N = head
        record = _record(tx, device, job, lease, classification, labels_N, digest, superseded=not current)
        HardwareStore(tx).put(HardwareProfile(key=classification.hardware_key))
        record = store_compared(tx, record, labels_N)
        if not current:
            JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
            return ResultReceipt(ResultStatus.SUPERSEDED, "the job went on without this lease")
        if job.cancel_requested:
            JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
            cancel_job(tx, job)
            return ResultReceipt(ResultStatus.ACCEPTED, "the job was cancelled meanwhile")
        self._settle(tx, device, job, record, digest)
        return ResultReceipt(ResultStatus.ACCEPTED)

    def _settle(self, tx: Transaction, device: Device, job: Job, record: ClassificationRecord, digest: str) -> None:
        """End the job, and give a finalist its figure."""
        self._ends.done(tx, job, {"classification_id": record.id, "top1": record.top1.value}, digest)
        searches = affected_searches(tx, job)
        if job.search_id is not None and job.candidate_id is not None:
            search, payload = searches[job.search_id], read_payload(ClassifyPayload, job.payload)
            evaluation = Evaluation(
                id=new_id(IdPrefix.EVALUATION),
                search_id=search.id,
                candidate_id=job.candidate_id,
                metric=Metric.DEVICE_TOP1,
                value=record.top1.value,
                uncertainty=record.top1.standard_error,
                source=record.source,
                attempt=payload.attempt,
                supernet_version_id=search.supernet_version_id,
                created_at=tx.now(),
            )
            search = record_value(tx, search, CandidateStore(tx).get(job.candidate_id), evaluation)
            advance(tx, search, self._settings)
        if device.num_failures_in_a_row:
            DeviceStore(tx).save(replace(DeviceStore(tx).lock(device.id), num_failures_in_a_row=0))

    def _end_attempt(
        self, tx: Transaction, job: Job, lease: LeaseRef, device: Device, failure: Failure, digest: str
    ) -> None:
        if job.lease_epoch != lease.lease_epoch or job.state is not JobState.LEASED:
            # Queued again already, or over: that attempt was counted when the lease died.
            JobStore(tx).end_lease(lease, LeaseOutcome.FAILED, failure, digest)
            return
        self._ends.failed(tx, job, failure, device_id=device.id, digest=digest)


def store_compared(tx: Transaction, record: ClassificationRecord, labels_N: Labels) -> ClassificationRecord:
    """Store a classification, paired with those of the same model on the same images: it gets its loss against a
    float one, and gives one to those that had none. The worker's own figure is preferred as the reference.
    """
    others = ClassificationStore(tx).of_same_images(record)
    reference = _reference(others)
    if reference is not None and record.source is not EvaluationSource.EVALUATED:
        record = compared(record, reference, labels_N)
    ClassificationStore(tx).add(record)
    if record.is_reference:
        for other in others:
            if other.loss is None and other.source is not EvaluationSource.EVALUATED:
                ClassificationStore(tx).set_loss(compared(other, record, labels_N))
    return record


def _reference(others: Iterable[ClassificationRecord]) -> ClassificationRecord | None:
    usable = [other for other in others if other.is_reference]
    evaluated = [other for other in usable if other.source is EvaluationSource.EVALUATED]
    return next(iter(evaluated or usable), None)


def _misfit(job: Job, classification: Classification, head: tuple[ImageSetHeader, Labels] | None) -> str:
    """Why these answers cannot be this job's; empty where they can."""
    if job.kind is not JobKind.CLASSIFY:
        return f"job {job.id} asks for no classification"
    payload, key = read_payload(ClassifyPayload, job.payload), classification.hardware_key
    if classification.images_sha256 != payload.images_sha256 or head is None:
        return f"answers to image set {classification.images_sha256[:12]}, asked was {payload.images_sha256[:12]}"
    if len(classification.predictions) != payload.num_images:
        return f"{len(classification.predictions)} answers to {payload.num_images} images"
    if classification.num_classes != head[0].num_classes:
        return f"answers of {classification.num_classes} classes, the image set has {head[0].num_classes}"
    if (key.dtype.value, key.batch) != (payload.dtype, payload.batch):
        return f"answered as {key.dtype.value} with batch {key.batch}, not as {payload.dtype} with {payload.batch}"
    if key.digest != payload.hardware_key:
        return f"answered under hardware key {key.digest}, the job asks for {payload.hardware_key}"
    try:
        top1(classification.predictions, head[1][: payload.num_images])
    except InvalidMeasurementError as error:
        return str(error)
    return ""


def _record(
    tx: Transaction,
    device: Device,
    job: Job,
    lease: LeaseRef,
    classification: Classification,
    labels_N: Labels,
    digest: str,
    *,
    superseded: bool,
) -> ClassificationRecord:
    payload, key = read_payload(ClassifyPayload, job.payload), classification.hardware_key
    return ClassificationRecord(
        id=new_id(IdPrefix.CLASSIFICATION),
        source=_source(key),
        images_sha256=payload.images_sha256,
        num_images=payload.num_images,
        num_classes=classification.num_classes,
        num_correct=top1(classification.predictions, labels_N[: payload.num_images]).num_correct,
        model_sha256=payload.model_sha256,
        source_sha256=payload.source_sha256,
        dtype=key.dtype,
        batch=key.batch,
        hardware=key,
        device_type=device.device_type,
        device_id=device.id,
        job_id=job.id,
        lease_id=lease.lease_id,
        search_id=job.search_id,
        candidate_id=job.candidate_id,
        arch_id=payload.arch_id,
        label=payload.label,
        predictions=compress_predictions(classification.predictions),
        superseded=superseded,
        environment=classification.environment.to_json(),
        result_digest=digest,
        created_at=tx.now(),
    )


def _source(key: HardwareKey) -> EvaluationSource:
    """Answers of a simulator are no measurement."""
    simulated = key.identity.device_class is DeviceClass.SIMULATED
    return EvaluationSource.SIMULATED if simulated else EvaluationSource.MEASURED
