"""Batched augmentation: crops of images in memory by kornia, all else by operations of our own.

Everything drawn is a function of (seed, step). All but kornia's crops is drawn for the batch of all
processes, so that N processes see exactly what one process with N times the batch sees.
Shapes: N images, C channels, H height, W width; pixels are float in [0, 1] before normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from nas_engine.domain.errors import TrainingError
from nas_engine.settings.images import Interpolation
from nas_engine.settings.training import AugmentationName
from nas_engine.training.data.auto_augment import auto_augment, draw_policy
from nas_engine.training.data.colour import draw_jitter, jitter
from nas_engine.training.data.dataset import Normalisation
from nas_engine.training.data.decoding.picture import Pixels
from nas_engine.training.randomness import Randomness, Stream

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is done to training images.

    Attributes:
        crop_padding: random shift by up to this many pixels, zeros come in (RandomCrop with padding).
        horizontal_flip: mirror half of the images.
        resized_crop_scale: smallest share of the area that a random resized crop keeps; None for no
            such crop. Ratio 3/4 to 4/3.
        colour_jitter: brightness, contrast, saturation strength (SPOS: 0.4 each); zeros for none.
        auto_augment: AutoAugment's policy v0 for ImageNet, as AttentiveNAS has it.
    """

    crop_padding: int = 0
    horizontal_flip: bool = False
    resized_crop_scale: float | None = None
    colour_jitter: tuple[float, float, float] = (0.0, 0.0, 0.0)
    auto_augment: bool = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise TrainingError(f"crop_padding is {self.crop_padding}: it must be 0 or more")
        if self.resized_crop_scale is not None and not 0.0 < self.resized_crop_scale <= 1.0:
            raise TrainingError(f"resized_crop_scale is {self.resized_crop_scale}: it must lie in (0, 1]")
        if len(self.colour_jitter) != 3 or any(not 0.0 <= strength <= 1.0 for strength in self.colour_jitter):
            raise TrainingError(f"colour_jitter is {self.colour_jitter}: give three strengths in [0, 1]")


