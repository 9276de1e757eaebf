"""The published supernets as plain PyTorch: their tensors with random numbers, and a forward pass of one sub-network.

Written from the facts of each paper's model, with nothing of ours: what a file of that layout must come out as.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812

Tensors = Mapping[str, torch.Tensor]

SPOS_STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))
ATTENTIVE_STAGES = (
    # width, depth, kernel, expansion (largest of each), stride, squeeze-and-excite
    (24, 2, 5, 1, 1, False),
    (32, 5, 5, 6, 2, False),
    (40, 6, 5, 6, 2, True),
    (72, 6, 5, 6, 2, False),
    (128, 8, 5, 6, 1, True),
    (216, 8, 5, 6, 2, True),
    (224, 2, 5, 6, 1, True),
)
ATTENTIVE_STEM, ATTENTIVE_LAST = 24, 1984
CLASSES = 1000


def spos_tensors(rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Every tensor of the SPOS supernet: 20 layers of 4 choices, BN without affine."""
    found: dict[str, torch.Tensor] = {}

    def conv_bn(conv: str, norm: str, *shape: int) -> None:
        found[f"{conv}.weight"] = torch.randn(shape, generator=rng) * 0.1
        _norm(found, norm, shape[0], rng, affine=False)

    conv_bn("first_conv.0", "first_conv.1", 16, 3, 3, 3)
    for layer, (width_in, width_out, stride) in enumerate(_spos_layers()):
        middle, main_out = width_out // 2, width_out - width_in
        for choice, kernel in enumerate((3, 5, 7, 3)):
            at = f"features.{layer}.{choice}"
            if choice < 3:
                main = [(0, middle, width_in, 1), (3, middle, 1, kernel), (5, main_out, middle, 1)]
            else:
                depthwise = [(0, width_in, 1, 3), (5, middle, 1, 3), (10, middle, 1, 3)]
                main = [*depthwise, (2, middle, width_in, 1), (7, middle, middle, 1), (12, main_out, middle, 1)]
            for index, out, into, size in sorted(main):
                conv_bn(f"{at}.branch_main.{index}", f"{at}.branch_main.{index + 1}", out, into, size, size)
            if stride == 2:
                conv_bn(f"{at}.branch_proj.0", f"{at}.branch_proj.1", width_in, 1, kernel, kernel)
                conv_bn(f"{at}.branch_proj.2", f"{at}.branch_proj.3", width_in, width_in, 1, 1)
    conv_bn("conv_last.0", "conv_last.1", 1024, 640, 1, 1)
    found["classifier.0.weight"] = torch.randn((CLASSES, 1024), generator=rng) * 0.1
    return found


