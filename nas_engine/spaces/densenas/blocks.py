"""The layers of DenseNAS networks, written into a graph: MBConv, ResNet blocks, stem and ending.

Sources: Fang et al., DenseNAS (CVPR 2020), and the published implementation for what the paper leaves
open: batch-normalisation constants, which BNs are affine during search, initialisation, residual rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import sqrt

from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import ZEROS, ActivationKind, Init, InitKind
from nas_engine.domain.search_space import Form
from nas_engine.spaces.densenas.net_config import BASIC_BLOCK, BOTTLENECK, BOTTLENECK_EXPANSION, mbconv_of


class DenseFamily(Enum):
    """The two backbones of the paper."""

    MBV2 = "mbv2"
    RESNET = "resnet"


@dataclass(frozen=True, slots=True)
class FamilyRules:
    """What the reference does differently in the two families.

    Attributes:
        bn_eps: epsilon of every batch normalisation.
        stem_activation: by form; the published derived ResNet clips its stem at 6, its supernet does not.
        stem_affine_in_search: whether the stem's BN has weights in the supernet.
        has_ending: whether derived networks keep the 1x1 convolution before the pooling.
        zero_classifier_bias: bias starts at 0 (else PyTorch's default, uniform within 1/sqrt(fan in)).
    """

    bn_eps: float
    stem_activation: dict[Form, ActivationKind]
    stem_affine_in_search: bool
    has_ending: bool
    zero_classifier_bias: bool


RULES = {
    DenseFamily.MBV2: FamilyRules(
        bn_eps=1e-3,
        stem_activation={Form.SUPERNET: ActivationKind.RELU6, Form.DEPLOYED: ActivationKind.RELU6},
        stem_affine_in_search=False,
        has_ending=True,
        zero_classifier_bias=True,
    ),
    DenseFamily.RESNET: FamilyRules(
        bn_eps=1e-5,
        stem_activation={Form.SUPERNET: ActivationKind.RELU, Form.DEPLOYED: ActivationKind.RELU6},
        stem_affine_in_search=True,
        has_ending=False,
        zero_classifier_bias=False,
    ),
}


class BlockWriter:
    """Writes operators of one family in one form into a graph; names are prefixes of weight names."""

    def __init__(self, graph: GraphBuilder, family: DenseFamily, form: Form) -> None:
        self.graph = graph
        self._rules = RULES[family]
        self._form = form
        self._affine = form is Form.DEPLOYED

    def stem(self, x: int, name: str, *, out: int, stride: int) -> int:
        """3x3 convolution, BN, activation."""
        affine = self._affine or self._rules.stem_affine_in_search
        x = self._conv_bn(x, name, out=out, kernel=3, stride=stride, affine=affine)
        return self.graph.activation(x, f"{name}.activation", self._rules.stem_activation[self._form])

    def operator(self, x: int, operator: str, name: str, *, out: int, stride: int) -> int:
        """One head or stack operator; `out` is the width inside a bottleneck, the output width elsewhere."""
        mbconv = mbconv_of(operator)
        if mbconv is not None:
            return self._mbconv(x, name, out=out, kernel=mbconv[0], expansion=mbconv[1], stride=stride)
        if operator == BASIC_BLOCK:
            return self._basic_block(x, name, out=out, stride=stride)
        if operator == BOTTLENECK:
            return self._bottleneck(x, name, width=out, stride=stride)
        raise InvalidArchitectureError(f"{operator!r} is no operator of a densely connected network")

    def ending(self, x: int, name: str, *, out: int) -> int:
        """1x1 convolution, BN, ReLU6."""
        x = self._conv_bn(x, name, out=out, kernel=1, affine=self._affine)
        return self.graph.activation(x, f"{name}.relu6", ActivationKind.RELU6)

    def classifier(self, x: int, name: str, *, num_classes: int) -> int:
        """Global average pooling and a linear layer with bias."""
        g = self.graph
        x = g.flatten(g.global_avg_pool(x, "pool"), "flatten")
        bound = Init(InitKind.UNIFORM, 1.0 / sqrt(g.channels(x)))
        bias = ZEROS if self._rules.zero_classifier_bias else bound
        return g.linear(x, name, out=num_classes, init=bound, bias=bias)

    def _mbconv(self, x: int, name: str, *, out: int, kernel: int, expansion: int, stride: int) -> int:
        """1x1 expand, depthwise, 1x1 project; residual where input and output shapes are equal."""
        g = self.graph
        width = g.channels(x) * expansion
        y = x
        if expansion > 1:
            y = self._conv_bn(y, f"{name}.expand", out=width, kernel=1, affine=self._affine)
            y = g.activation(y, f"{name}.expand.relu6", ActivationKind.RELU6)
        depthwise = f"{name}.depthwise"
        y = self._conv_bn(y, depthwise, out=width, kernel=kernel, stride=stride, groups=width, affine=self._affine)
        y = g.activation(y, f"{depthwise}.relu6", ActivationKind.RELU6)
        # The reference forgets to pass affine=False to this BN where there is no expansion.
        y = self._conv_bn(y, f"{name}.project", out=out, kernel=1, affine=self._affine or expansion == 1)
        return g.add((y, x), f"{name}.add") if g.shape(y) == g.shape(x) else y

    def _basic_block(self, x: int, name: str, *, out: int, stride: int) -> int:
        """Two 3x3 convolutions and a shortcut (He et al. 2016)."""
        g = self.graph
        y = self._conv_bn(x, f"{name}.conv1", out=out, kernel=3, stride=stride, affine=self._affine)
        y = g.activation(y, f"{name}.conv1.relu", ActivationKind.RELU)
        y = self._conv_bn(y, f"{name}.conv2", out=out, kernel=3, affine=self._affine)
        shortcut = self._shortcut(x, name, out=out, stride=stride)
        return g.activation(g.add((y, shortcut), f"{name}.add"), f"{name}.relu", ActivationKind.RELU)

    def _bottleneck(self, x: int, name: str, *, width: int, stride: int) -> int:
        """1x1 to `width`, 3x3 with the stride, 1x1 to four times `width`, and a shortcut."""
        g, out = self.graph, width * BOTTLENECK_EXPANSION
        y = self._conv_bn(x, f"{name}.conv1", out=width, kernel=1, affine=True)
        y = g.activation(y, f"{name}.conv1.relu", ActivationKind.RELU)
        y = self._conv_bn(y, f"{name}.conv2", out=width, kernel=3, stride=stride, affine=True)
        y = g.activation(y, f"{name}.conv2.relu", ActivationKind.RELU)
        y = self._conv_bn(y, f"{name}.conv3", out=out, kernel=1, affine=True)
        shortcut = self._shortcut(x, name, out=out, stride=stride)
        return g.activation(g.add((y, shortcut), f"{name}.add"), f"{name}.relu", ActivationKind.RELU)

    def _shortcut(self, x: int, name: str, *, out: int, stride: int) -> int:
        if stride == 1 and self.graph.channels(x) == out:
            return x
        return self._conv_bn(x, f"{name}.downsample", out=out, kernel=1, stride=stride, affine=self._affine)

    def _conv_bn(
        self, x: int, name: str, *, out: int, kernel: int, affine: bool, stride: int = 1, groups: int = 1
    ) -> int:
        """Convolution without bias, drawn from N(0, 2 / fan out), then BN."""
        init = Init(InitKind.NORMAL, sqrt(2.0 * groups / (kernel * kernel * out)))
        x = self.graph.conv(x, f"{name}.conv", out=out, kernel=kernel, stride=stride, groups=groups, init=init)
        return self.graph.batch_norm(x, f"{name}.bn", affine=affine, eps=self._rules.bn_eps)
