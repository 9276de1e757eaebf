"""Depthwise convolutions of small maps are torch's, whatever the sizes: outputs and every gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.supernet.depthwise import depthwise_conv2d


@settings(max_examples=150, deadline=None)
@given(
    num_images=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.sampled_from([1, 2, 3, 4, 5, 7]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    has_bias=st.booleans(),
    seed=st.integers(0, 10),
)
def test_outputs_and_gradients_are_those_of_torch(
    num_images: int,
    channels: int,
    height: int,
    width: int,
    kernel: int,
    stride: int,
    padding: int,
    has_bias: bool,
    seed: int,
) -> None:
    if min(height, width) + 2 * padding < kernel:
        return  # the kernel does not fit
    rng = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64, requires_grad=True)

    x_NCHW, weight_C1KK = random(num_images, channels, height, width), random(channels, 1, kernel, kernel)
    bias_C = random(channels) if has_bias else None
    wanted = [x_NCHW, weight_C1KK, *([] if bias_C is None else [bias_C])]
    expected = F.conv2d(x_NCHW, weight_C1KK, bias_C, stride, padding, 1, channels)
    found = depthwise_conv2d(x_NCHW, weight_C1KK, bias_C, stride, padding)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    incoming = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, wanted, incoming), torch.autograd.grad(expected, wanted, incoming), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_part_of_a_stored_kernel_passes_its_gradient_on(size: int) -> None:
    stored = torch.randn(6, 1, 7, 7, requires_grad=True)
    x_NCHW = torch.randn(2, 4, size, size).contiguous(memory_format=torch.channels_last)
    part = stored[:4, :, 1:6, 1:6]
    ours, theirs = (
        torch.autograd.grad(found.square().sum(), stored, retain_graph=True)[0]
        for found in (depthwise_conv2d(x_NCHW, part, None, 1, 2), F.conv2d(x_NCHW, part, None, 1, 2, 1, 4))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_layout_of_the_images_is_kept() -> None:
    x_NCHW = torch.randn(2, 8, 1, 1).contiguous(memory_format=torch.channels_last)
    found = depthwise_conv2d(x_NCHW, torch.randn(8, 1, 5, 5, requires_grad=True), None, 1, 2)
    assert found.is_contiguous(memory_format=torch.channels_last)