def spos_forward(t: Tensors, x_NCHW: torch.Tensor, choices: Sequence[int]) -> torch.Tensor:
    """Logits of one path, BN by the batch's statistics."""

    def conv_bn(x: torch.Tensor, at: str, index: int, stride: int = 1, *, relu: bool = True) -> torch.Tensor:
        w = t[f"{at}.{index}.weight"]
        groups = w.shape[0] if w.shape[1] == 1 and w.shape[2] > 1 else 1
        x = F.batch_norm(
            F.conv2d(x, w, stride=stride, padding=w.shape[2] // 2, groups=groups), None, None, training=True
        )
        return F.relu(x) if relu else x

    x = conv_bn(x_NCHW, "first_conv", 0, 2)
    for layer, (choice, (_, _, stride)) in enumerate(zip(choices, _spos_layers(), strict=True)):
        main, proj = f"features.{layer}.{choice}.branch_main", f"features.{layer}.{choice}.branch_proj"
        if stride == 1:
            kept, y = x[:, 0::2], x[:, 1::2]
        else:
            kept, y = conv_bn(conv_bn(x, proj, 0, 2, relu=False), proj, 2), x
        if choice < 3:
            y = conv_bn(conv_bn(conv_bn(y, main, 0), main, 3, stride, relu=False), main, 5)
        else:
            y = conv_bn(conv_bn(y, main, 0, stride, relu=False), main, 2)
            y = conv_bn(conv_bn(y, main, 5, relu=False), main, 7)
            y = conv_bn(conv_bn(y, main, 10, relu=False), main, 12)
        x = torch.cat((kept, y), 1)
    x = conv_bn(x, "conv_last", 0).mean((2, 3))
    return F.linear(x, t["classifier.0.weight"])


def attentive_tensors(rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Every tensor of the AttentiveNAS supernet at its largest, with what no sub-network uses."""
    found: dict[str, torch.Tensor] = {}

    def conv(at: str, *shape: int) -> None:
        found[f"{at}.conv.conv.weight"] = torch.randn(shape, generator=rng) * 0.1

    def norm(at: str, width: int) -> None:
        _norm(found, f"{at}.bn.bn", width, rng, affine=True)
        for tracked in range(2):
            _norm(found, f"{at}.bn.bn_tracking.{tracked}", width, rng, affine=False)

    conv("first_conv", ATTENTIVE_STEM, 3, 3, 3)
    norm("first_conv", ATTENTIVE_STEM)
    for number, (_, width_in, width, kernel, expansion, _, excites) in enumerate(_attentive_blocks()):
        at, middle = f"blocks.{number}.mobile_inverted_conv", width_in * expansion
        if expansion > 1:
            conv(f"{at}.inverted_bottleneck", middle, width_in, 1, 1)
            norm(f"{at}.inverted_bottleneck", middle)
        conv(f"{at}.depth_conv", middle, 1, kernel, kernel)
        norm(f"{at}.depth_conv", middle)
        if excites:
            squeezed = divisible_by_8(middle // 4)
            for part, out, into in (("reduce", squeezed, middle), ("expand", middle, squeezed)):
                found[f"{at}.depth_conv.se.fc.{part}.weight"] = torch.randn((out, into, 1, 1), generator=rng) * 0.1
                found[f"{at}.depth_conv.se.fc.{part}.bias"] = torch.randn(out, generator=rng) * 0.1
        conv(f"{at}.point_linear", width, middle, 1, 1)
        norm(f"{at}.point_linear", width)
        conv(f"blocks.{number}.shortcut", width, width_in, 1, 1)
    width = ATTENTIVE_STAGES[-1][0]
    conv("last_conv.final_expand_layer", 6 * width, width, 1, 1)
    norm("last_conv.final_expand_layer", 6 * width)
    conv("last_conv.feature_mix_layer", ATTENTIVE_LAST, 6 * width, 1, 1)
    found["classifier.linear.linear.weight"] = torch.randn((CLASSES, ATTENTIVE_LAST), generator=rng) * 0.1
    found["classifier.linear.linear.bias"] = torch.randn(CLASSES, generator=rng) * 0.1
    return found


def attentive_forward(
    t: Tensors,
    x_NCHW: torch.Tensor,
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    kernels: Sequence[int],
    expansions: Sequence[int],
) -> torch.Tensor:
    """Logits of one sub-network, BN by the batch's statistics; `widths`: stem, seven stages, last convolution."""

    def conv_bn(x: torch.Tensor, at: str, out: int, size: int, stride: int = 1, *, depthwise: bool) -> torch.Tensor:
        w = t[f"{at}.conv.conv.weight"]
        margin = (w.shape[2] - size) // 2
        w = w[:out, : 1 if depthwise else x.shape[1], margin : margin + size, margin : margin + size]
        x = F.conv2d(x, w, stride=stride, padding=size // 2, groups=out if depthwise else 1)
        return F.batch_norm(
            x, None, None, t[f"{at}.bn.bn.weight"][:out], t[f"{at}.bn.bn.bias"][:out], training=True, eps=1e-5
        )

    x = F.silu(conv_bn(x_NCHW, "first_conv", widths[0], 3, 2, depthwise=False))
    first = 0
    for stage, (_, deepest, _, _, stage_stride, excites) in enumerate(ATTENTIVE_STAGES):
        for position in range(depths[stage]):
            at, stride = f"blocks.{first + position}.mobile_inverted_conv", stage_stride if position == 0 else 1
            out, middle, y = widths[stage + 1], divisible_by_8(x.shape[1] * expansions[stage]), x
            if expansions[stage] > 1:
                y = F.silu(conv_bn(y, f"{at}.inverted_bottleneck", middle, 1, depthwise=False))
            y = F.silu(conv_bn(y, f"{at}.depth_conv", middle, kernels[stage], stride, depthwise=True))
            if excites:
                part, squeezed = f"{at}.depth_conv.se.fc", divisible_by_8(middle // 4)
                s = F.conv2d(
                    y.mean((2, 3), keepdim=True),
                    t[f"{part}.reduce.weight"][:squeezed, :middle],
                    t[f"{part}.reduce.bias"][:squeezed],
                )
                s = F.conv2d(
                    F.relu(s), t[f"{part}.expand.weight"][:middle, :squeezed], t[f"{part}.expand.bias"][:middle]
                )
                y = y * F.hardsigmoid(s)
            y = conv_bn(y, f"{at}.point_linear", out, 1, depthwise=False)
            if stride > 1:
                x = F.avg_pool2d(x, stride, padding=x.shape[2] % 2)
            if x.shape[1] != out:
                x = F.conv2d(x, t[f"blocks.{first + position}.shortcut.conv.conv.weight"][:out, : x.shape[1]])
            x = x + y
        first += deepest
    x = F.silu(conv_bn(x, "last_conv.final_expand_layer", 6 * x.shape[1], 1, depthwise=False)).mean((2, 3))
    mixed = t["last_conv.feature_mix_layer.conv.conv.weight"][: widths[8], : x.shape[1], 0, 0]
    x = F.silu(F.linear(x, mixed))
    return F.linear(x, t["classifier.linear.linear.weight"][:, : widths[8]], t["classifier.linear.linear.bias"])


def divisible_by_8(value: float) -> int:
    """The nearest multiple of 8, never 10 % less."""
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


def _norm(found: dict[str, torch.Tensor], at: str, width: int, rng: torch.Generator, *, affine: bool) -> None:
    if affine:
        found[f"{at}.weight"] = 1.0 + 0.1 * torch.randn(width, generator=rng)
        found[f"{at}.bias"] = 0.1 * torch.randn(width, generator=rng)
    found[f"{at}.running_mean"] = 0.1 * torch.randn(width, generator=rng)
    found[f"{at}.running_var"] = 1.0 + 0.1 * torch.rand(width, generator=rng)
    found[f"{at}.num_batches_tracked"] = torch.tensor(7)


def _spos_layers() -> Iterator[tuple[int, int, int]]:
    """Width into the main branch, width of the block, stride."""
    width = 16
    for stage_width, repeats in SPOS_STAGES:
        for position in range(repeats):
            yield (width, stage_width, 2) if position == 0 else (stage_width // 2, stage_width, 1)
        width = stage_width


def _attentive_blocks() -> Iterator[tuple[int, int, int, int, int, int, bool]]:
    """Stage, width in, width out, kernel, expansion, stride, squeeze-and-excite of each of the 37 blocks."""
    width_in = ATTENTIVE_STEM
    for stage, (width, depth, kernel, expansion, stride, excites) in enumerate(ATTENTIVE_STAGES):
        for position in range(depth):
            yield stage, width_in, width, kernel, expansion, stride if position == 0 else 1, excites
            width_in = width
