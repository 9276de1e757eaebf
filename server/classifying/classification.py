"""Answers to image sets as they are stored: of devices, and of the worker's float networks they are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

from nas_engine.domain.json_value import AS_DOCUMENT, JsonValue
from nas_engine.domain.measuring.classification import Predictions, Top1, decompress_predictions, paired_loss
from nas_engine.domain.measuring.environment import DeviceClass, Dtype, HardwareKey
from nas_engine.domain.measuring.image_set import Labels
from server.candidates.states import EvaluationSource
from server.core.errors import InvalidValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How much of a float network's top-1 is lost on the very same images; see `PairedLoss` of the engine's domain."""

    __pydantic_config__ = AS_DOCUMENT

    reference_id: str
    """Classification by the float network that it is taken against."""

    value: float
    """Top-1 of the reference minus this one, a fraction; negative where this one does better."""

    standard_error: float
    """Standard error of value, paired image by image."""

    agreement: float
    """Fraction of images that both put into the same class."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (self.value, self.standard_error, self.agreement)):
            raise InvalidValueError(f"loss against {self.reference_id} is not finite")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferencePredictions:
    """What a float network predicts for the images that a device is to classify with the same network.

    Attributes:
        images_sha256: the image set, an artifact already.
        num_classes: outputs of the network.
        predictions, labels: (N,), one per image of the set.
    """

    images_sha256: str
    num_classes: int
    predictions: Predictions
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationRecord:
    """One model's answers to one image set.

    Attributes:
        id: ``cls_...``.
        source: MEASURED by a device (SIMULATED where it simulates), or EVALUATED by a worker in float.
        images_sha256: the image set; the first `num_images` of it were classified.
        num_correct: number of images classified correctly.
        model_sha256: the file that ran.
        source_sha256: the ONNX it was made of; the same where no converter lies between.
        dtype, batch: of the model.
        hardware: what it ran on; None for the worker.
        device_type, device_id, job_id, lease_id: who answered; None for the worker.
        search_id, candidate_id, arch_id: what for; None for a user's own model.
        label: name a user gave to their own model; empty otherwise.
        predictions: compressed, one class per image; empty, and environment None, where records are listed.
        loss: against the float model; None without one, and for the float model itself.
        superseded: came in after its job was leased again or was over; kept, not authoritative.
        result_digest: sha256 of the result as sent.
    """

    id: str
    source: EvaluationSource
    images_sha256: str
    num_images: int
    num_classes: int
    num_correct: int
    model_sha256: str
    source_sha256: str
    dtype: Dtype
    batch: int
    hardware: HardwareKey | None = None
    device_type: str | None = None
    device_id: str | None = None
    job_id: str | None = None
    lease_id: str | None = None
    search_id: str | None = None
    candidate_id: str | None = None
    arch_id: str | None = None
    label: str = ""
    predictions: bytes = b""
    loss: Loss | None = None
    superseded: bool = False
    environment: JsonValue = None
    result_digest: str | None = None
    created_at: datetime

    def __post_init__(self) -> None:
        if not 0 <= self.num_correct <= self.num_images or self.num_images < 1:
            raise InvalidValueError(f"classification {self.id}: {self.num_correct} of {self.num_images} are right")

    @property
    def top1(self) -> Top1:
        """Fraction of images classified correctly, with its standard error."""
        return Top1(self.num_correct, self.num_images)

    @property
    def device_class(self) -> DeviceClass | None:
        """Board, emulated or simulated; None for the worker."""
        return None if self.hardware is None else self.hardware.identity.device_class

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with it: float arithmetic, really executed."""
        executed = self.device_class is not DeviceClass.SIMULATED
        return self.dtype is Dtype.FP32 and executed and not self.superseded

    def predictions_N(self) -> Predictions:  # noqa: N802
        """One class per image. Raises InvalidMeasurementError."""
        return decompress_predictions(self.predictions, self.num_images)


def compared(record: ClassificationRecord, reference: ClassificationRecord, labels_N: Labels) -> ClassificationRecord:
    """`record` with its loss against `reference`, which answered the same images.

    Raises:
        InvalidMeasurementError: it did not.
    """
    found = paired_loss(reference.predictions_N(), record.predictions_N(), labels_N[: record.num_images])
    loss = Loss(
        reference_id=reference.id,
        value=found.loss,
        standard_error=found.standard_error,
        agreement=found.agreement,
    )
    return replace(record, loss=loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationQuery:
    """Which classifications to list; None does not filter. Newest first.

    Attributes:
        include_superseded: off by default.
    """

    device_type: str | None = None
    device_id: str | None = None
    hardware_key: str | None = None
    images_sha256: str | None = None
    source_sha256: str | None = None
    search_id: str | None = None
    candidate_id: str | None = None
    include_superseded: bool = False
