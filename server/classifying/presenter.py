"""Classifications as resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationRecord
from server.classifying.schemas import ClassificationDetail, ClassificationResource, DeviceAccuracyValue, LossResource
from server.measuring.measurement import kind_of
from server.measuring.presenter import hardware_resource

_SOURCES: Mapping[EvaluationSource, Literal["measured", "simulated", "evaluated"]] = {
    EvaluationSource.MEASURED: "measured",
    EvaluationSource.SIMULATED: "simulated",
    EvaluationSource.EVALUATED: "evaluated",
}


def classification_resource(record: ClassificationRecord) -> ClassificationResource:
    """One classification, without its answers."""
    device_class, loss = record.device_class, record.loss
    return ClassificationResource(
        id=record.id,
        source=_SOURCES[record.source],
        kind=None if device_class is None else kind_of(device_class).value,
        device_class=None if device_class is None else device_class.value,
        top1=record.top1.value,
        standard_error=record.top1.standard_error,
        num_correct=record.num_correct,
        num_images=record.num_images,
        num_classes=record.num_classes,
        images_sha256=record.images_sha256,
        model_sha256=record.model_sha256,
        source_sha256=record.source_sha256,
        dtype=record.dtype.value,
        batch=record.batch,
        hardware_key=None if record.hardware is None else record.hardware.digest,
        hardware=None if record.hardware is None else hardware_resource(record.hardware),
        device_type=record.device_type,
        device_id=record.device_id,
        job_id=record.job_id,
        search_id=record.search_id,
        candidate_id=record.candidate_id,
        arch_id=record.arch_id,
        label=record.label,
        loss=None
        if loss is None
        else LossResource(
            reference_id=loss.reference_id,
            value=loss.value,
            standard_error=loss.standard_error,
            agreement=loss.agreement,
        ),
        superseded=record.superseded,
        created_at=record.created_at,
    )


def classification_detail(record: ClassificationRecord) -> ClassificationDetail:
    """One classification with its answers."""
    return ClassificationDetail(
        **dict(classification_resource(record)),
        predictions=record.predictions_N().tolist(),
        environment=record.environment,
    )


def device_accuracy(record: ClassificationRecord | None) -> DeviceAccuracyValue | None:
    """What a device answered for a finalist; None where none did."""
    if record is None or record.device_class is None:
        return None
    loss = record.loss
    return DeviceAccuracyValue(
        classification_id=record.id,
        top1=record.top1.value,
        standard_error=record.top1.standard_error,
        num_images=record.num_images,
        kind=kind_of(record.device_class).value,
        device_class=record.device_class.value,
        dtype=record.dtype.value,
        loss=None if loss is None else loss.value,
        loss_standard_error=None if loss is None else loss.standard_error,
        agreement=None if loss is None else loss.agreement,
    )
