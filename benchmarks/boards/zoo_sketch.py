"""A small writer of ONNX networks with several outputs and upsampling, for detectors that benchmarks rebuild."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nas_engine.export.onnx import IR_VERSION, OPSET


class Act(Enum):
    """Activation after a convolution."""

    NONE = "none"
    RELU = "relu"
    SILU = "silu"
    LEAKY = "leaky"
    SIGMOID = "sigmoid"


class Sketch:
    """Writes a network with seeded random weights; handles are value names. Shapes are (channels, height, width)."""

    def __init__(self, input_shape: tuple[int, int, int], seed: int = 0) -> None:
        self.input = "input"
        self._shapes = {"input": input_shape}
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(seed)
        self._num_names = 0

    def channels(self, x: str) -> int:
        return self._shapes[x][0]

    def conv(
        self,
        x: str,
        out: int,
        kernel: int,
        stride: int = 1,
        act: Act = Act.SILU,
        groups: int = 1,
        pad: int | None = None,
    ) -> str:
        """Convolution with bias (batch normalisation folded) and activation."""
        c, h, w = self._shapes[x]
        pad = kernel // 2 if pad is None else pad
        shape = (out, c // groups, kernel, kernel)
        deviation = (2.0 / (shape[1] * kernel * kernel)) ** 0.5
        weight = self._constant(self._rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation))
        bias = self._constant(np.zeros(out, np.float32))
        size = ((h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1)
        y = self._emit(
            "Conv",
            [x, weight, bias],
            (out, *size),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            group=groups,
        )
        return self.activate(y, act)

    def activate(self, x: str, act: Act) -> str:
        shape = self._shapes[x]
        match act:
            case Act.NONE:
                return x
            case Act.RELU:
                return self._emit("Relu", [x], shape)
            case Act.LEAKY:
                return self._emit("LeakyRelu", [x], shape, alpha=0.1)
            case Act.SIGMOID:
                return self._emit("Sigmoid", [x], shape)
            case Act.SILU:
                return self._emit("Mul", [x, self._emit("Sigmoid", [x], shape)], shape)

    def transposed_conv(self, x: str, out: int) -> str:
        """2x2 transposed convolution with stride 2."""
        c, h, w = self._shapes[x]
        weight = self._constant(self._rng.standard_normal((c, out, 2, 2), dtype=np.float32) * np.float32(c**-0.5))
        return self._emit("ConvTranspose", [x, weight], (out, 2 * h, 2 * w), kernel_shape=[2, 2], strides=[2, 2])

    def upsample(self, x: str) -> str:
        """Nearest neighbour, twice the size."""
        c, h, w = self._shapes[x]
        scales = self._constant(np.array([1, 1, 2, 2], np.float32))
        return self._emit(
            "Resize",
            [x, "", scales],
            (c, 2 * h, 2 * w),
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )

    def max_pool(self, x: str, kernel: int) -> str:
        """Stride 1, same size."""
        pads = [kernel // 2] * 4
        return self._emit("MaxPool", [x], self._shapes[x], kernel_shape=[kernel] * 2, strides=[1, 1], pads=pads)

    def concat(self, *inputs: str) -> str:
        channels = sum(self.channels(x) for x in inputs)
        return self._emit("Concat", list(inputs), (channels, *self._shapes[inputs[0]][1:]), axis=1)

    def add(self, x: str, y: str) -> str:
        return self._emit("Add", [x, y], self._shapes[x])

    def halves(self, x: str) -> tuple[str, str]:
        """First and second half of the channels."""
        c, h, w = self._shapes[x]
        first, second = (self._name("Split") for _ in range(2))
        sizes = self._constant(np.array([c // 2, c // 2], np.int64))
        self._nodes.append(helper.make_node("Split", [x, sizes], [first, second], name=first, axis=1))
        self._shapes[first] = self._shapes[second] = (c // 2, h, w)
        return first, second

    def class_sum(self, x: str) -> str:
        """Sum of the class probabilities, clipped to 1: what the zoo's detectors give to skip empty cells early."""
        axes, low, high = (
            self._constant(np.array(v, d)) for v, d in (([1], np.int64), (0, np.float32), (1, np.float32))
        )
        total = self._emit("ReduceSum", [x, axes], (1, *self._shapes[x][1:]), keepdims=1)
        return self._emit("Clip", [total, low, high], self._shapes[total])

    def model(self, outputs: Sequence[str]) -> bytes:
        def info(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *self._shapes[name]))

        graph = helper.make_graph(self._nodes, "zoo", [info(self.input)], [info(x) for x in outputs], self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def _constant(self, array: np.ndarray) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def _emit(self, kind: str, inputs: list[str], shape: tuple[int, int, int], **attributes: object) -> str:
        name = self._name(kind)
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self._shapes[name] = shape
        return name

    def _name(self, kind: str) -> str:
        self._num_names += 1
        return f"{kind}{self._num_names}"
