"""Uploaded and exported models are checked before any runtime sees them."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from nas_engine.domain.errors import ExportError
from nas_engine.export.onnx_check import inspect_onnx


def _model(shape: tuple[int | str, ...] = (1, 3, 4, 4), opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add(name="w", data_type=1, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")


def _external_in_attribute(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="w", data_type=1, data_location=TensorProto.EXTERNAL)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def _custom_domain(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.example", version=1)


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Frobnicate"


def _future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def test_a_valid_model_is_summarised() -> None:
    data = _model().SerializeToString()
    summary = inspect_onnx(data)
    assert summary.inputs[0].name == "x"
    assert summary.inputs[0].shape == (1, 3, 4, 4)
    assert summary.outputs[0].element_type == "FLOAT"
    assert summary.operators == {"Relu": 1}
    assert summary.size_bytes == len(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external, "external data"),
        (_external_in_attribute, "external data"),
        (_custom_domain, r"other domains are used \(com\.example\)"),
        (_unknown_operator, "checker refuses"),
        (_future_ir, "IR version is 99"),
    ],
)
def test_a_model_that_no_runtime_should_get_is_refused(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = _model()
    change(model)
    with pytest.raises(ExportError, match=message):
        inspect_onnx(model.SerializeToString())


@pytest.mark.parametrize("opset", [8, 20])
def test_an_opset_outside_the_runtimes_range_is_refused(opset: int) -> None:
    with pytest.raises(ExportError, match=f"opset is {opset}"):
        inspect_onnx(_model(opset=opset).SerializeToString())


def test_a_dynamic_batch_is_refused() -> None:
    with pytest.raises(ExportError, match=r"dynamic shape \(n, 3, 4, 4\)"):
        inspect_onnx(_model(shape=("n", 3, 4, 4)).SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\xff\xff garbage", b"PK\x03\x04"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ExportError):
        inspect_onnx(data)


def test_a_file_above_the_size_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ExportError, match="the limit is 10"):
        inspect_onnx(bytes(11), max_size_bytes=10)
