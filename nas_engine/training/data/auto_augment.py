"""AutoAugment's policy v0 for ImageNet, drawn for each image of a batch, as AttentiveNAS trains with it.

Facts: facebookresearch/AttentiveNAS @c4c16f1, data/auto_augment_tf.py and data/data_transform.py (policy, ranges,
noise, filters and fill colour); what an operation does to pixels is Pillow's. A sub-policy of two operations is drawn
for each image; each is applied with its probability, at its level plus Gaussian noise of deviation 0.5, clipped to
[0, 10]; shears, rotations and translations go either way, with a filter drawn from three, and ImageNet's mean colour
comes in.
One thing is torch's: its cubic kernel has a = -0.75, that of Pillow's transformations a = -1.
Shapes: N images, C channels, H height, W width; pixels are whole numbers 0 to 255, held as floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

MAX_LEVEL = 10.0
LEVEL_DEVIATION = 0.5
FILL = (124.0, 116.0, 104.0)
"""ImageNet's mean colour, rounded: what comes in at the edges."""

FILTERS = ("nearest", "bilinear", "bicubic")
"""One of them is drawn for each shear, rotation and translation."""


class Operation(StrEnum):
    """Operations of the policy; which number a level stands for is `argument`'s to say."""

    AUTO_CONTRAST = "AutoContrast"
    COLOUR = "Color"
    EQUALIZE = "Equalize"
    INVERT = "Invert"
    POSTERIZE = "Posterize"
    ROTATE = "Rotate"
    SHEAR_X = "ShearX"
    SHEAR_Y = "ShearY"
    SOLARIZE = "Solarize"
    SOLARIZE_ADD = "SolarizeAdd"
    TRANSLATE_Y = "TranslateYRel"


Step = tuple[Operation, float, float]
"""An operation, its probability and its level."""

_AC, _CO, _EQ, _IN, _PO = (
    Operation.AUTO_CONTRAST, Operation.COLOUR, Operation.EQUALIZE, Operation.INVERT, Operation.POSTERIZE,
)  # fmt: skip
_RO, _SX, _SY = Operation.ROTATE, Operation.SHEAR_X, Operation.SHEAR_Y
_SO, _SA, _TY = Operation.SOLARIZE, Operation.SOLARIZE_ADD, Operation.TRANSLATE_Y
POLICY_V0: tuple[tuple[Step, Step], ...] = (
    ((_EQ, 0.8, 1), (_SY, 0.8, 4)),
    ((_CO, 0.4, 9), (_EQ, 0.6, 3)),
    ((_CO, 0.4, 1), (_RO, 0.6, 8)),
    ((_SO, 0.8, 3), (_EQ, 0.4, 7)),
    ((_SO, 0.4, 2), (_SO, 0.6, 2)),
    ((_CO, 0.2, 0), (_EQ, 0.8, 8)),
    ((_EQ, 0.4, 8), (_SA, 0.8, 3)),
    ((_SX, 0.2, 9), (_RO, 0.6, 8)),
    ((_CO, 0.6, 1), (_EQ, 1.0, 2)),
    ((_IN, 0.4, 9), (_RO, 0.6, 0)),
    ((_EQ, 1.0, 9), (_SY, 0.6, 3)),
    ((_CO, 0.4, 7), (_EQ, 0.6, 0)),
    ((_PO, 0.4, 6), (_AC, 0.4, 7)),
    ((_SO, 0.6, 8), (_CO, 0.6, 9)),
    ((_SO, 0.2, 4), (_RO, 0.8, 9)),
    ((_RO, 1.0, 7), (_TY, 0.8, 9)),
    ((_SX, 0.0, 0), (_SO, 0.8, 4)),
    ((_SY, 0.8, 0), (_CO, 0.6, 4)),
    ((_CO, 1.0, 0), (_RO, 0.6, 2)),
    ((_EQ, 0.8, 4), (_EQ, 0.0, 8)),
    ((_EQ, 1.0, 4), (_AC, 0.6, 2)),
    ((_SY, 0.4, 7), (_SA, 0.6, 7)),
    ((_PO, 0.8, 2), (_SO, 0.6, 10)),
    ((_SO, 0.6, 8), (_EQ, 0.6, 1)),
    ((_CO, 0.8, 6), (_RO, 0.4, 5)),
)
GEOMETRIC = frozenset({_RO, _SX, _SY, _TY})


