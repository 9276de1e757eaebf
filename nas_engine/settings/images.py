"""What is done to the images of a data set before a network sees them, the same in training, search and report."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from nas_engine.settings.base import SpecPart, later


class Interpolation(Enum):
    """Filter by which images and their crops are brought to the network's size.

    `bilinear` is SPOS's and DenseNAS's (torchvision's default), `bicubic` AttentiveNAS's.
    """

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class NormalisationKind(Enum):
    """What is subtracted from pixels and what they are divided by, channel by channel.

    `dataset`: mean and deviation of the training images; `imagenet`: ImageNet's published ones; `bytes`: nothing,
    pixels stay 0 to 255 (SPOS).
    """

    DATASET = "dataset"
    IMAGENET = "imagenet"
    BYTES = "bytes"


class ImageForm(SpecPart):
    """Form in which images reach a network: how they are resized, and how their pixels are normalised."""

    interpolation: Interpolation = later(Interpolation.BICUBIC)
    """Filter by which images and their crops are brought to the network's size."""

    normalisation: NormalisationKind = later(NormalisationKind.DATASET)
    """What pixels are normalised by: the training images' own mean and deviation, ImageNet's published ones, or
    nothing (0 to 255)."""

    @property
    def image_form(self) -> ImageForm:
        """These two settings alone."""
        return ImageForm(interpolation=self.interpolation, normalisation=self.normalisation)


class ImagePreparation(SpecPart):
    """Preparation of the images of any data set, where no registered data set says it."""

    image_size: int | None = Field(default=None, ge=8, le=1024)
    """Side of the images, pixels; absent: the data set's."""

    channels: int | None = Field(default=None, ge=1, le=4)
    """Number of channels; absent: the data set's."""

    centre_crop: float = Field(default=1.0, gt=0, le=1)
    """Share of the shorter side that evaluation keeps (ImageNet: 0.875)."""

    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training images that is held out for validation."""


AS_IT_IS = ImageForm()
"""The form of images where no training says it."""