NO_AUGMENTATION = Augmentation()
INCEPTION_CROP = 0.08
AUGMENTATIONS: Mapping[AugmentationName, Augmentation] = {
    AugmentationName.NONE: NO_AUGMENTATION,
    AugmentationName.LIGHT: Augmentation(crop_padding=2, horizontal_flip=True),
    AugmentationName.INCEPTION: Augmentation(resized_crop_scale=INCEPTION_CROP, horizontal_flip=True),
    # SPOS reference: RandomResizedCrop, ColorJitter(0.4, 0.4, 0.4), flip.
    AugmentationName.IMAGENET: Augmentation(
        resized_crop_scale=INCEPTION_CROP, horizontal_flip=True, colour_jitter=(0.4, 0.4, 0.4)
    ),
    AugmentationName.AUTOAUGMENT: Augmentation(
        resized_crop_scale=INCEPTION_CROP, horizontal_flip=True, auto_augment=True
    ),
}


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the batch of all processes this process works on: images [rank * n, (rank + 1) * n)."""

    rank: int = 0
    num_processes: int = 1


ALONE = Share()


class Augmenter:
    """Applies an `Augmentation`; kornia is imported at first need (its import takes seconds)."""

    def __init__(
        self,
        augmentation: Augmentation,
        randomness: Randomness,
        share: Share,
        *,
        cropped: bool,
        interpolation: Interpolation = Interpolation.BICUBIC,
    ) -> None:
        """`cropped`: the split already takes random resized crops while it loads; else `interpolation` is theirs."""
        self._augmentation = augmentation
        self._randomness = randomness
        self._share = share
        self._cropped = cropped
        self._interpolation = interpolation
        self._crop: nn.Module | None = None

    def __call__(self, x_NCHW: torch.Tensor, step: int) -> torch.Tensor:
        """Augmented images of one step."""
        a = self._augmentation
        if a.crop_padding or a.horizontal_flip:
            x_NCHW = self._shift_and_flip(x_NCHW, step)
        if a.resized_crop_scale is not None and not self._cropped:
            x_NCHW = self._resized_crop(x_NCHW, a.resized_crop_scale, step)
        everybody, mine = self._everybody(len(x_NCHW))
        rng = self._randomness.numpy(Stream.AUGMENTATION, step)
        if any(a.colour_jitter):
            x_NCHW = jitter(x_NCHW, draw_jitter(everybody, a.colour_jitter, rng).part(mine))
        if a.auto_augment:
            x_NCHW = auto_augment((x_NCHW * 255.0).round_(), draw_policy(everybody, rng).part(mine)).div_(255.0)
        return x_NCHW

    def _everybody(self, num: int) -> tuple[int, slice]:
        """Number of images of all processes where this one has `num`, and which of them are its own."""
        return num * self._share.num_processes, slice(self._share.rank * num, (self._share.rank + 1) * num)

    def _shift_and_flip(self, x_NCHW: torch.Tensor, step: int) -> torch.Tensor:
        num, _, height, width = x_NCHW.shape
        padding = self._augmentation.crop_padding
        rng = self._randomness.numpy(Stream.CROP, step)
        everybody, mine = self._everybody(num)
        offsets_N2 = rng.integers(0, 2 * padding + 1, size=(everybody, 2))[mine]
        flips_N = (rng.random(everybody) < 0.5)[mine] & self._augmentation.horizontal_flip
        rows_NH = offsets_N2[:, :1] + np.arange(height)
        columns_NW = offsets_N2[:, 1:] + np.where(flips_N[:, None], np.arange(width)[::-1], np.arange(width))
        padded = F.pad(x_NCHW, (padding,) * 4)
        index = torch.arange(num, device=x_NCHW.device)[:, None, None]
        rows, columns = (torch.from_numpy(i).to(x_NCHW.device) for i in (rows_NH, columns_NW))
        # Indexing puts the channels last: (N, H, W, C), which is the fast memory format as it is.
        picked_NHWC = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
        return picked_NHWC.permute(0, 3, 1, 2)

    def _resized_crop(self, x_NCHW: torch.Tensor, smallest: float, step: int) -> torch.Tensor:
        if self._crop is None:
            import kornia.augmentation as K  # noqa: N812

            size, resample = tuple(x_NCHW.shape[2:]), self._interpolation.value
            self._crop = cast("nn.Module", K.RandomResizedCrop(size, scale=(smallest, 1.0), resample=resample))
        state = np.random.SeedSequence((self._randomness.seed, int(Stream.AUGMENTATION), step, self._share.rank))
        # kornia draws from torch's global generators; they are forked, so nobody else sees it.
        devices = [x_NCHW.device] if x_NCHW.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(int(state.generate_state(1)[0]))
            return cast(torch.Tensor, self._crop(x_NCHW)).clamp_(0.0, 1.0)


def to_float(pixels: Pixels, device: torch.device) -> torch.Tensor:
    """uint8 (N, H, W, C) to float in [0, 1], x_NCHW in channels_last memory."""
    x_NHWC = torch.from_numpy(pixels).to(device, non_blocking=True)
    return x_NHWC.permute(0, 3, 1, 2).float().div_(255.0)


def normalise(x_NCHW: torch.Tensor, normalisation: Normalisation, *, in_place: bool = False) -> torch.Tensor:
    """Subtract a mean and divide by a standard deviation, channel by channel."""
    mean = torch.tensor(normalisation.mean, device=x_NCHW.device).view(1, -1, 1, 1)
    std = torch.tensor(normalisation.std, device=x_NCHW.device).view(1, -1, 1, 1)
    return x_NCHW.sub_(mean).div_(std) if in_place else (x_NCHW - mean) / std