@dataclass(frozen=True, slots=True)
class PolicyDraw:
    """What was drawn for each image; the second index is the place of an operation in its sub-policy.

    Attributes:
        sub_policy_N: which of `POLICY_V0`.
        applied_N2: whether the operation is applied.
        level_N2: with its noise.
        sign_N2: 1 or -1, for operations that go either way.
        filter_N2: which of `FILTERS`.
    """

    sub_policy_N: NDArray[np.int64]  # noqa: N815
    applied_N2: NDArray[np.bool_]  # noqa: N815
    level_N2: NDArray[np.float64]  # noqa: N815
    sign_N2: NDArray[np.float64]  # noqa: N815
    filter_N2: NDArray[np.int64]  # noqa: N815

    def part(self, images: slice) -> PolicyDraw:
        """What was drawn for some of the images."""
        return PolicyDraw(*(getattr(self, field.name)[images] for field in fields(self)))


def draw_policy(num: int, rng: np.random.Generator) -> PolicyDraw:
    """Draw a sub-policy and its details for each of `num` images."""
    sub_policy_N = rng.integers(len(POLICY_V0), size=num)
    steps = np.array([[step[1:] for step in pair] for pair in POLICY_V0])
    probability_N2, level_N2 = steps[sub_policy_N, :, 0], steps[sub_policy_N, :, 1]
    return PolicyDraw(
        sub_policy_N,
        rng.random((num, 2)) < probability_N2,
        np.clip(level_N2 + LEVEL_DEVIATION * rng.standard_normal((num, 2)), 0.0, MAX_LEVEL),
        np.where(rng.random((num, 2)) < 0.5, 1.0, -1.0),
        rng.integers(len(FILTERS), size=(num, 2)),
    )


def argument(operation: Operation, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number that a level stands for, without its sign: degrees, shares of a side, thresholds, bits kept, factors."""
    share = level / MAX_LEVEL
    match operation:
        case Operation.ROTATE:
            return share * 30.0
        case Operation.SHEAR_X | Operation.SHEAR_Y:
            return share * 0.3
        case Operation.TRANSLATE_Y:
            return share * 0.45
        case Operation.POSTERIZE:
            return np.floor(share * 4.0) + 4.0
        case Operation.SOLARIZE:
            return np.floor(share * 256.0)
        case Operation.SOLARIZE_ADD:
            return np.floor(share * 110.0)
        case Operation.COLOUR:
            return share * 1.8 + 0.1
        case _:
            return share


def auto_augment(x_NCHW: torch.Tensor, draw: PolicyDraw) -> torch.Tensor:
    """Apply to each image, pixels 0 to 255 of three channels, what was drawn for it."""
    x_NCHW = x_NCHW.clone()
    for place in range(2):
        operations = np.array([pair[place][0] for pair in POLICY_V0])[draw.sub_policy_N]
        applied_N = draw.applied_N2[:, place]
        for operation in Operation:
            chosen = np.flatnonzero(applied_N & (operations == operation))
            if not len(chosen):
                continue
            index = torch.from_numpy(chosen).to(x_NCHW.device)
            value_N = argument(operation, draw.level_N2[chosen, place])
            if operation in GEOMETRIC:
                value_N = value_N * draw.sign_N2[chosen, place]
                changed = warp(x_NCHW[index], operation, value_N, draw.filter_N2[chosen, place])
            else:
                value_N111 = torch.from_numpy(value_N).to(x_NCHW.device, x_NCHW.dtype).view(-1, 1, 1, 1)
                changed = _OPERATIONS[operation](x_NCHW[index], value_N111)
            x_NCHW[index] = changed
    return x_NCHW


def warp(
    x_NCHW: torch.Tensor, operation: Operation, value_N: NDArray[np.float64], filter_N: NDArray[np.int64]
) -> torch.Tensor:
    """Shear, rotate (degrees) or translate (share of the height) each image, each with its filter."""
    _, _, height, width = x_NCHW.shape
    rows_N23 = torch.from_numpy(np.stack([_matrix(operation, v, height, width) for v in value_N]))
    rows_N23 = rows_N23.to(x_NCHW.device, x_NCHW.dtype)
    ys, xs = (torch.arange(n, device=x_NCHW.device, dtype=x_NCHW.dtype) + 0.5 for n in (height, width))
    # Where each pixel of the result comes from: centres of pixels are at halves.
    from_x = (
        rows_N23[:, 0, 0, None, None] * xs + rows_N23[:, 0, 1, None, None] * ys[:, None] + rows_N23[:, 0, 2, None, None]
    )
    from_y = (
        rows_N23[:, 1, 0, None, None] * xs + rows_N23[:, 1, 1, None, None] * ys[:, None] + rows_N23[:, 1, 2, None, None]
    )
    inside_N1HW = ((from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height))[:, None]
    grid_NHW2 = torch.stack([2.0 * from_x / width - 1.0, 2.0 * from_y / height - 1.0], dim=-1)
    fill = torch.tensor(FILL, device=x_NCHW.device, dtype=x_NCHW.dtype).view(1, 3, 1, 1)
    result = torch.empty_like(x_NCHW)
    for number, mode in enumerate(FILTERS):
        index = torch.from_numpy(np.flatnonzero(filter_N == number)).to(x_NCHW.device)
        if len(index):
            sampled = F.grid_sample(
                x_NCHW[index], grid_NHW2[index], mode=mode, padding_mode="border", align_corners=False
            )
            result[index] = torch.where(inside_N1HW[index], sampled.round_().clamp_(0.0, 255.0), fill)
    return result


def _matrix(operation: Operation, value: float, height: int, width: int) -> NDArray[np.float64]:
    """Rows of the map from a place in the result to one in the image, as Pillow's affine transformations have them."""
    match operation:
        case Operation.SHEAR_X:
            return np.array([[1.0, value, 0.0], [0.0, 1.0, 0.0]])
        case Operation.SHEAR_Y:
            return np.array([[1.0, 0.0, 0.0], [value, 1.0, 0.0]])
        case Operation.TRANSLATE_Y:
            return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, value * height]])
        case _:  # counter-clockwise about the middle
            cosine, sine = math.cos(math.radians(value)), math.sin(math.radians(value))
            x, y = width / 2, height / 2
            return np.array([[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y]])


