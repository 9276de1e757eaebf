"""Supernet shifting (arXiv 2403.11380): how a search moves the weights that its candidates share."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import Field, model_validator

from nas_engine.settings.base import SpecPart, later
from nas_engine.settings.training import AugmentationName, Precision

IMMEDIATE_BATCH = 150
"""Images per step in the released code, which has no other mode than `immediate`."""


class ShiftingMode(Enum):
    """Moment at which the shared weights change.

    `accumulate`: once per generation, so that all its evaluations see the same weights. `immediate`: before each
    evaluation, so that candidates must be evaluated one after another.
    """

    ACCUMULATE = "accumulate"
    IMMEDIATE = "immediate"


class Comparison(Enum):
    """Accuracy of a candidate that counts in `immediate` mode.

    `last_version`: the one with the last version of its batch. `immediate`: as in the released code, the one taken
    right after the candidate was trained; such accuracies cross versions, which the report says.
    """

    LAST_VERSION = "last_version"
    IMMEDIATE = "immediate"


class ShiftingSettings(SpecPart):
    """Supernet shifting: the search itself moves the shared weights towards the architectures it samples.

    Each batch of candidates ends with a new version of the supernet; the candidates and the survivors they are compared
    with are scored with that version, so that accuracies of different versions are never compared.
    """

    mode: ShiftingMode = ShiftingMode.ACCUMULATE
    """Moment of the updates. `accumulate`: losses of a generation add up to one update. `immediate`: steps on one
    candidate after another."""

    learning_rate: float = Field(default=1e-4, gt=0, le=10)
    """Constant learning rate (supplementary text: 1e-4)."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum, which lives across generations."""

    weight_decay: float = Field(default=4e-5, ge=0, le=1)
    """L2 penalty of convolutions and the classifier."""

    images_per_candidate: int = Field(default=640, ge=1, le=10_000_000)
    """Number of training images of a candidate's loss (`accumulate`; supplementary text: 640); a multiple of
    `batch_size`."""

    steps_per_candidate: int = Field(default=20, ge=1, le=100_000)
    """Number of update steps on a candidate (`immediate`; released code: 20)."""

    batch_size: int = Field(default=128, ge=1, le=65_536)
    """Number of images per forward pass; absent in `immediate`: 150, as in the released code."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target given to all classes alike."""

    compare: Comparison = Comparison.LAST_VERSION
    """Accuracy of a candidate that counts in `immediate` mode."""

    new_head: bool = False
    """Whether a new classifier is drawn, and trained by the search: for a data set with other classes."""

    augmentation: AugmentationName | None = later(None)
    """Augmentation of the training images; absent: the one that the supernet was trained with."""

    dropout: bool = later(True)
    """Whether dropout is on as it was in the training of the supernet, where its space has any."""

    precision: Precision = later(Precision.FLOAT32)
    """Arithmetic of forward passes."""

    running_statistics: bool = later(False)
    """Whether the supernet's running statistics of batch normalisation move too, as in the released code, which takes
    its accuracies with them; ours are taken after recalibration."""

    @model_validator(mode="before")
    @classmethod
    def _published_batch(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("mode") in (ShiftingMode.IMMEDIATE, "immediate"):
            return {"batch_size": IMMEDIATE_BATCH, **document}
        return document

    @model_validator(mode="after")
    def _whole_batches(self) -> ShiftingSettings:
        if self.mode is ShiftingMode.ACCUMULATE and self.images_per_candidate % self.batch_size:
            raise ValueError(
                f"images_per_candidate {self.images_per_candidate} is no multiple of batch_size {self.batch_size}"
            )
        if self.mode is ShiftingMode.ACCUMULATE and self.compare is Comparison.IMMEDIATE:
            raise ValueError("compare: immediate goes with mode immediate: in accumulate there is one accuracy")
        return self
