"""Uploaded and exported models are checked before any runtime sees them."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from nas_engine.domain.errors import ExportError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.model_limits import ONNX_RUNTIME, RKNN, ModelLimits
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
    model.graph.node[0].domain = "com.example"


def _custom_domain_in_a_branch(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.example", version=1)
    inner = onnx.GraphProto(name="inner", node=[helper.make_node("Odd", ["x"], ["z"], domain="com.example")])
    inner.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 3, 4, 4)))
    model.graph.node.append(helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner))


def _strings(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def _external_in_a_function(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="w", data_type=1, data_location=TensorProto.EXTERNAL)
    body = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Identity", ["c"], ["b"])]
    model.opset_import.add(domain="own", version=1)
    model.functions.append(helper.make_function("own", "Read", [], ["b"], body, [helper.make_opsetid("", 17)]))


def _many_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.extend(helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, (1,)) for i in range(64))


def _long_name(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("n" * 257, TensorProto.FLOAT, (1,)))


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
        (_external_in_a_function, "external data"),
        (_many_inputs, "more than 64 inputs"),
        (_long_name, "has 257 characters"),
        (_custom_domain, r"other domains are used \(com\.example\.Relu\)"),
        (_custom_domain_in_a_branch, r"other domains are used \(com\.example\.Odd\)"),
        (_strings, "input 'x' takes strings"),
        (_unknown_operator, "checker refuses"),
        (_future_ir, "IR version is 99"),
    ],
)
def test_a_model_that_no_runtime_should_get_is_refused(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = _model()
    change(model)
    with pytest.raises(ExportError, match=message):
        inspect_onnx(model.SerializeToString())


@pytest.mark.parametrize("domain", ["ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training"])
@pytest.mark.parametrize("limits", [ONNX_RUNTIME, RKNN])
def test_an_operator_set_that_is_imported_and_not_used_is_nobodys_trouble(domain: str, limits: ModelLimits) -> None:
    model = _model((1, 8), opset=15)
    model.opset_import.add(domain=domain, version=2)
    assert inspect_onnx(model.SerializeToString(), limits).opset == 15


def test_a_function_that_nothing_calls_is_nobodys_trouble() -> None:
    model = _model((1, 8))
    model.opset_import.add(domain="own", version=1)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    body = [helper.make_node("Gelu", ["a"], ["b"], domain="com.microsoft")]
    model.functions.append(helper.make_function("own", "Soft", ["a"], ["b"], body, imports))
    assert inspect_onnx(model.SerializeToString()).foreign_operators == ()
    model.graph.node[0].CopyFrom(helper.make_node("Soft", ["x"], ["y"], domain="own"))
    with pytest.raises(ExportError, match=r"other domains are used \(com\.microsoft\.Gelu\)"):
        inspect_onnx(model.SerializeToString())


def test_onnxs_own_domain_may_be_written_out() -> None:
    model = _model((1, 8))
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    for limits in (ONNX_RUNTIME, RKNN):
        assert inspect_onnx(model.SerializeToString(), limits).opset == 17


def test_a_model_of_functions_alone_has_their_opset() -> None:
    model = _model((1, 8))
    del model.opset_import[:]
    model.opset_import.add(domain="own", version=1)
    model.graph.node[0].CopyFrom(helper.make_node("Flat", ["x"], ["y"], domain="own"))
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("own", "Flat", ["a"], ["b"], body, [helper.make_opsetid("", 15)]))
    assert inspect_onnx(model.SerializeToString()).opset == 15


def test_a_model_that_does_not_say_its_opset_is_told_so() -> None:
    model = _model((1, 8))
    del model.opset_import[:]
    with pytest.raises(ExportError, match="does not say which opset"):
        inspect_onnx(model.SerializeToString())


@pytest.mark.parametrize("axis", [-1, 0])
def test_an_output_axis_that_an_exporter_wrote_as_unknown_is_inferred(axis: int) -> None:
    model = _model((1, 576))
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = axis
    assert inspect_onnx(model.SerializeToString(), RKNN).outputs[0].shape == (1, 576)


def test_an_output_without_a_shape_is_inferred() -> None:
    model = _model((1, 576))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert inspect_onnx(model.SerializeToString(), RKNN).outputs[0].shape == (1, 576)


def test_places_found_in_constants_do_not_depend_on_the_data() -> None:
    model = _model((2, 3))
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["y"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["noughts"]),
            helper.make_node("NonZero", ["noughts"], ["where"]),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("where", TensorProto.INT64, (2, "found")))
    assert inspect_onnx(model.SerializeToString()).open_outputs == {"where": "2, found"}
    with pytest.raises(ExportError, match="output 'where' has the shape"):
        inspect_onnx(model.SerializeToString(), RKNN)


def test_places_found_in_a_branch_depend_on_what_the_branch_takes_from_outside() -> None:
    model = _model((1, 6))
    branch = helper.make_graph(
        [helper.make_node("NonZero", ["y"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.INT64, (2, "found"))],
    )
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, ()))
    model.graph.node.append(helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.INT64, (2, "found")))
    with pytest.raises(ExportError, match=r"depends on the data \(NonZero\)"):
        inspect_onnx(model.SerializeToString())


def test_activations_quantised_in_a_function_count() -> None:
    model = _model((1, 8))
    model.opset_import.add(domain="own", version=1)
    model.graph.node[0].CopyFrom(helper.make_node("Round", ["x"], ["y"], domain="own"))
    body = [
        helper.make_node("DynamicQuantizeLinear", ["a"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["b"]),
    ]
    model.functions.append(helper.make_function("own", "Round", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    assert inspect_onnx(model.SerializeToString()).dtype is Dtype.W8A8


def test_functions_of_the_models_own_are_for_onnx_runtime() -> None:
    model = _model((1, 8))
    model.opset_import.add(domain="own", version=1)
    model.graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["y"], domain="own"))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    assert inspect_onnx(model.SerializeToString()).operators == {"Twice": 1}
    with pytest.raises(ExportError, match="inline them"):
        inspect_onnx(model.SerializeToString(), RKNN)


@pytest.mark.parametrize("opset", [7, 8, 20, 23])
def test_onnx_runtime_takes_what_the_converter_does_not(opset: int) -> None:
    data = _model(opset=opset).SerializeToString()
    assert inspect_onnx(data).opset == opset
    with pytest.raises(ExportError, match=f"opset is {opset}: the RKNN converter takes 9 to 19"):
        inspect_onnx(data, RKNN)


@pytest.mark.parametrize("opset", [6, 99])
def test_an_opset_that_no_runtime_takes_is_refused(opset: int) -> None:
    with pytest.raises(ExportError, match=f"opset is {opset}"):
        inspect_onnx(_model(opset=opset).SerializeToString())


def test_an_output_that_the_file_leaves_open_is_inferred() -> None:
    model = _model((1, 576))
    for dim, name in zip(model.graph.output[0].type.tensor_type.shape.dim, "NT", strict=True):
        dim.dim_param = name
    for limits in (ONNX_RUNTIME, RKNN):
        assert inspect_onnx(model.SerializeToString(), limits).outputs[0].shape == (1, 576)


def test_an_output_as_long_as_the_data_says_is_refused_with_that_reason() -> None:
    model = _model((1, 576))
    model.graph.node.append(helper.make_node("NonZero", ["y"], ["where"]))
    model.graph.output.append(helper.make_tensor_value_info("where", TensorProto.INT64, (2, "found")))
    with pytest.raises(ExportError, match=r"'where' has the shape \(2, found\), which depends on the data \(NonZero\)"):
        inspect_onnx(model.SerializeToString())


def test_an_output_that_cannot_be_inferred_is_refused_where_it_must_be_known() -> None:
    model = _model((1, 6))
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, (2,)))
    model.graph.node.append(helper.make_node("Reshape", ["y", "shape"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ("rows", "columns")))
    assert inspect_onnx(model.SerializeToString()).open_outputs == {"z": "rows, columns"}
    with pytest.raises(ExportError, match=r"output 'z' has the shape \(rows, columns\), which cannot be inferred"):
        inspect_onnx(model.SerializeToString(), RKNN)


def test_a_dynamic_batch_is_refused() -> None:
    with pytest.raises(ExportError, match=r"dynamic shape \(n, 3, 4, 4\)"):
        inspect_onnx(_model(shape=("n", 3, 4, 4)).SerializeToString())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xff garbage", "cannot be parsed"),
        (b"PK\x03\x04", "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"version https://hawser.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html></html>", "web page"),
        (b"<!-- saved --><html></html>", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
        (
            b'{"error": "Repository not found"}',
            'is text, not a model; it begins with \'{"error": "Repository not found"}\'',
        ),
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
    ],
)
def test_bytes_that_are_no_model_are_called_what_they_are(data: bytes, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        inspect_onnx(data)


def test_a_file_above_the_size_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ExportError, match="the limit is 10"):
        inspect_onnx(bytes(11), max_size_bytes=10)
