"""The ONNX Runtime emulator: what it takes, what it refuses, and how it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agent.failures import JobFailedError
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.golden import golden_onnx
from device_agent.runtime.onnx_check import check_onnx
from device_agent.runtime.onnxruntime import OnnxRuntime
from nas_engine.domain.job_protocol import FailureType
from tests.support.samples.model_files import ONNX, refused, write
from tests.support.samples.odd_models import odd_model, relu


def small_model(*, batch: int | str = 1, external: bool = False, ir_version: int = 8) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    if external:
        onnx.external_data_helper.set_external_data(weight, location="../../etc/passwd")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=ir_version)


def test_the_golden_model_is_sound_and_always_the_same() -> None:
    onnx.checker.check_model(onnx.load_from_string(golden_onnx()), full_check=True)
    assert golden_onnx() == golden_onnx()


def test_versions_are_read_without_an_engine() -> None:
    facts = check_onnx(small_model().SerializeToString())
    assert (facts.ir_version, facts.opset) == (8, 17)


def test_external_data_is_refused_wherever_it_hides() -> None:
    plain = small_model(external=True)
    with pytest.raises(JobFailedError, match="external data") as caught:
        check_onnx(plain.SerializeToString())
    assert refused(caught) is FailureType.MODEL_REJECTED
    hidden = small_model()
    tensor = plain.graph.initializer[0]
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [], [])
    hidden.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    with pytest.raises(JobFailedError, match="external data"):
        check_onnx(hidden.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"not a model at all", b"\xff" * 40, golden_onnx()[:-10]])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(JobFailedError) as caught:
        check_onnx(data)
    assert refused(caught) is FailureType.MODEL_REJECTED


def test_too_new_or_bottomless_models_are_refused() -> None:
    with pytest.raises(JobFailedError, match="newer"):
        check_onnx(small_model(ir_version=99).SerializeToString())
    data = b""
    for _ in range(60):  # a graph in an attribute in a node in a graph ...
        attribute = b"\x32" + _length(data) + data
        node = b"\x2a" + _length(attribute) + attribute
        data = b"\x0a" + _length(node) + node
    with pytest.raises(JobFailedError, match="nested"):
        check_onnx(b"\x3a" + _length(data) + data)


def _length(data: bytes) -> bytes:
    out, size = bytearray(), len(data)
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


def test_onnx_runtime_gives_the_same_outputs_for_the_same_seed(tmp_path: Path) -> None:
    runtime = OnnxRuntime()
    path = write(tmp_path, small_model().SerializeToString())
    outputs = []
    for seed in (1, 1, 2):
        loaded = runtime.load(path, SessionSettings(format="onnx", input_seed=seed))
        loaded.session.run()
        outputs.append(loaded.session.outputs()[0])
        loaded.session.close()
        assert loaded.init_ns > 0
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (small_model(batch="n"), "dynamic shape"),
        (small_model(batch=2), "batch 2"),
    ],
)
def test_onnx_runtime_refuses_models_it_cannot_feed(tmp_path: Path, model: onnx.ModelProto, words: str) -> None:
    with pytest.raises(JobFailedError, match=words) as caught:
        OnnxRuntime().load(write(tmp_path, model.SerializeToString()), ONNX)
    assert refused(caught) is FailureType.MODEL_REJECTED


def test_a_model_with_time_first_is_fed_at_the_batch_that_the_job_says(tmp_path: Path) -> None:
    path = write(tmp_path, relu((5, 1, 8)))
    for batch in (5, 1):
        OnnxRuntime().load(path, SessionSettings(format="onnx", batch=batch)).session.run()
    with pytest.raises(JobFailedError, match="the model has batch 5, the job says 8"):
        OnnxRuntime().load(path, SessionSettings(format="onnx", batch=8))


def test_a_failure_over_fractions_says_whose_they_were(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "places"], ["y"]),
    ]
    shapes = {"x": (TensorProto.FLOAT, (1, 2000))}, {"y": (TensorProto.FLOAT, (1, 2000, 3))}
    path = write(tmp_path, odd_model(nodes, *shapes, {"table": np.zeros((1, 3), np.float32)}))
    with pytest.raises(JobFailedError, match=r"fractions drawn by the agent, not the user's, .*: x\)") as caught:
        OnnxRuntime().load(path, SessionSettings(format="onnx")).session.run()
    assert caught.value.type is FailureType.RUN_FAILED


@pytest.mark.parametrize(
    ("element", "said", "words"),
    [
        (TensorProto.UINT8, (0, 256), r"holds 0 to 255: it cannot carry 0 to 256"),
        (TensorProto.INT8, (-129, 0), r"holds -128 to 127"),
        (TensorProto.BOOL, (0, 2), r"holds 0 to 1"),
    ],
)
def test_a_range_that_the_inputs_type_cannot_hold_is_refused(
    tmp_path: Path, element: int, said: tuple[int, int], words: str
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["ids"], ["y"], to=TensorProto.FLOAT)],
        "g",
        [helper.make_tensor_value_info("ids", element, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = write(tmp_path, model.SerializeToString())
    with pytest.raises(JobFailedError, match=words) as caught:
        OnnxRuntime().load(path, SessionSettings(format="onnx", input_ranges={"ids": said}))
    assert refused(caught) is FailureType.MODEL_REJECTED


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "NoSuchOperator"


def _missing_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


def _newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


@pytest.mark.parametrize("damage", [_unknown_operator, _missing_input, _newer_opset])
def test_a_model_that_the_engine_does_not_take_is_not_tried_again(
    tmp_path: Path, damage: Callable[[onnx.ModelProto], None]
) -> None:
    model = small_model()
    damage(model)
    with pytest.raises(JobFailedError, match="onnxruntime: ") as caught:
        OnnxRuntime().load(write(tmp_path, model.SerializeToString()), ONNX)
    assert refused(caught) is FailureType.MODEL_REJECTED


def test_an_engine_that_cannot_start_is_not_the_models_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_threads(*_: object, **__: object) -> None:
        raise RuntimeError("pthread_create failed")

    runtime = OnnxRuntime()
    monkeypatch.setattr(runtime._engine, "InferenceSession", no_threads)
    with pytest.raises(JobFailedError) as caught:
        runtime.load(write(tmp_path, small_model().SerializeToString()), ONNX)
    assert refused(caught) is FailureType.INIT_FAILED