def equalize(x_NCHW: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Spread each channel's values so that all come about as often (Pillow's ImageOps.equalize)."""
    counts = _histograms(x_NCHW)  # (N * C, 256)
    last = torch.where(counts > 0, torch.arange(256, device=counts.device), -1).amax(1)
    step = torch.div(counts.sum(1) - counts.gather(1, last[:, None])[:, 0], 255, rounding_mode="floor")
    before = counts.cumsum(1) - counts
    table = torch.div(step[:, None] // 2 + before, step[:, None].clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table = torch.where(step[:, None] == 0, torch.arange(256, device=counts.device), table)
    values = x_NCHW.reshape(len(table), -1).long()
    return table.gather(1, values).to(x_NCHW.dtype).reshape(x_NCHW.shape)


def auto_contrast(x_NCHW: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to 0 to 255 (Pillow's ImageOps.autocontrast)."""
    low, high = x_NCHW.amin((2, 3), keepdim=True), x_NCHW.amax((2, 3), keepdim=True)
    stretched = ((x_NCHW - low) * 255.0 / (high - low).clamp(min=1.0)).floor()
    return torch.where(high > low, stretched, x_NCHW)


def colour(x_NCHW: torch.Tensor, factor_N111: torch.Tensor) -> torch.Tensor:
    """Blend with its grey values: 0 is grey, 1 the image, more is more colourful (Pillow's ImageEnhance.Color)."""
    luma = torch.tensor((19595.0, 38470.0, 7471.0), device=x_NCHW.device, dtype=x_NCHW.dtype).view(1, 3, 1, 1)
    grey_N1HW = (((x_NCHW * luma).sum(1, keepdim=True) + 32768.0) / 65536.0).floor()
    return (grey_N1HW + factor_N111 * (x_NCHW - grey_N1HW)).clamp(0.0, 255.0).floor()


def posterize(x_NCHW: torch.Tensor, bits_N111: torch.Tensor) -> torch.Tensor:
    """Keep so many leading bits of each value."""
    step = 2.0 ** (8.0 - bits_N111)
    return (x_NCHW / step).floor() * step


def solarize(x_NCHW: torch.Tensor, threshold_N111: torch.Tensor) -> torch.Tensor:
    """Invert values from the threshold on."""
    return torch.where(x_NCHW < threshold_N111, x_NCHW, 255.0 - x_NCHW)


def solarize_add(x_NCHW: torch.Tensor, added_N111: torch.Tensor) -> torch.Tensor:
    """Add to values below 128."""
    return torch.where(x_NCHW < 128.0, (x_NCHW + added_N111).clamp(max=255.0), x_NCHW)


def invert(x_NCHW: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Invert all values."""
    return 255.0 - x_NCHW


_OPERATIONS: Mapping[Operation, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    Operation.AUTO_CONTRAST: auto_contrast,
    Operation.COLOUR: colour,
    Operation.EQUALIZE: equalize,
    Operation.INVERT: invert,
    Operation.POSTERIZE: posterize,
    Operation.SOLARIZE: solarize,
    Operation.SOLARIZE_ADD: solarize_add,
}


def _histograms(x_NCHW: torch.Tensor) -> torch.Tensor:
    """How often each value 0 to 255 comes in each channel of each image, (N * C, 256)."""
    num, channels = x_NCHW.shape[:2]
    values = x_NCHW.reshape(num * channels, -1).long()
    counts = torch.zeros(num * channels, 256, dtype=torch.long, device=x_NCHW.device)
    return counts.scatter_add_(1, values, torch.ones_like(values))
