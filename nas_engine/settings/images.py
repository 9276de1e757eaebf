"""What is done to the images of a data set before a network sees them, the same in training, search and report."""

from __future__ import annotations

from enum import Enum

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


AS_IT_IS = ImageForm()
"""The form of images where no training says it."""
