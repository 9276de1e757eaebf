"""Two networks judged on the same images: which of them each classified correctly, and the difference of accuracy.

Shapes: N images. Most images are classified correctly, or wrongly, by both networks, which says nothing of their
difference: paired by image, its interval is far narrower than that of two independent accuracies.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas_engine.domain.dominance import CONFIDENCE_Z
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.image_set import MAX_IMAGES
from nas_engine.domain.uncertainty import Interval

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectAnswers:
    """Which images of a split a network classified correctly: one bit an image.

    Attributes:
        num_images: N, at most MAX_IMAGES.
        labels_sha256: of the labels in order, little-endian int64: equal where the images are the same.
        bits: one per image in order, the first in the highest bit of the first byte; those beyond N are 0.
    """

    num_images: int
    labels_sha256: str
    bits: bytes

    def __post_init__(self) -> None:
        if not 1 <= self.num_images <= MAX_IMAGES or len(self.bits) != (self.num_images + 7) // 8:
            raise InvalidMeasurementError(
                f"{len(self.bits)} bytes hold the answers to {self.num_images} images: give a bit for each of 1 to "
                f"{MAX_IMAGES}"
            )
        if self.bits[-1] & ((1 << (-self.num_images % 8)) - 1):
            raise InvalidMeasurementError(f"answers to {self.num_images} images have bits beyond the last image")
        if not _DIGEST.fullmatch(self.labels_sha256):
            raise InvalidMeasurementError(f"labels_sha256 is {self.labels_sha256[:80]!r}: give 64 hex digits")

    @classmethod
    def of(
        cls, correct_N: Iterable[npt.NDArray[np.bool_]], labels_N: Iterable[npt.NDArray[np.int64]]
    ) -> CorrectAnswers | None:
        """Pack answers batch by batch; None where there are more images than are kept one by one.

        Raises:
            InvalidMeasurementError: there is no image.
        """
        correct = np.concatenate([np.empty(0, dtype=np.bool_), *correct_N])
        if len(correct) > MAX_IMAGES:
            return None
        digest = hashlib.sha256()
        for labels in labels_N:
            digest.update(labels.astype("<i8").tobytes())
        return cls(num_images=len(correct), labels_sha256=digest.hexdigest(), bits=np.packbits(correct).tobytes())

    @property
    def num_correct(self) -> int:
        """How many were classified correctly."""
        return sum(byte.bit_count() for byte in self.bits)

    def is_paired_with(self, other: CorrectAnswers) -> bool:
        """Whether both answered the same images in the same order."""
        return (self.num_images, self.labels_sha256) == (other.num_images, other.labels_sha256)

    def minus(self, other: CorrectAnswers) -> PairedDifference:
        """Compare with another network's answers to the same images.

        Raises:
            InvalidMeasurementError: they are answers to others.
        """
        if not self.is_paired_with(other):
            raise InvalidMeasurementError(
                f"answers to {self.num_images} and {other.num_images} images of different labels cannot be paired"
            )
        own, others = (np.frombuffer(one.bits, dtype=np.uint8) for one in (self, other))
        only_one, only_other = (int(np.bitwise_count(bits).sum()) for bits in (own & ~others, others & ~own))
        return PairedDifference(num_images=self.num_images, num_only_one=only_one, num_only_other=only_other)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Two networks on the same images.

    Attributes:
        num_images: of both.
        num_only_one: images that the first alone classified correctly.
        num_only_other: images that the second alone did.
    """

    num_images: int
    num_only_one: int
    num_only_other: int

    @property
    def interval(self) -> Interval:
        """Accuracy of the first less that of the second, with its 95 % interval.

        With b and c images right in one alone, the interval is d +- z sqrt((p + q - d^2) / (n + 2)), where
        p = (b + 1) / (n + 2), q = (c + 1) / (n + 2) and d = p - q: Wald's for paired proportions after Laplace's
        adjustment, which keeps its coverage where few images tell the networks apart. Source: Bonett and Price,
        Adjusted Wald confidence interval for a difference of binomial proportions based on paired data, J. Educ.
        Behav. Stat. 37 (2012) 479-488, equation 3; recommended by Fagerland, Lydersen and Laake, Recommended tests and
        confidence intervals for paired binomial proportions, Stat. Med. 33 (2014) 2850-2875. The value is the plain
        difference (b - c) / n.
        """
        total = self.num_images + 2
        one, other = (self.num_only_one + 1) / total, (self.num_only_other + 1) / total
        middle = one - other
        half_width = CONFIDENCE_Z * math.sqrt((one + other - middle**2) / total)
        value = (self.num_only_one - self.num_only_other) / self.num_images
        return Interval(value, max(middle - half_width, -1.0), min(middle + half_width, 1.0))
