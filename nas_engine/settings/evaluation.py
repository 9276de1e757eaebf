"""Evaluation of candidates with the weights of a supernet."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from nas_engine.settings.base import SpecPart, later
from nas_engine.settings.training import Precision


class CalibrationMode(Enum):
    """Average of the statistics of calibration batches.

    `reference` is SPOS's code: momentum 0.1, so the last ~20 batches dominate and few batches leave the reset values
    (mean 0, variance 1) in the average. `cumulative` weighs all batches alike and is right for any number of them.
    """

    REFERENCE = "reference"
    CUMULATIVE = "cumulative"


class CalibrationImages(Enum):
    """Form of the training images that calibrate batch normalisation.

    `plain`: as validation images are seen; `augmented`: as the supernet's training saw them, by its own augmentation,
    as SPOS and AttentiveNAS do.
    """

    PLAIN = "plain"
    AUGMENTED = "augmented"


class SharedEvaluationSettings(SpecPart):
    """Evaluation with the supernet's weights: calibration of batch normalisation, then every validation image."""

    num_calibration_batches: int = Field(default=20, ge=1, le=10_000)
    """Number of training batches whose statistics calibrate batch normalisation for each subnet (SPOS: 25,600
    images)."""

    batch_size: int = Field(default=200, ge=1, le=65_536)
    """Number of images per batch."""

    validation_batch_size: int | None = later(None, ge=1, le=65_536)
    """Number of validation images per batch; absent: `batch_size` (SPOS: 200, and 128 to calibrate)."""

    calibration: CalibrationMode = CalibrationMode.CUMULATIVE
    """Average of the statistics: as in the SPOS reference, or a cumulative mean."""

    calibration_images: CalibrationImages = later(CalibrationImages.PLAIN)
    """Form of the calibration images: plain, or augmented as the supernet's training augmented them (SPOS,
    AttentiveNAS)."""

    precision: Precision = later(Precision.FLOAT32)
    """Arithmetic of calibration and evaluation."""

    @property
    def held_out_batch_size(self) -> int:
        """Number of validation or test images per batch."""
        return self.validation_batch_size or self.batch_size


class EvaluationSettings(SharedEvaluationSettings):
    """Evaluation of a candidate's accuracy: calibration of its batch normalisation, then held-out images."""

    num_validation_batches: int | None = Field(default=None, ge=1, le=1_000_000)
    """Number of validation batches looked at, drawn evenly from all of them, so that every class is there; absent:
    all."""
