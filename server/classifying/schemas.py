"""Answers to image sets on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from server.classifying.classification import Loss
from server.core.http.resources import DeviceClassName, Id, Json, KindName, ListQuery, Resource, Text
from server.measuring.schemas import HardwareResource


class ClassificationListQuery(ListQuery):
    """Which classifications."""

    device_type: Text | None = None
    """On devices of this type."""

    device_id: Text | None = None
    """On this device."""

    hardware_key: Text | None = None
    """Under this hardware key."""

    images_sha256: Text | None = None
    """Of this image set."""

    source_sha256: Text | None = None
    """Of files made of this ONNX model."""

    search_id: Text | None = None
    """Made for this search."""

    candidate_id: Text | None = None
    """Made for this candidate."""

    include_superseded: bool = False
    """Also results that came in after their job was given to another device."""


DtypeText = Literal["fp32", "fp16", "w8a8"]


class ClassificationResource(Resource):
    """One model's answers to one image set."""

    id: Id
    source: Literal["measured", "simulated", "evaluated"]
    """measured: by a device; simulated: by a test double, which answers a script; evaluated: by a worker, in float, as
    the reference."""

    kind: KindName | None
    """measured or simulated; null for a worker."""

    device_class: DeviceClassName | None
    top1: float
    """Share of images classified rightly."""

    standard_error: float
    """Of top1 (binomial)."""

    num_correct: int
    num_images: int
    """The first so many of the image set."""

    num_classes: int
    images_sha256: str
    """The image set: GET /api/v1/artifacts/{sha256}."""

    model_sha256: str
    """The file that ran."""

    source_sha256: str
    """The ONNX it was made of; the same where no converter lies between."""

    dtype: DtypeText
    batch: int
    hardware_key: str | None
    hardware: HardwareResource | None
    device_type: str | None
    device_id: Id | None
    job_id: Id | None
    search_id: Id | None
    candidate_id: Id | None
    arch_id: str | None
    label: str
    """Name a user gave to their own model."""

    loss: Loss | None
    """Against the float model on the same images; null without one, and for it."""

    superseded: bool
    """Came in after its job had been given to another device; kept, not authoritative."""

    created_at: datetime


class ClassificationDetail(ClassificationResource):
    """A classification with its answers and the state of the board around it."""

    predictions: list[int]
    """The class ranked first, image by image in the set's order."""

    environment: Json


class DeviceAccuracyValue(Resource):
    """What a finalist's device answers to the test images, beside what the float network answers to the same."""

    classification_id: Id
    top1: float
    standard_error: float
    num_images: int
    kind: KindName
    device_class: DeviceClassName
    dtype: DtypeText
    loss: float | None
    """Top-1 of the float network minus top1, on the same images; null where it is not known."""

    loss_standard_error: float | None
    agreement: float | None
    """Share of images both put into one class."""
