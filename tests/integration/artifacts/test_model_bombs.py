"""Small models that unfold to something large, and large names in models: nothing that this process pays for."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from server.artifacts.model_check import ModelCheck
from server.core.errors import InvalidModelError
from tests.support.samples.model_files import check_model
from tests.support.samples.odd_models import odd_model, relu

NODE = helper.make_node
X, Y = {"x": (TensorProto.FLOAT, (1, 4))}, {"y": (TensorProto.FLOAT, (1, 4))}
LONG = 30_000_000


def of(*nodes: onnx.NodeProto, **constants: np.ndarray) -> bytes:
    """A model from x to y, whose shape is open."""
    return odd_model(nodes, X, {"y": (TensorProto.FLOAT, ("a", "b"))}, constants)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def loop() -> bytes:
    ports = {"i": (TensorProto.INT64, []), "c": (TensorProto.BOOL, []), "v": (TensorProto.FLOAT, [1, 4])}
    inputs = [helper.make_tensor_value_info(name, element, shape) for name, (element, shape) in ports.items()]
    outputs = [
        helper.make_tensor_value_info("d", TensorProto.BOOL, []),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 4]),
    ]
    body = helper.make_graph([NODE("Add", ["v", "v"], ["w"]), NODE("Identity", ["c"], ["d"])], "b", inputs, outputs)
    return of(NODE("Loop", ["n", "t", "x"], ["y"], body=body), n=np.int64(2**62) * ints(1)[0], t=np.array(True))


UNFOLDING = {
    "ConstantOfShape": of(NODE("ConstantOfShape", ["s"], ["c"]), NODE("Add", ["x", "c"], ["y"]), s=ints(2**40, 4)),
    "shape of shapes": of(
        NODE("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(ints(1))),
        NODE("Reshape", ["x", "c"], ["y"]),
        s=ints(2**33),
    ),
    "Range": of(
        NODE("Range", ["s", "n", "d"], ["c"]), NODE("Reshape", ["x", "c"], ["y"]), s=ints(0), n=ints(2**40), d=ints(1)
    ),
    "Tile": of(NODE("Tile", ["x", "n"], ["y"]), n=ints(2**40, 2**20)),
    "Expand": of(NODE("Expand", ["x", "n"], ["y"]), n=ints(2**50, 4)),
    "Pad": of(NODE("Pad", ["x", "n"], ["y"]), n=ints(0, 2**60, 0, 2**60)),
    "Resize": of(NODE("Resize", ["x", "", "n"], ["y"]), n=np.array([1e18, 1e18], np.float32)),
    "Loop": loop(),
}


@pytest.mark.parametrize("name", UNFOLDING)
def test_what_unfolds_when_it_runs_is_not_unfolded_by_the_check(name: str) -> None:
    try:
        said = str(check_model(UNFOLDING[name], ModelCheck(memory_bytes=1 << 30)).opset)
    except InvalidModelError as error:
        said = str(error)
    assert "17" in said or "refuses the model" in said


def doubling(num_functions: int) -> bytes:
    """Functions of which each calls the one before twice: Relu 2^num times."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = [helper.make_function("own", "f0", ["a"], ["c"], [NODE("Relu", ["a"], ["c"])], imports)]
    for number in range(1, num_functions):
        halves = [NODE(f"f{number - 1}", [a], [b], domain="own") for a, b in (("a", "b"), ("b", "c"))]
        made.append(helper.make_function("own", f"f{number}", ["a"], ["c"], halves, imports))
    model = onnx.load_from_string(odd_model([], X, Y, opsets={"": 17, "own": 1}))
    model.graph.node.append(NODE(f"f{num_functions - 1}", ["x"], ["y"], domain="own"))
    model.functions.extend(made)
    return bytes(model.SerializeToString())


def in_a_branch(num_nodes: int) -> bytes:
    inner = [NODE("Relu", ["x" if number == 0 else f"t{number - 1}"], [f"t{number}"]) for number in range(num_nodes)]
    out = helper.make_tensor_value_info(f"t{num_nodes - 1}", TensorProto.FLOAT, [1, 4])
    branch = helper.make_graph(inner, "branch", [], [out])
    choice = NODE("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return odd_model([choice], {**X, "c": (TensorProto.BOOL, ())}, Y)


def with_weights(num: int) -> bytes:
    model = onnx.load_from_string(relu((1, 4)))
    model.graph.initializer.extend(
        TensorProto(name=f"w{n}", data_type=1, dims=[1], float_data=[0.0]) for n in range(num)
    )
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "model", [doubling(40), in_a_branch(130_000), with_weights(250_001)], ids=["functions", "branches", "weights"]
)
def test_more_parts_than_any_network_has_are_refused_before_each_is_looked_at(model: bytes) -> None:
    with pytest.raises(InvalidModelError, match=r"more than 250,000 nodes, weights and stated shapes"):
        check_model(model)


def test_functions_that_call_each_other_in_a_reasonable_way_are_taken() -> None:
    assert check_model(doubling(10)).opset == 17


def test_functions_in_a_ring_are_refused() -> None:
    imports = [helper.make_opsetid("own", 1)]
    ring = [
        helper.make_function("own", a, ["i"], ["o"], [NODE(b, ["i"], ["o"], domain="own")], imports)
        for a, b in (("f", "g"), ("g", "f"))
    ]
    model = onnx.load_from_string(odd_model([NODE("f", ["x"], ["y"], domain="own")], X, Y, opsets={"": 17, "own": 1}))
    model.functions.extend(ring)
    with pytest.raises(InvalidModelError, match="Cycle detected"):
        check_model(model.SerializeToString())


def with_long_weight() -> bytes:
    model = onnx.load_from_string(relu((1, 4)))
    outside = TensorProto(name="w" * LONG, data_type=1, data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="/dev/zero")
    model.graph.initializer.append(outside)
    return bytes(model.SerializeToString())


def long_names() -> Sequence[bytes]:
    return (
        with_long_weight(),
        odd_model([NODE("O" * LONG, ["x"], ["y"])], X, Y),
        odd_model([NODE("O", ["x"], ["y"], domain="d" * LONG)], X, Y),
        odd_model([NODE("Relu", ["q" * LONG], ["y"])], X, Y),
        relu(("n" * LONG, 4)),
        odd_model([NODE("NonZero", ["x"], ["y"])], X, {"y": (TensorProto.INT64, (2, "k" * LONG))}),
    )


def test_a_name_as_long_as_its_file_is_neither_read_nor_answered_here() -> None:
    models = long_names()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for model in models:
        with pytest.raises(InvalidModelError) as caught:
            check_model(model)
        assert len(str(caught.value)) < 1100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < LONG / 1000


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (relu([1] * 100_000), "has 100000 axes"),
        (relu((2**40, 2**20)), f"the inputs hold {2**60} numbers"),
        (relu((2**62, 2**62, 2**62)), "numbers: boards are given"),
        (odd_model([NODE("Relu", ["x\0"], ["y"])], {"x\0": X["x"]}, Y), "control characters"),
    ],
    ids=["axes", "numbers", "overflow", "name"],
)
def test_inputs_that_no_board_can_be_given_are_refused(model: bytes, words: str) -> None:
    with pytest.raises(InvalidModelError, match=words):
        check_model(model)
