"""Depthwise convolutions of feature maps that are smaller than their kernels, as late stages of small images have.

Torch's CPU library (oneDNN) has no fast path for these: the weights' gradient of a 5x5 kernel on a 4x4 map takes
fifty times as long as that of a 3x3 kernel, and a forward pass on a 1x1 map as long as one on 14x14. The same sums
are taken here over what is there: taps that only ever meet padding are cut off, and the weights' gradient of what
remains is a matrix product per channel. `benchmarks/search/training_step.py` prints what it is worth.

Shapes: N images, C channels, H, W of the input, P, Q of the output, K kernel.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch.autograd.function import FunctionCtx, once_differentiable


def depthwise_conv2d(
    x_NCHW: torch.Tensor, weight_C1KK: torch.Tensor, bias_C: torch.Tensor | None, stride: int, padding: int
) -> torch.Tensor:
    """`conv2d` with one filter per channel, fast on small maps too; equal to it up to the order of sums."""
    channels, _, kernel, _ = weight_C1KK.shape
    size = min(x_NCHW.shape[2:])
    if size >= kernel or x_NCHW.device.type != "cpu":
        return F.conv2d(x_NCHW, weight_C1KK, bias_C, stride, padding, 1, channels)
    # The outer taps of a kernel that reaches over the map on all sides meet nothing but zeros.
    reach = max(x_NCHW.shape[2:]) - 1
    unmet = padding - reach
    if unmet > 0 and kernel == 2 * padding + 1:
        weight_C1KK, padding, kernel = weight_C1KK[:, :, unmet:-unmet, unmet:-unmet], reach, 2 * reach + 1
    if kernel == 1:  # a map of one pixel
        scaled = x_NCHW * weight_C1KK.view(1, channels, 1, 1)
        return scaled if bias_C is None else scaled + bias_C.view(1, channels, 1, 1)
    if size < kernel and weight_C1KK.requires_grad and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"):
        convolved: torch.Tensor = _SmallMap.apply(x_NCHW, weight_C1KK, bias_C, stride, padding)  # type: ignore[no-untyped-call]
        return convolved
    return F.conv2d(x_NCHW, weight_C1KK, bias_C, stride, padding, 1, channels)


class _SmallMap(torch.autograd.Function):
    """`conv2d` whose weights' gradient is taken as matrix products."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x_NCHW: torch.Tensor,
        weight_C1KK: torch.Tensor,
        bias_C: torch.Tensor | None,
        stride: int,
        padding: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(x_NCHW, weight_C1KK)
        ctx.stride, ctx.padding = stride, padding  # type: ignore[attr-defined]
        return F.conv2d(x_NCHW, weight_C1KK, bias_C, stride, padding, 1, x_NCHW.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_NCPQ: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_NCHW, weight_C1KK = ctx.saved_tensors  # type: ignore[attr-defined]
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]  # type: ignore[attr-defined]
        stride, padding = ctx.stride, ctx.padding  # type: ignore[attr-defined]
        grad_x = grad_weight = grad_bias = None
        if needs_x:
            grad_x = torch.ops.aten.convolution_backward(
                grad_NCPQ, x_NCHW, weight_C1KK, None,
                [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], x_NCHW.shape[1], [True, False, False],
            )[0]  # fmt: skip
        if needs_weight:
            grad_weight = weight_gradient(x_NCHW, grad_NCPQ, weight_C1KK.shape[-1], stride, padding)
        if needs_bias:
            grad_bias = grad_NCPQ.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None


def weight_gradient(
    x_NCHW: torch.Tensor, grad_NCPQ: torch.Tensor, kernel: int, stride: int, padding: int
) -> torch.Tensor:
    """Gradient of a depthwise convolution's weights, [C, 1, K, K].

    The products of every input with every output's gradient are summed over the images, channel by channel; each tap
    then gathers those that it met.
    """
    num_images, channels, height, width = x_NCHW.shape
    rows, columns = grad_NCPQ.shape[2:]
    x_CNI = x_NCHW.contiguous().view(num_images, channels, height * width).transpose(0, 1)
    grad_CNO = grad_NCPQ.contiguous().view(num_images, channels, rows * columns).transpose(0, 1)
    products_CIO = torch.bmm(x_CNI.transpose(1, 2), grad_CNO)
    taps = _met_by_taps(height, width, rows, columns, kernel, stride, padding).to(products_CIO.dtype)
    return (products_CIO.reshape(channels, -1) @ taps).view(channels, 1, kernel, kernel)


@lru_cache(maxsize=256)
def _met_by_taps(
    height: int, width: int, rows: int, columns: int, kernel: int, stride: int, padding: int
) -> torch.Tensor:
    """1 where a tap meets an input for an output, [inputs * outputs, taps]: tap i meets input s p + i - padding."""

    def met(size: int, outputs: int) -> torch.Tensor:
        """[size, outputs, kernel] along one side."""
        at = stride * torch.arange(outputs)[:, None] + torch.arange(kernel) - padding
        return (torch.arange(size)[:, None, None] == at).float()

    both = torch.einsum("hpi,wqj->hwpqij", met(height, rows), met(width, columns))
    return both.reshape(-1, kernel * kernel)
