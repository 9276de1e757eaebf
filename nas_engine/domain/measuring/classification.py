"""What a device predicts for labelled images, and what follows: top-1 accuracy, and the loss against a reference.

Shapes: N images. A device sends the class it ranks first for every image and nothing else; accuracy is computed on
the server, where the labels are trusted.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.environment import EnvironmentRecord, HardwareKey
from nas_engine.domain.measuring.image_set import MAX_CLASSES, MAX_IMAGES

Predictions = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classification:
    """Predictions of one model on one device for the first images of a set.

    Attributes:
        predictions: (N,) class index per image, in the set's order.
        num_classes: outputs of the model.
        images_sha256: the image set.
        hardware_key: device, engine, clocks, dtype and batch it ran with.
        environment: the state of the board meanwhile.
    """

    predictions: Predictions
    num_classes: int
    images_sha256: str
    hardware_key: HardwareKey
    environment: EnvironmentRecord

    def __post_init__(self) -> None:
        check_predictions(self.predictions, self.num_classes)


@dataclass(frozen=True, slots=True)
class Top1:
    """Share of images whose first-ranked class is the labelled one."""

    num_correct: int
    num_images: int

    @property
    def value(self) -> float:
        """Top-1 accuracy, a fraction from 0 to 1."""
        return self.num_correct / self.num_images

    @property
    def standard_error(self) -> float:
        """Standard error of that fraction (binomial, normal approximation)."""
        return math.sqrt(self.value * (1.0 - self.value) / self.num_images)


@dataclass(frozen=True, slots=True)
class PairedLoss:
    """How much of a reference's top-1 is lost on the very same images.

    Attributes:
        loss: reference minus device, a fraction; negative where the device does better.
        standard_error: of that difference, paired: it is far smaller than that of either top-1.
        agreement: share of images both put into one class, right or wrong.
    """

    loss: float
    standard_error: float
    agreement: float


def top1(predictions_N: Predictions, labels_N: npt.NDArray[np.uint16]) -> Top1:
    """Compute top-1 accuracy from predictions and labels.

    Raises:
        InvalidMeasurementError: there is not one prediction per label.
    """
    _check_same_length(predictions_N, labels_N)
    return Top1(int(np.count_nonzero(predictions_N == labels_N)), len(labels_N))


def paired_loss(reference_N: Predictions, device_N: Predictions, labels_N: npt.NDArray[np.uint16]) -> PairedLoss:
    """Compute the loss of `device_N` against `reference_N`, predictions for the same images.

    With b images right in the reference alone and c right on the device alone the loss is (b - c) / n, of variance
    (b + c - (b - c)^2 / n) / n^2. Source: Agresti, Categorical Data Analysis, 3rd ed., section 11.1.1 (paired
    proportions).

    Raises:
        InvalidMeasurementError: not one prediction per label.
    """
    _check_same_length(reference_N, labels_N)
    _check_same_length(device_N, labels_N)
    num_images = len(labels_N)
    reference, device = reference_N == labels_N, device_N == labels_N
    lost, won = int(np.count_nonzero(reference & ~device)), int(np.count_nonzero(device & ~reference))
    variance = (lost + won - (lost - won) ** 2 / num_images) / num_images**2
    return PairedLoss(
        loss=(lost - won) / num_images,
        standard_error=math.sqrt(max(variance, 0.0)),
        agreement=float(np.count_nonzero(reference_N == device_N)) / num_images,
    )


def check_predictions(predictions_N: Predictions, num_classes: int) -> None:
    """Refuse predictions that no model of `num_classes` outputs can give.

    Raises:
        InvalidMeasurementError: none, too many, or a class beyond the last.
    """
    if predictions_N.dtype != np.uint16 or predictions_N.ndim != 1 or not 1 <= len(predictions_N) <= MAX_IMAGES:
        raise InvalidMeasurementError(
            f"predictions are {predictions_N.dtype} {predictions_N.shape}: give 1 to {MAX_IMAGES} uint16"
        )
    if not 1 <= num_classes <= MAX_CLASSES or int(predictions_N.max()) >= num_classes:
        raise InvalidMeasurementError(f"class {predictions_N.max()} is predicted, the model has {num_classes} classes")


def compress_predictions(predictions_N: Predictions) -> bytes:
    """Class indices as zlib of little-endian uint16; `decompress_predictions` reads it."""
    return zlib.compress(predictions_N.astype("<u2").tobytes())


def decompress_predictions(data: bytes, num_images: int) -> Predictions:
    """The inverse of `compress_predictions`; refuses anything but exactly `num_images` predictions.

    Raises:
        InvalidMeasurementError: the bytes are malformed, or of another number of images.
    """
    if not 1 <= num_images <= MAX_IMAGES:
        raise InvalidMeasurementError(f"{num_images} predictions are announced: give 1 to {MAX_IMAGES}")
    try:
        stream = zlib.decompressobj()
        raw = stream.decompress(data, 2 * num_images + 1)
    except zlib.error as error:
        raise InvalidMeasurementError(f"not compressed predictions: {error}") from error
    if len(raw) != 2 * num_images or not stream.eof or stream.unused_data:
        raise InvalidMeasurementError(f"{len(data)} bytes do not hold exactly {num_images} predictions")
    return np.frombuffer(raw, dtype="<u2").astype(np.uint16)


def _check_same_length(predictions_N: Predictions, labels_N: npt.NDArray[np.uint16]) -> None:
    if predictions_N.shape != labels_N.shape or not len(labels_N):
        raise InvalidMeasurementError(
            f"{len(predictions_N)} predictions for {len(labels_N)} labels: give one per image"
        )
