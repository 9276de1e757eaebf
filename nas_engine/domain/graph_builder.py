"""A small mutable helper that spaces use to write layer graphs; it works out every shape.

Handles are node indices, so a block reads like the network it makes::

    g = GraphBuilder((3, 224, 224))
    x = g.conv(g.input, "stem.conv", out=16, kernel=3, stride=2, init=Init(InitKind.NORMAL, 0.01))
    x = g.batch_norm(x, "stem.bn", affine=True)
    x = g.activation(x, "stem.relu", ActivationKind.RELU)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nas_engine.domain.errors import InvalidGraphError
from nas_engine.domain.layer_graph import (
    ONES,
    ZEROS,
    Activation,
    ActivationKind,
    Add,
    BatchNorm,
    CoefficientRef,
    Concat,
    Conv2d,
    DropConnect,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Init,
    Input,
    LayerGraph,
    Linear,
    Mul,
    Node,
    Pool,
    PoolKind,
    Shape,
    Slice,
    WeightedSum,
    WeightRef,
    WeightRole,
    num_elements,
)


@dataclass(frozen=True, slots=True)
class Shared:
    """Full extents of a layer in the supernet, where the subnet uses only a part of it.

    None means the subnet's own extent. Kernels are cropped around their centre, widths keep the
    first channels (AttentiveNAS weight sharing, reference/alphanet.md).
    """

    out: int | None = None
    in_: int | None = None
    kernel: int | None = None


NOT_SHARED = Shared()


class GraphBuilder:
    """Builds one `LayerGraph`. Not thread-safe; use one per graph."""

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        self._nodes: list[Node] = []
        self._block = "input"
        self._operator = "input"
        self.input = self._append(Input(name="input", inputs=(), shape=tuple(input_shape), **self._labels()))

    @contextmanager
    def labelled(self, block: str, operator: str) -> Iterator[None]:
        """Give every node made inside these block and operator labels."""
        before = (self._block, self._operator)
        self._block, self._operator = block, operator
        try:
            yield
        finally:
            self._block, self._operator = before

    def shape(self, x: int) -> Shape:
        """Shape of a node without the batch."""
        return self._nodes[x].shape

    def channels(self, x: int) -> int:
        """Channels (or features) of a node."""
        return self._nodes[x].shape[0]

    def conv(
        self,
        x: int,
        name: str,
        *,
        out: int,
        kernel: int,
        init: Init,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: Init | None = None,
        shared: Shared = NOT_SHARED,
    ) -> int:
        """Convolution; `padding` None means kernel // 2; `bias` is the bias' init or None for no bias.

        A depthwise layer has groups == channels, and its shared width is `shared.out`.
        """
        c, h, w = self._image(x, name)
        padding = kernel // 2 if padding is None else padding
        if c % groups or out % groups:
            raise InvalidGraphError(f"{name}: {groups} groups divide neither {c} inputs nor {out} outputs evenly")
        in_per_group = c // groups
        full_out = shared.out or out
        full_in = in_per_group if groups > 1 else (shared.in_ or c)
        full_k = shared.kernel or kernel
        crop = (full_k - kernel) // 2
        weight = WeightRef(
            f"{name}.weight",
            (full_out, full_in, full_k, full_k),
            ((0, out), (0, in_per_group), (crop, crop + kernel), (crop, crop + kernel)),
            WeightRole.CONV,
            init,
        )
        height, width = ((s + 2 * padding - kernel) // stride + 1 for s in (h, w))
        if min(height, width) < 1:
            raise InvalidGraphError(f"{name}: a {kernel}x{kernel} kernel does not fit a {h}x{w} input")
        bias_ref = None if bias is None else self._vector(f"{name}.bias", out, full_out, WeightRole.BIAS, bias)
        return self._append(
            Conv2d(
                name=name,
                inputs=(x,),
                shape=(out, height, width),
                weight=weight,
                bias=bias_ref,
                stride=stride,
                padding=padding,
                groups=groups,
                **self._labels(),
            )
        )

    def batch_norm(
        self,
        x: int,
        name: str,
        *,
        affine: bool,
        eps: float = 1e-5,
        momentum: float = 0.1,
        gamma: Init = ONES,
        beta: Init = ZEROS,
        full_features: int | None = None,
    ) -> int:
        """Add a batch normalisation; the defaults of momentum and epsilon are PyTorch's."""
        c = self.channels(x)
        full = full_features or c
        weight = self._vector(f"{name}.weight", c, full, WeightRole.BN, gamma) if affine else None
        bias = self._vector(f"{name}.bias", c, full, WeightRole.BN, beta) if affine else None
        return self._append(
            BatchNorm(
                name=name,
                inputs=(x,),
                shape=self.shape(x),
                weight=weight,
                bias=bias,
                eps=eps,
                momentum=momentum,
                full_features=full,
                **self._labels(),
            )
        )

    def activation(self, x: int, name: str, kind: ActivationKind) -> int:
        """Add an element-wise non-linearity."""
        return self._append(Activation(name=name, inputs=(x,), shape=self.shape(x), kind=kind, **self._labels()))

    def pool(
        self,
        x: int,
        name: str,
        kind: PoolKind,
        *,
        kernel: int,
        stride: int,
        padding: int = 0,
        count_include_pad: bool = True,
    ) -> int:
        """Add a square pooling window; sizes are rounded down (floor mode)."""
        c, h, w = self._image(x, name)
        height, width = ((s + 2 * padding - kernel) // stride + 1 for s in (h, w))
        if min(height, width) < 1:
            raise InvalidGraphError(f"{name}: a {kernel}x{kernel} window does not fit a {h}x{w} input")
        return self._append(
            Pool(
                name=name,
                inputs=(x,),
                shape=(c, height, width),
                kind=kind,
                kernel=kernel,
                stride=stride,
                padding=padding,
                count_include_pad=count_include_pad,
                **self._labels(),
            )
        )

    def global_avg_pool(self, x: int, name: str) -> int:
        """Mean over height and width; the result is (channels, 1, 1)."""
        c, _, _ = self._image(x, name)
        return self._append(GlobalAvgPool(name=name, inputs=(x,), shape=(c, 1, 1), **self._labels()))

    def add(self, inputs: Sequence[int], name: str) -> int:
        """Sum of inputs of one shape."""
        self._same_shape(inputs, name)
        return self._append(Add(name=name, inputs=tuple(inputs), shape=self.shape(inputs[0]), **self._labels()))

    def mul(self, x: int, gate: int, name: str) -> int:
        """x times gate; gate has x's shape or is (channels, 1, 1)."""
        if self.shape(gate) not in (self.shape(x), (self.channels(x), 1, 1)):
            raise InvalidGraphError(f"{name}: gate {self.shape(gate)} does not broadcast to {self.shape(x)}")
        return self._append(Mul(name=name, inputs=(x, gate), shape=self.shape(x), **self._labels()))

    def concat(self, inputs: Sequence[int], name: str) -> int:
        """Join nodes along their channels."""
        shapes = [self.shape(i) for i in inputs]
        if len({s[1:] for s in shapes}) != 1:
            raise InvalidGraphError(f"{name}: cannot join {shapes}: heights and widths differ")
        shape = (sum(s[0] for s in shapes), *shapes[0][1:])
        return self._append(Concat(name=name, inputs=tuple(inputs), shape=shape, **self._labels()))

    def slice(self, x: int, name: str, *, start: int, stop: int, step: int = 1, axis: int = 0) -> int:
        """``x[start:stop:step]`` along `axis` (0 = channels)."""
        shape = list(self.shape(x))
        if not 0 <= start < stop <= shape[axis]:
            raise InvalidGraphError(f"{name}: slice {start}:{stop} is outside an axis of {shape[axis]}")
        shape[axis] = len(range(start, stop, step))
        return self._append(
            Slice(
                name=name,
                inputs=(x,),
                shape=tuple(shape),
                axis=axis,
                start=start,
                stop=stop,
                step=step,
                **self._labels(),
            )
        )

    def flatten(self, x: int, name: str) -> int:
        """Reshape a (C, H, W) node to one vector of C * H * W."""
        return self._append(Flatten(name=name, inputs=(x,), shape=(num_elements(self.shape(x)),), **self._labels()))

    def linear(self, x: int, name: str, *, out: int, init: Init, bias: Init | None, shared: Shared = NOT_SHARED) -> int:
        """Fully connected layer on a flattened node."""
        features = self.shape(x)
        if len(features) != 1:
            raise InvalidGraphError(f"{name}: a Linear reads a vector, its input is {features}: flatten it first")
        full = (shared.out or out, shared.in_ or features[0])
        weight = WeightRef(f"{name}.weight", full, ((0, out), (0, features[0])), WeightRole.FC, init)
        bias_ref = None if bias is None else self._vector(f"{name}.bias", out, full[0], WeightRole.BIAS, bias)
        return self._append(
            Linear(name=name, inputs=(x,), shape=(out,), weight=weight, bias=bias_ref, **self._labels())
        )

    def weighted_sum(self, inputs: Sequence[int], name: str, coefficients: Sequence[CoefficientRef]) -> int:
        """Sum of inputs times run-time coefficients."""
        self._same_shape(inputs, name)
        if len(inputs) != len(coefficients):
            raise InvalidGraphError(f"{name}: {len(inputs)} inputs and {len(coefficients)} coefficients")
        return self._append(
            WeightedSum(
                name=name,
                inputs=tuple(inputs),
                shape=self.shape(inputs[0]),
                coefficients=tuple(coefficients),
                **self._labels(),
            )
        )

    def dropout(self, x: int, name: str, rate: float) -> int:
        """Add element dropout, which acts in training only."""
        return self._append(Dropout(name=name, inputs=(x,), shape=self.shape(x), rate=rate, **self._labels()))

    def drop_connect(self, x: int, name: str, rate: float) -> int:
        """Stochastic depth of a branch (training only)."""
        return self._append(DropConnect(name=name, inputs=(x,), shape=self.shape(x), rate=rate, **self._labels()))

    def build(self, output: int) -> LayerGraph:
        """Return the finished, validated graph."""
        return LayerGraph(tuple(self._nodes), output)

    def _labels(self) -> dict[str, str]:
        return {"block": self._block, "operator": self._operator}

    def _append(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _image(self, x: int, name: str) -> tuple[int, int, int]:
        shape = self.shape(x)
        if len(shape) != 3:
            raise InvalidGraphError(f"{name}: needs a (channels, height, width) input, got {shape}")
        return shape[0], shape[1], shape[2]

    def _same_shape(self, inputs: Sequence[int], name: str) -> None:
        shapes = [self.shape(i) for i in inputs]
        if len(set(shapes)) != 1:
            raise InvalidGraphError(f"{name}: inputs have different shapes {shapes}")

    @staticmethod
    def _vector(name: str, used: int, full: int, role: WeightRole, init: Init) -> WeightRef:
        return WeightRef(name, (full,), ((0, used),), role, init)
