"""Integer inputs are given numbers that the model's own tables admit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas_engine.export.input_ranges import input_ranges


def model(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], element: int = TensorProto.INT64
) -> onnx.ModelProto:
    """A model with one input ``ids`` of shape (1, 128) and an output ``y``."""
    ids = helper.make_tensor_value_info("ids", element, (1, 128))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", [ids], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def table(rows: int) -> np.ndarray:
    return np.zeros((rows, 64), np.float32)


def test_the_rows_of_a_gathered_table_bound_its_indices() -> None:
    made = model([helper.make_node("Gather", ["table", "ids"], ["y"])], {"table": table(2)})
    assert input_ranges(made) == {"ids": (0, 1)}


def test_the_axis_of_a_table_counts_and_so_does_what_lies_between() -> None:
    nodes = [
        helper.make_node("Cast", ["ids"], ["cast"], to=TensorProto.INT32),
        helper.make_node("Reshape", ["cast", "flat"], ["reshaped"]),
        helper.make_node("Gather", ["table", "reshaped"], ["y"], axis=-1),
    ]
    made = model(nodes, {"table": table(30_522), "flat": np.array([128], np.int64)})
    assert input_ranges(made) == {"ids": (0, 63)}


def test_the_smallest_of_several_tables_bounds_what_indexes_them_all() -> None:
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["a"]),
        helper.make_node("Gather", ["kinds", "ids"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    assert input_ranges(model(nodes, {"words": table(1000), "kinds": table(3)})) == {"ids": (0, 2)}


@pytest.mark.parametrize(
    ("operator", "inputs"), [("GatherND", ["grid", "places"]), ("ScatterND", ["grid", "places", "new"])]
)
def test_places_in_several_axes_are_bounded_by_the_smallest(operator: str, inputs: list[str]) -> None:
    nodes = [
        helper.make_node("Reshape", ["ids", "pairs"], ["places"]),
        helper.make_node(operator, inputs, ["y"]),
    ]
    constants = {"pairs": np.array([64, 2], np.int64), "grid": np.zeros((9, 4), np.float32)}
    made = model(nodes, constants | {"new": np.zeros(64, np.float32)})
    assert input_ranges(made) == {"ids": (0, 3)}


def test_a_table_that_a_branch_or_a_function_reads_counts() -> None:
    gather = helper.make_node("Gather", ["table", "ids"], ["rows"])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, (1, 128, 64))
    branch = helper.make_graph([gather], "branch", [], [rows])
    in_a_branch = model(
        [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)],
        {"table": table(1), "yes": np.array(True)},
    )
    assert input_ranges(in_a_branch) == {"ids": (0, 0)}
    in_a_function = model([helper.make_node("Embed", ["table", "ids"], ["y"], domain="own")], {"table": table(7)})
    in_a_function.opset_import.append(helper.make_opsetid("own", 1))
    body = [helper.make_node("Gather", ["t", "i"], ["rows"])]
    imports = [helper.make_opsetid("", 17)]
    in_a_function.functions.append(helper.make_function("own", "Embed", ["t", "i"], ["rows"], body, imports))
    assert input_ranges(in_a_function) == {"ids": (0, 6)}


def test_the_depth_of_one_hot_bounds_its_indices() -> None:
    nodes = [helper.make_node("OneHot", ["ids", "depth", "values"], ["y"])]
    made = model(nodes, {"depth": np.array([10], np.int64), "values": np.array([0, 1], np.float32)})
    assert input_ranges(made) == {"ids": (0, 9)}


@pytest.mark.parametrize("element", [TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL])
def test_numbers_of_which_nothing_is_known_are_nought_and_one(element: int) -> None:
    made = model([helper.make_node("Cast", ["ids"], ["y"], to=TensorProto.FLOAT)], {}, element)
    assert input_ranges(made) == {"ids": (0, 1)}


@pytest.mark.parametrize(("element", "highest"), [(TensorProto.INT8, 127), (TensorProto.UINT8, 255)])
def test_no_number_is_larger_than_the_inputs_type_holds(element: int, highest: int) -> None:
    nodes = [
        helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "wide"], ["y"]),
    ]
    assert input_ranges(model(nodes, {"table": table(1000)}, element)) == {"ids": (0, highest)}


def test_inputs_of_fractions_have_no_range() -> None:
    assert input_ranges(model([helper.make_node("Relu", ["ids"], ["y"])], {}, TensorProto.FLOAT)) == {}
