"""Results of classifying jobs: computes top-1 from predictions; agents never see labels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from nas_engine.domain.errors import DatasetError, InvalidMeasurementError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.classification import Classification, compress_predictions, top1
from nas_engine.domain.measuring.environment import DeviceClass, HardwareKey
from nas_engine.domain.measuring.image_set import ImageSetHeader, Labels
from nas_engine.domain.metrics import DEVICE_TOP1
from server.artifacts.artifacts import Artifacts
from server.artifacts.image_sets import image_set_head
from server.candidates.candidate import Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.lifecycle import advance, affected_searches, record_value
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationRecord, compared
from server.classifying.store import ClassificationStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError, NotFoundError
from server.core.ids import IdPrefix, new_id
from server.fleet.device import Device, HardwareProfile
from server.fleet.lease_keys import hardware_key_of_lease, is_asked_type, key_as_believed
from server.fleet.store import DeviceStore, HardwareStore
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.registry import JobKinds
from server.jobs.results import JobResults, ResultReceipt, TakenResult
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.measuring.payloads import ClassifyPayload

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """Predictions with the image set they are for; None where there is no such set any more."""

    classification: Classification
    head: tuple[ImageSetHeader, Labels] | None


class ClassificationResults:
    """Takes classifications in: the `ResultHandler` of classifying jobs."""

    kind = JobKind.CLASSIFY
    wanted = "classification"

    def __init__(
        self, uow: UnitOfWork, kinds: JobKinds, artifacts: Artifacts, settings: SearchSettings | None = None
    ) -> None:
        self._results = JobResults(uow, kinds)
        self._artifacts = artifacts
        self._settings = settings or SearchSettings()

    def put(
        self,
        device_id: str,
        lease: LeaseRef,
        digest: str,
        read: Callable[[ClassifyPayload], Classification],
        checked: Job | ResultReceipt | None = None,
    ) -> ResultReceipt:
        """Store predictions and everything that follows from them; see `JobResults.put`.

        Args:
            read: makes the classification of what was sent, bounded by what the job asked for.
            checked: what `JobResults.check` answered just now; None asks it.
        """

        def answer(job: Job) -> _Answer:
            payload = read_payload(ClassifyPayload, job.payload)
            classification = read(payload)
            try:
                return _Answer(classification, image_set_head(self._artifacts, payload.images_sha256))
            except (NotFoundError, InvalidValueError, DatasetError) as error:
                _log.warning("classification under lease %s: %s", lease.lease_id, error)
                return _Answer(classification, None)

        return self._results.put(device_id, lease, digest, self, answer, checked)

    def complaint(self, tx: Transaction, taken: TakenResult, content: _Answer) -> str:
        """Other images, another number of them, other classes, or another hardware key than the job asks for."""
        payload, classification, head = _payload(taken), content.classification, content.head
        device = DeviceStore(tx).get_device(taken.device_id)
        key = key_as_believed(device, classification.hardware_key)
        if classification.images_sha256 != payload.images_sha256 or head is None:
            return f"answers to image set {classification.images_sha256[:12]}, asked was {payload.images_sha256[:12]}"
        if len(classification.predictions) != payload.num_images:
            return f"{len(classification.predictions)} answers to {payload.num_images} images"
        if classification.num_classes != head[0].num_classes:
            return f"answers of {classification.num_classes} classes, the image set has {head[0].num_classes}"
        if (key.dtype.value, key.batch) != (payload.dtype, payload.batch):
            return f"answered as {key.dtype.value} with batch {key.batch}, not as {payload.dtype} with {payload.batch}"
        leased = hardware_key_of_lease(device, taken.job, key, payload)
        if {key.digest, leased.digest} != {payload.hardware_key}:
            return f"not answered under hardware key {payload.hardware_key}, which the job asks for"
        if not is_asked_type(device, taken.job):
            return f"answered on a device of type {device.device_type}, asked was {taken.job.target.device_type}"
        try:
            top1(classification.predictions, head[1][: payload.num_images])
        except InvalidMeasurementError as error:
            return str(error)
        return ""

    def store(self, tx: Transaction, taken: TakenResult, content: _Answer) -> ClassificationRecord:
        """Count the correct predictions, and pair them with those of the same model elsewhere."""
        assert content.head is not None
        device, (_, labels_N) = DeviceStore(tx).get_device(taken.device_id), content.head
        key = key_as_believed(device, content.classification.hardware_key)
        HardwareStore(tx).put_hardware(HardwareProfile(key=key))
        return store_compared(tx, _record(tx, device, taken, content.classification, key, labels_N), labels_N)

    def unusable(self, taken: TakenResult, record: ClassificationRecord) -> Failure | None:
        """Every classification that fits its job may stand."""
        return None

    def result(self, record: ClassificationRecord) -> JsonValue:
        """Names the classification, with its top-1."""
        return {"classification_id": record.id, "top1": record.top1.value}

    def apply(self, tx: Transaction, taken: TakenResult, record: ClassificationRecord) -> None:
        """Give a front member its top-1 on the device."""
        job = taken.job
        searches = affected_searches(tx, job)
        if job.search_id is None or job.candidate_id is None:
            return
        search = searches[job.search_id]
        evaluation = Evaluation(
            id=new_id(IdPrefix.EVALUATION),
            search_id=search.id,
            candidate_id=job.candidate_id,
            metric=DEVICE_TOP1,
            value=record.top1.value,
            uncertainty=record.top1.standard_error,
            source=record.source,
            attempt=_payload(taken).attempt,
            supernet_version_id=search.supernet_version_id,
            created_at=tx.now(),
        )
        search = record_value(tx, search, CandidateStore(tx).get_candidate(job.candidate_id), evaluation)
        advance(tx, search, self._settings)

    def stored_under(self, tx: Transaction, lease: LeaseRef) -> str | None:
        """Not kept apart: a repeated classification is answered without its id."""
        return None


def _payload(taken: TakenResult) -> ClassifyPayload:
    return read_payload(ClassifyPayload, taken.job.payload)


def store_compared(tx: Transaction, record: ClassificationRecord, labels_N: Labels) -> ClassificationRecord:
    """Store a classification, paired with those of the same model on the same images: it gets its loss against a
    float one, and gives one to those that had none. The worker's own figure is preferred as the reference.
    """
    store = ClassificationStore(tx)
    reference = None if record.source is EvaluationSource.EVALUATED else store.reference_for(record)
    if reference is not None:
        record = compared(record, reference, labels_N)
    if record.is_reference:
        for other in store.without_loss(record):
            store.set_loss_of_classification(compared(other, record, labels_N))
    store.add_classification(record)
    return record


def _record(
    tx: Transaction,
    device: Device,
    taken: TakenResult,
    classification: Classification,
    key: HardwareKey,
    labels_N: Labels,
) -> ClassificationRecord:
    payload, job = _payload(taken), taken.job
    return ClassificationRecord(
        id=new_id(IdPrefix.CLASSIFICATION),
        # Answers of a simulator are no measurement.
        source=EvaluationSource.SIMULATED
        if key.identity.device_class is DeviceClass.SIMULATED
        else EvaluationSource.MEASURED,
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
        lease_id=taken.lease.lease_id,
        search_id=job.search_id,
        candidate_id=job.candidate_id,
        arch_id=payload.arch_id,
        label=payload.label,
        predictions=compress_predictions(classification.predictions),
        superseded=not taken.current,
        environment=classification.environment.to_json(),
        result_digest=taken.digest,
        created_at=tx.now(),
    )
