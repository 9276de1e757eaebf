"""Models as people bring them: what exporters and runtimes leave in a file that is nevertheless sound, or is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]


def odd_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Shape]],
    outputs: Mapping[str, tuple[int, Shape]],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opsets: Mapping[str, int] | None = None,
) -> bytes:
    """The bytes of a model of these nodes; inputs and outputs are (element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, element, list(shape)) for name, (element, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, element, list(shape)) for name, (element, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 17}).items()]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())


def relu(shape: Shape, output: Shape | None = None, **opsets: int) -> bytes:
    """One Relu; its output may be stated otherwise than its input."""
    x, y = (TensorProto.FLOAT, shape), (TensorProto.FLOAT, shape if output is None else output)
    return odd_model([helper.make_node("Relu", ["x"], ["y"])], {"x": x}, {"y": y}, opsets={"": 17, **opsets})


def with_unused_import() -> bytes:
    """As tf2onnx and ONNX Runtime save models."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    shaped = (TensorProto.FLOAT, (1, 8))
    return odd_model(nodes, {"x": shaped}, {"y": shaped}, opsets={"": 15, "ai.onnx.ml": 2})


def with_state() -> bytes:
    """A step of a recurrent network: its second input carries state, in a layout without the batch in front."""
    nodes = [
        helper.make_node("Slice", ["h", "start", "end"], ["first"]),
        helper.make_node("Squeeze", ["first", "start"], ["h1"]),
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "h1"], ["y"]),
    ]
    constants = {
        "start": np.array([0], np.int64),
        "end": np.array([1], np.int64),
        "w": np.zeros((576, 128), np.float32),
    }
    inputs = {"x": (TensorProto.FLOAT, (1, 576)), "h": (TensorProto.FLOAT, (2, 1, 128))}
    return odd_model(nodes, inputs, {"y": (TensorProto.FLOAT, (1, 128))}, constants)


def embedding(rows: int) -> bytes:
    """A table of `rows` rows, read at 128 places."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    table = np.zeros((rows, 64), np.float32)
    return odd_model(
        nodes, {"ids": (TensorProto.INT64, (1, 128))}, {"y": (TensorProto.FLOAT, (1, 128, 64))}, {"table": table}
    )


def shifted_embedding(rows: int) -> bytes:
    """The same behind an addition, so that no constant tells what the input may carry: 1000 is subtracted from it."""
    nodes = [
        helper.make_node("Sub", ["ids", "thousand"], ["index"]),
        helper.make_node("Gather", ["table", "index"], ["y"]),
    ]
    constants = {"table": np.zeros((rows, 64), np.float32), "thousand": np.array([1000], np.int64)}
    return odd_model(nodes, {"ids": (TensorProto.INT64, (1, 128))}, {"y": (TensorProto.FLOAT, (1, 128, 64))}, constants)


def found_places() -> bytes:
    """An output as long as the data says."""
    return odd_model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, (1, 8))},
        {"y": (TensorProto.INT64, (2, "found"))},
    )


def words() -> bytes:
    """Strings instead of numbers."""
    return odd_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.STRING, (1, 8))},
        {"y": (TensorProto.STRING, (1, 8))},
    )


def with_weights_outside(folder: Path) -> Path:
    """A model of one product in a folder, its weights in ``weights.bin`` beside it."""
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes = dict.fromkeys("xy", (TensorProto.FLOAT, (1, 576)))
    weights = {"w": np.ones((576, 576), np.float32)}
    model = onnx.load_from_string(odd_model([product], {"x": shapes["x"]}, {"y": shapes["y"]}, weights))
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def half() -> bytes:
    """A product in float16."""
    shape = (TensorProto.FLOAT16, (1, 64))
    weights = {"w": np.ones((64, 64), np.float16)}
    return odd_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": shape}, {"y": shape}, weights)


def quantised() -> bytes:
    """A convolution between QuantizeLinear and DequantizeLinear, as quantisers of ONNX Runtime leave it."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "scale", "zero"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "scale", "zero"], ["y"]),
    ]
    constants = {
        "scale": np.array(0.05, np.float32),
        "zero": np.array(0, np.int8),
        "wq": np.ones((8, 3, 3, 3), np.int8),
    }
    x, y = (TensorProto.FLOAT, (1, 3, 32, 32)), (TensorProto.FLOAT, (1, 8, 32, 32))
    return odd_model(nodes, {"x": x}, {"y": y}, constants)
