"""Open batches, and axes whose size is given, are fixed before a model goes to a board; nothing else is touched."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas_engine.domain.errors import ExportError
from nas_engine.export.fixed_shapes import FixedModel, fix_shapes
from nas_engine.export.onnx_check import inspect_onnx
from tests.support.samples.odd_models import odd_model, relu


def model(input_shape: list[int | str], target: list[int] | None = None) -> bytes:
    """Relu, flattened, times a matrix; `target` is a fixed shape to which a Reshape brings it."""
    weights = numpy_helper.from_array(np.ones((12, 5), np.float32), "w")
    shape = numpy_helper.from_array(np.array(target or [0, -1], np.int64), "shape")
    nodes = [
        helper.make_node("Relu", ["x"], ["relu"]),
        helper.make_node("Reshape", ["relu", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [input_shape[0], 5])
    graph = helper.make_graph(nodes, "g", [x], [y], [weights, shape])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("batch", [1, 4])
def test_an_open_batch_is_fixed_from_input_to_output(batch: int) -> None:
    fixed = fix_shapes(model(["n", 3, 2, 2]), batch)
    summary = inspect_onnx(fixed.data)
    assert fixed.shapes == {"x": (batch, 3, 2, 2)}
    assert summary.inputs[0].shape == (batch, 3, 2, 2)
    assert summary.outputs[0].shape == (batch, 5)


def test_a_model_with_a_batch_of_its_own_stays_byte_for_byte() -> None:
    given = model([2, 3, 2, 2])
    assert fix_shapes(given, 1) == FixedModel(given, {})


def test_other_open_dimensions_stay_open_and_are_refused_by_the_check() -> None:
    fixed = fix_shapes(model(["n", 3, "height", 2]), 1).data
    assert onnx.load_model_from_string(fixed).graph.input[0].type.tensor_type.shape.dim[2].dim_param == "height"
    with pytest.raises(ExportError, match="height"):
        inspect_onnx(fixed)


def test_a_batch_that_the_model_cannot_run_is_refused() -> None:
    with pytest.raises(ExportError, match="cannot run with x"):
        fix_shapes(model(["n", 3, 2, 2], target=[1, 13]), 3)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ExportError, match="cannot be parsed"):
        fix_shapes(b"\xff\xff", 1)


def test_open_axes_get_the_shape_that_is_given() -> None:
    fixed = fix_shapes(model(["n", 3, "height", "width"]), 1, {"x": (1, 3, 2, 2)})
    summary = inspect_onnx(fixed.data)
    assert fixed.shapes == {"x": (1, 3, 2, 2)}
    assert summary.outputs[0].shape == (1, 5)


def test_axes_that_nobody_named_are_no_one_size() -> None:
    fixed = fix_shapes(relu(("?", 3, "?", "?")), 1, {"x": (1, 3, 48, 192)})
    assert fixed.shapes == {"x": (1, 3, 48, 192)}


@pytest.mark.parametrize("unknown", [-1, 0])
def test_axes_that_an_exporter_wrote_as_unknown_are_open(unknown: int) -> None:
    fixed = fix_shapes(relu((unknown, 3, unknown, 8)), 1, {"x": (1, 3, 48, 8)})
    assert fixed.shapes == {"x": (1, 3, 48, 8)}
    assert inspect_onnx(fixed.data).outputs[0].shape == (1, 3, 48, 8)


def test_an_input_that_another_ones_symbols_fix_is_named_with_its_shape() -> None:
    x, state = (TensorProto.FLOAT, ("n", 8)), (TensorProto.FLOAT, (2, "n", "m"))
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["state"], ["next"])]
    data = odd_model(nodes, {"x": x, "state": state}, {"y": x, "next": state})
    assert fix_shapes(data, 3).shapes == {"x": (3, 8)}
    assert fix_shapes(data, 3, {"state": (2, 3, 5)}).shapes == {"x": (3, 8), "state": (2, 3, 5)}
    tied = odd_model(nodes[:1], {"x": x, "mask": (TensorProto.FLOAT, (2, "n"))}, {"y": x})
    assert fix_shapes(tied, 3).shapes == {"x": (3, 8), "mask": (2, 3)}


def test_one_symbol_is_one_size_in_every_input() -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "width"]) for name in ("x", "y"))
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", "width"])
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "g", [x, y], [z])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    assert inspect_onnx(fix_shapes(data, 2, {"x": (2, 7)}).data).outputs[0].shape == (2, 7)
    with pytest.raises(ExportError, match="'width' is 7 and 8 at once"):
        fix_shapes(data, 2, {"x": (2, 7), "y": (2, 8)})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"image": (1, 3, 2, 2)}, "no input 'image': its inputs are x"),
        ({"x": (1, 3, 2)}, "has 4 axes"),
        ({"x": (1, 4, 2, 2)}, "axis 1 of input 'x' is 3 in the model, 4 in the one given"),
    ],
)
def test_a_shape_that_does_not_fit_the_model_is_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        fix_shapes(model(["n", 3, "height", "width"]), 1, shapes)
