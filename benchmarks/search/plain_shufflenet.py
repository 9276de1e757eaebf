"""What a user without a layer graph would write: SPOS sub-networks and their supernet, of torch's own modules.

Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from nas_engine.spaces.shufflenet import KERNELS, OPERATORS, XCEPTION, ShuffleNetParameters

Batch = tuple[torch.Tensor, torch.Tensor]


class ConvBN(nn.Module):
    """Convolution and batch normalisation, with or without a ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, momentum=None)
        self.relu = relu

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """x_NCHW of the next layer."""
        x_NCHW = self.bn(self.conv(x_NCHW))
        return F.relu(x_NCHW, inplace=True) if self.relu else x_NCHW


class ShuffleBlock(nn.Module):
    """One choice block."""

    def __init__(self, inputs: int, outputs: int, choice: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        passed = inputs if stride == 2 else inputs // 2
        kernel = 3 if choice == XCEPTION else KERNELS[choice]
        worked, mid, out = (inputs if stride == 2 else inputs // 2), outputs // 2, outputs - passed
        self.proj = nn.Sequential()
        if stride == 2:
            self.proj.append(ConvBN(inputs, inputs, kernel, 2, inputs, relu=False))
            self.proj.append(ConvBN(inputs, inputs, 1, 1, 1, relu=True))
        if choice == XCEPTION:
            self.main = nn.Sequential(
                ConvBN(worked, worked, 3, stride, worked, relu=False), ConvBN(worked, mid, 1, 1, 1, relu=True),
                ConvBN(mid, mid, 3, 1, mid, relu=False), ConvBN(mid, mid, 1, 1, 1, relu=True),
                ConvBN(mid, mid, 3, 1, mid, relu=False), ConvBN(mid, out, 1, 1, 1, relu=True),
            )  # fmt: skip
        else:
            self.main = nn.Sequential(
                ConvBN(worked, mid, 1, 1, 1, relu=True),
                ConvBN(mid, mid, kernel, stride, mid, relu=False),
                ConvBN(mid, out, 1, 1, 1, relu=True),
            )

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Concatenate what passes and what the main branch makes."""
        if self.stride == 1:
            return torch.cat((x_NCHW[:, ::2], self.main(x_NCHW[:, 1::2])), 1)
        return torch.cat((self.proj(x_NCHW), self.main(x_NCHW)), 1)


class PlainShuffleNet(nn.Module):
    """The whole sub-network, with the weights of a supernet."""

    def __init__(self, p: ShuffleNetParameters, genotype: Sequence[int], weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.stem = ConvBN(p.input_channels, p.stem_channels, 3, p.stem_stride, 1, relu=True)
        self.blocks = nn.Sequential()
        self.names: list[str] = []
        choices, inputs = iter(genotype), p.stem_channels
        for stage, (width, repeats) in enumerate(zip(p.stage_channels, p.stage_repeats, strict=True)):
            for block in range(repeats):
                choice = next(choices)
                self.blocks.append(ShuffleBlock(inputs, width, choice, 1 if block else 2))
                self.names.append(f"stage{stage}.block{block}.{OPERATORS[choice]}")
                inputs = width
        self.tail = ConvBN(inputs, p.tail_channels, 1, 1, 1, relu=True)
        self.head = nn.Linear(p.tail_channels, p.num_classes, bias="head.linear.bias" in weights)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                stored = weights.get(self._stored(name))
                if stored is not None:  # the supernet's batch normalisation has no affine part
                    parameter.copy_(stored)

    def _stored(self, name: str) -> str:
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            return f"{self.names[int(number)]}.{rest}"
        return name.replace("head.", "head.linear.")

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """logits_NK of a batch of images."""
        x_NCHW = self.tail(self.blocks(self.stem(x_NCHW)))
        return cast(torch.Tensor, self.head(x_NCHW.mean((2, 3))))

    @torch.inference_mode()
    def evaluated(self, calibration: Iterable[torch.Tensor], held_out: Iterable[Batch]) -> torch.Tensor:
        """Recalibrate batch normalisation, classify; whether each held-out image was answered right, (N,)."""
        self.train()
        for x_NCHW in calibration:
            self(x_NCHW)
        self.eval()
        return torch.cat([self(x_NCHW).argmax(1) == labels_N for x_NCHW, labels_N in held_out])


class PlainSupernet(nn.Module):
    """All choices of all blocks; batch normalisation by the batch, as supernets are trained."""

    def __init__(self, p: ShuffleNetParameters) -> None:
        super().__init__()
        self.stem = ConvBN(p.input_channels, p.stem_channels, 3, p.stem_stride, 1, relu=True)
        self.blocks = nn.ModuleList()
        inputs = p.stem_channels
        for width, repeats in zip(p.stage_channels, p.stage_repeats, strict=True):
            for block in range(repeats):
                stride = 1 if block else 2
                self.blocks.append(
                    nn.ModuleList(ShuffleBlock(inputs, width, choice, stride) for choice in range(len(OPERATORS)))
                )
                inputs = width
        self.tail = ConvBN(inputs, p.tail_channels, 1, 1, 1, relu=True)
        self.head = nn.Linear(p.tail_channels, p.num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None

    def forward(self, x_NCHW: torch.Tensor, genotype: Sequence[int]) -> torch.Tensor:
        """logits_NK of a batch of images by one path."""
        x_NCHW = self.stem(x_NCHW)
        for choices, choice in zip(self.blocks, genotype, strict=True):
            x_NCHW = cast(nn.ModuleList, choices)[choice](x_NCHW)
        return cast(torch.Tensor, self.head(self.tail(x_NCHW).mean((2, 3))))
