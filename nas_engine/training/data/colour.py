"""Colour jitter of a batch, each image with factors and an order of its own.

Source: torchvision's ColorJitter, which SPOS's training code uses with (0.4, 0.4, 0.4). Every change blends the image
with another one, ``factor * x + (1 - factor) * other``, clipped to [0, 1]: with black (brightness), with the mean of
its grey values (contrast), or with its grey values (saturation); a black image stays black.
Shapes: N images, C channels, H height, W width; pixels are float in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601 weights of red, green and blue in grey."""

_BRIGHTNESS, _CONTRAST = 0, 1  # the third is saturation


@dataclass(frozen=True, slots=True)
class JitterDraw:
    """What was drawn for each image.

    Attributes:
        order_N3: which of brightness (0), contrast (1) and saturation (2) comes first, second and third.
        factors_N3: of brightness, contrast and saturation.
    """

    order_N3: NDArray[np.int64]  # noqa: N815
    factors_N3: NDArray[np.float64]  # noqa: N815

    def part(self, images: slice) -> JitterDraw:
        """What was drawn for some of the images."""
        return JitterDraw(self.order_N3[images], self.factors_N3[images])


def draw_jitter(num: int, strengths: tuple[float, float, float], rng: np.random.Generator) -> JitterDraw:
    """Draw factors uniformly from [max(0, 1 - strength), 1 + strength], and one of the six orders, for each image."""
    order_N3 = rng.permuted(np.tile(np.arange(3), (num, 1)), axis=1)
    low = [max(0.0, 1.0 - strength) for strength in strengths]
    high = [1.0 + strength for strength in strengths]
    return JitterDraw(order_N3.astype(np.int64), rng.uniform(low, high, size=(num, 3)))


def jitter(x_NCHW: torch.Tensor, draw: JitterDraw) -> torch.Tensor:
    """Change brightness, contrast and saturation of each image as it was drawn; images have three channels."""
    for place in range(3):
        kind_N = draw.order_N3[:, place]
        factor_N = draw.factors_N3[np.arange(len(kind_N)), kind_N]
        kind, factor = (torch.from_numpy(v).to(x_NCHW.device).view(-1, 1, 1, 1) for v in (kind_N, factor_N))
        grey_N1HW = grey(x_NCHW)
        other = torch.where(kind == _CONTRAST, grey_N1HW.mean((1, 2, 3), keepdim=True), grey_N1HW)
        other = torch.where(kind == _BRIGHTNESS, torch.zeros_like(other), other)
        x_NCHW = torch.lerp(other.expand_as(x_NCHW), x_NCHW, factor.to(x_NCHW.dtype)).clamp_(0.0, 1.0)
    return x_NCHW


def grey(x_NCHW: torch.Tensor) -> torch.Tensor:
    """Grey values x_N1HW of colour images."""
    luma = torch.tensor(LUMA, device=x_NCHW.device, dtype=x_NCHW.dtype).view(1, 3, 1, 1)
    return (x_NCHW * luma).sum(1, keepdim=True)
