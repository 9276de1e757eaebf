"""Answers to image sets on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from nas_engine.domain.measuring.environment import DeviceClass, Dtype
from nas_engine.settings.base import one_of
from server.candidates.states import EvaluationSource
from server.classifying.classification import Loss
from server.core.http.resources import Id, Json, ListQuery, Resource, Text
from server.measuring.measurement import MeasurementKind
from server.measuring.schemas import HardwareResource


class ClassificationListQuery(ListQuery):
    """Filters of a list of classifications."""

    device_type: Text | None = None
    """Classifications by devices of this type."""

    device_id: Text | None = None
    """Classifications by this device, by its id."""

    hardware_key: Text | None = None
    """Classifications under this hardware key."""

    images_sha256: Text | None = None
    """Classifications of this image set, by its SHA-256."""

    source_sha256: Text | None = None
    """Classifications by files made of this ONNX model, by its SHA-256."""

    search_id: Text | None = None
    """Classifications made for this search."""

    candidate_id: Text | None = None
    """Classifications made for this candidate."""

    include_superseded: bool = False
    """Whether to list results too that came in after their job was given to another device."""


if TYPE_CHECKING:
    ClassifierName = str
else:
    _CLASSIFIERS = (EvaluationSource.MEASURED, EvaluationSource.SIMULATED, EvaluationSource.EVALUATED)
    ClassifierName = one_of(source.value for source in _CLASSIFIERS)


class ClassificationResource(Resource):
    """One model's answers to one image set."""

    id: Id
    """Identifier of the classification, given by the server."""

    source: ClassifierName
    """Who made the predictions: a device (measured), a test double with a script (simulated), or a worker with the
    float network, as the reference (evaluated)."""

    kind: MeasurementKind | None
    """Kind of device run, measured or simulated; null for a worker."""

    device_class: DeviceClass | None
    """Class of the device; null for a worker."""

    top1: float
    """Fraction of images classified correctly, 0 to 1, computed by the server."""

    standard_error: float
    """Binomial standard error of top1."""

    num_correct: int
    """Number of images classified correctly, counted by the server."""

    num_images: int
    """Number of images classified: the first so many of the image set."""

    num_classes: int
    """Number of classes that the model tells apart."""

    images_sha256: str
    """SHA-256 of the image set: GET /api/v1/artifacts/{sha256}."""

    model_sha256: str
    """SHA-256 of the model file that ran."""

    source_sha256: str
    """SHA-256 of the ONNX model it was made of; the same where no converter lies between."""

    dtype: Dtype
    """Data type that the model computed in."""

    batch: int
    """Number of images in one inference."""

    hardware_key: str | None
    """Digest of `hardware`; null for a worker."""

    hardware: HardwareResource | None
    """Hardware it ran on; null for a worker."""

    device_type: str | None
    """Type of the device; null for a worker."""

    device_id: Id | None
    """Device that ran the model; null for a worker."""

    job_id: Id | None
    """Job that ordered it; null where none did."""

    search_id: Id | None
    """Search it was made for; null for a user's own model."""

    candidate_id: Id | None
    """Candidate whose model it is; null for a user's own model."""

    arch_id: str | None
    """Digest of the architecture; null for a user's own model."""

    label: str
    """Name a user gave to their own model; empty otherwise."""

    loss: Loss | None
    """Loss of top-1 against the float network on the same images; null without one, and for the float network."""

    superseded: bool
    """Whether it came in after its job had been given to another device; stored, not authoritative."""

    created_at: datetime
    """Time at which the server stored it, RFC 3339."""


class ClassificationDetail(ClassificationResource):
    """A classification with its answers and the state of the board around it."""

    predictions: list[int]
    """Predicted class of every image, in the set's order."""

    environment: Json
    """State of the board around the run, as its agent reported it."""


class DeviceAccuracyValue(Resource):
    """Accuracy of a front member on its device, and its loss against the float network on the same test images."""

    classification_id: Id
    """Classification that it was taken from."""

    top1: float
    """Fraction of test images classified correctly on the device, 0 to 1."""

    standard_error: float
    """Binomial standard error of top1."""

    num_images: int
    """Number of test images classified."""

    kind: MeasurementKind
    """Kind of device run, measured or simulated."""

    device_class: DeviceClass
    """Class of the device that ran the model."""

    dtype: Dtype
    """Data type that the model computed in."""

    loss: float | None
    """Top-1 of the float network minus top1, on the same images; null where it is not known."""

    loss_standard_error: float | None
    """Standard error of loss, paired image by image; null where loss is not known."""

    agreement: float | None
    """Fraction of images that device and float network put into the same class; null where loss is not known."""

    text: str = ""
    """Accuracy with half its 95 % interval, as people write it: `79.6 ± 0.9 %`."""

    loss_text: str | None = None
    """Loss with half its 95 % interval, as people write it; null where loss is not known."""
