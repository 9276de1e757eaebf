"""Classifying on a device: what every runtime answers to images, and what it refuses to answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agent.child.messages import request_from_proto, request_to_proto
from device_agent.child.process import InProcessMeasurer
from device_agent.failures import JobFailedError, JobStoppedError
from device_agent.measuring.classify import ClassifyRequest, run_classification
from device_agent.measuring.device import MeasuringSettings
from device_agent.measuring.procedure import Phase
from device_agent.runtime.base import Classifier, Output, SessionSettings
from device_agent.runtime.onnxruntime import OnnxRuntime
from device_agent.runtime.rk3588_sim import Rk3588SimRuntime
from device_agent.runtime.rknn_lite import RknnLiteRuntime
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.stop import StopToken
from hilnas.wire import classification_from_proto, classification_to_proto
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype
from nas_engine.domain.measuring.classification import Classification
from nas_engine.domain.measuring.image_set import Layout, Preprocessing, write_image_set
from tests.support.fakes.board import CountingLock, ScriptedRuntime, ScriptedTelemetry, setup_of
from tests.support.samples.rknn_files import rknn_file

SHA = "ab" * 32
SHAPE_NHWC = (7, 8, 6, 3)
NUM_CLASSES = 10
HOW = Preprocessing(mean=(120.0, 115.0, 110.0), std=(60.0, 62.0, 64.0))
WEIGHTS = np.random.default_rng(5).standard_normal((3 * 8 * 6, NUM_CLASSES)).astype(np.float32)
PIXELS_NHWC = np.random.default_rng(6).integers(0, 256, SHAPE_NHWC).astype(np.uint8)


def linear_answers(how: Preprocessing = HOW) -> list[int]:
    """What the linear model says, computed here."""
    outputs_NK = how.apply(PIXELS_NHWC).reshape(len(PIXELS_NHWC), -1) @ WEIGHTS
    return [int(row.argmax()) for row in outputs_NK]


def linear_model(batch: int = 1, *, classes: int = NUM_CLASSES, dtype: int = TensorProto.FLOAT) -> bytes:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", dtype, [batch, 3, 8, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(WEIGHTS[:, :classes].copy(), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(onnx.ModelProto.SerializeToString(made))


def request_of(
    folder: Path,
    model: bytes,
    how: Preprocessing = HOW,
    *,
    batch: int = 1,
    num_images: int = len(PIXELS_NHWC),
    num_classes: int = NUM_CLASSES,
    format: str = "onnx",
) -> ClassifyRequest:
    labels_N = np.arange(len(PIXELS_NHWC)) % num_classes
    (folder / "model").write_bytes(model)
    (folder / "images").write_bytes(write_image_set("some", PIXELS_NHWC, labels_N, how, num_classes))
    return ClassifyRequest(
        model=folder / "model",
        images=folder / "images",
        images_sha256=SHA,
        num_images=num_images,
        settings=SessionSettings(format=format, batch=batch),
        dtype=Dtype.FP32,
    )


class BoardWith(ScriptedRuntime):
    """A scripted board whose models are classified with by another runtime."""

    def __init__(self, load: Any) -> None:
        super().__init__()
        self._load = load

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        found: Classifier = self._load(path, settings)
        return found


def classify(request: ClassifyRequest, load: Any, lock: CountingLock | None = None) -> Classification:
    return run_classification(request, setup_of(BoardWith(load), ScriptedTelemetry(), lock), lambda _: None)


def refused(request: ClassifyRequest, load: Any) -> tuple[FailureType, str]:
    with pytest.raises(JobFailedError) as caught:
        classify(request, load)
    return caught.value.type, caught.value.message


@pytest.mark.parametrize("batch", [1, 2, 7, 16])
def test_every_image_is_answered_in_order_also_where_the_last_batch_is_not_full(tmp_path: Path, batch: int) -> None:
    found = classify(request_of(tmp_path, linear_model(batch), batch=batch), OnnxRuntime().load_classifier)
    assert found.predictions.tolist() == linear_answers()
    assert (found.num_classes, found.images_sha256) == (NUM_CLASSES, SHA)
    assert (found.hardware_key.dtype, found.hardware_key.batch) == (Dtype.FP32, batch)


def test_only_the_first_images_are_classified_where_fewer_are_asked_for(tmp_path: Path) -> None:
    found = classify(request_of(tmp_path, linear_model(), num_images=3), OnnxRuntime().load_classifier)
    assert found.predictions.tolist() == linear_answers()[:3]


def test_the_timing_lock_of_the_host_is_held_meanwhile(tmp_path: Path) -> None:
    lock = CountingLock()
    classify(request_of(tmp_path, linear_model()), OnnxRuntime().load_classifier, lock)
    assert lock.num_taken >= 1


def test_a_model_of_integers_is_given_pixels_and_never_rounded_fractions(tmp_path: Path) -> None:
    integers = linear_model(dtype=TensorProto.UINT8)
    plain = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    found = classify(request_of(tmp_path, integers, plain), OnnxRuntime().load_classifier)
    assert found.predictions.tolist() == linear_answers(plain)
    type, message = refused(request_of(tmp_path, integers), OnnxRuntime().load_classifier)
    assert type is FailureType.MODEL_REJECTED
    assert "--mean 0 --std 1" in message


def test_a_model_that_does_not_fit_the_images_is_the_models_fault(tmp_path: Path) -> None:
    load = OnnxRuntime().load_classifier
    other_layout = Preprocessing(mean=HOW.mean, std=HOW.std, layout=Layout.NHWC)
    type, message = refused(request_of(tmp_path, linear_model(), other_layout), load)
    assert type is FailureType.MODEL_REJECTED
    assert "(1, 8, 6, 3)" in message
    type, message = refused(request_of(tmp_path, linear_model(classes=4)), load)
    assert type is FailureType.MODEL_REJECTED
    assert "10 classes" in message


def test_a_classifier_has_one_input_and_one_output(tmp_path: Path) -> None:
    model = onnx.load_from_string(linear_model())
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, [1, 144]))
    type, message = refused(request_of(tmp_path, model.SerializeToString()), OnnxRuntime().load_classifier)
    assert type is FailureType.MODEL_REJECTED
    assert "one input and one output" in message


@pytest.mark.parametrize("num_images", [0, 8])
def test_more_images_than_there_are_cannot_be_asked_for(tmp_path: Path, num_images: int) -> None:
    request = request_of(tmp_path, linear_model(), num_images=num_images)
    assert refused(request, OnnxRuntime().load_classifier)[0] is FailureType.UNSUPPORTED


def test_a_damaged_image_set_is_nobodys_fault_but_the_requests(tmp_path: Path) -> None:
    request = request_of(tmp_path, linear_model())
    request.images.write_bytes(request.images.read_bytes()[:-1])
    type, message = refused(request, OnnxRuntime().load_classifier)
    assert type is FailureType.UNSUPPORTED
    assert "it is cut" in message


# ---- the NPU's library, as its source has it: not board-tested


class QuantisedLite:
    """rknnlite with a w8a8 linear model converted without mean and std: float32 NHWC in, quantised by the library with
    the scale found on normalised calibration images, dequantised float32 out.
    """

    def __init__(self, *, outputs: int = 1) -> None:
        self._num_outputs = outputs
        self.shapes: list[tuple[int, ...]] = []
        self.num_released = 0

    def load_rknn(self, path: str) -> int:
        return 0

    def init_runtime(self, target: str | None = None, core_mask: int = 0) -> int:
        return 0

    def inference(self, inputs: Sequence[Any], reuse_outputs: bool = False) -> list[Output] | None:
        (x_NHWC,) = inputs
        self.shapes.append(x_NHWC.shape)
        if x_NHWC.dtype != np.float32:
            return None
        scale = 4.5 / 255.0
        quantised = np.clip(np.round(x_NHWC / scale), -128, 127)
        flat = (quantised * scale).transpose(0, 3, 1, 2).reshape(len(x_NHWC), -1).astype(np.float32)
        return [flat @ WEIGHTS] * self._num_outputs

    def get_sdk_version(self) -> str:
        return "API: 2.3.2 (429f97ae6b@2025-04-09T09:09:27), DRV: 0.9.8"

    def release(self) -> None:
        self.num_released += 1


def npu(lite: QuantisedLite) -> Any:
    return RknnLiteRuntime(make=lambda: lite).load_classifier


def test_a_w8a8_model_is_given_normalised_numbers_which_the_library_quantises(tmp_path: Path) -> None:
    lite = QuantisedLite()
    found = classify(request_of(tmp_path, rknn_file(), format="rknn"), npu(lite))
    assert lite.shapes == [(1, 8, 6, 3)] * len(PIXELS_NHWC), "channels last, the library's default"
    agreement = np.mean(np.array(linear_answers()) == found.predictions)
    assert agreement >= 6 / 7
    assert lite.num_released == 1


def test_an_rknn_model_of_several_outputs_is_no_classifier(tmp_path: Path) -> None:
    lite = QuantisedLite(outputs=2)
    type, message = refused(request_of(tmp_path, rknn_file(), format="rknn"), npu(lite))
    assert type is FailureType.MODEL_REJECTED
    assert "one output" in message
    assert lite.num_released == 1


def test_a_simulated_rk3588_refuses_since_it_executes_nothing(tmp_path: Path) -> None:
    runtime = Rk3588SimRuntime()
    assert not runtime.facts.executes
    type, message = refused(request_of(tmp_path, b"{}"), runtime.load_classifier)
    assert type is FailureType.UNSUPPORTED
    assert "executes nothing" in message


# ---- the fake device, whole


def fake_model(**script: Any) -> bytes:
    return json.dumps({"hilnas_fake": 1, "predictions": [3, 1, 4], "num_classes": NUM_CLASSES, **script}).encode()


def fake_measurer(folder: Path) -> InProcessMeasurer:
    settings = MeasuringSettings(runtime=RuntimeName.FAKE, options=RuntimeOptions(), lock_path=folder / "lock")
    return InProcessMeasurer(settings)


def test_a_fake_device_answers_its_script_and_makes_nothing_up(tmp_path: Path) -> None:
    measurer = fake_measurer(tmp_path)
    phases: list[Phase] = []
    found = measurer.classify(request_of(tmp_path, fake_model(), batch=2), StopToken(), phases.append, 10.0)
    assert found.predictions.tolist() == [3, 1, 4, 3, 1, 4, 3]
    assert phases[0] is Phase.PREPARING
    assert set(phases[1:]) == {Phase.MEASURING}
    with pytest.raises(JobFailedError, match="computes nothing") as caught:
        measurer.classify(request_of(tmp_path, b"any model"), StopToken(), phases.append, 10.0)
    assert caught.value.type is FailureType.UNSUPPORTED


@pytest.mark.parametrize(
    ("script", "type"),
    [
        ({"fault": "nan"}, FailureType.OUTPUT_MISMATCH),
        ({"fault": "run"}, FailureType.RUN_FAILED),
        ({"fault": "reject"}, FailureType.MODEL_REJECTED),
        ({"num_classes": 5}, FailureType.MODEL_REJECTED),
    ],
)
def test_a_model_that_fails_is_a_typed_failure_and_never_an_accuracy(
    tmp_path: Path, script: dict[str, Any], type: FailureType
) -> None:
    with pytest.raises(JobFailedError) as caught:
        fake_measurer(tmp_path).classify(request_of(tmp_path, fake_model(**script)), StopToken(), lambda _: None, 10.0)
    assert caught.value.type is type


def test_a_stopped_job_ends_between_two_turns(tmp_path: Path) -> None:
    token = StopToken()

    def stop_while_measuring(phase: Phase) -> None:
        if phase is Phase.MEASURING:
            token.stop(FailureType.CANCELLED, "cancelled by a user")

    with pytest.raises(JobStoppedError):
        fake_measurer(tmp_path).classify(request_of(tmp_path, fake_model()), token, stop_while_measuring, 10.0)


def test_requests_and_answers_survive_the_way_to_the_child_and_back(tmp_path: Path) -> None:
    request = request_of(tmp_path, linear_model(), num_images=5)
    assert request_from_proto(request_to_proto(request)) == request
    found = classify(request, OnnxRuntime().load_classifier)
    back = classification_from_proto(classification_to_proto(found))
    assert np.array_equal(back.predictions, found.predictions)
    assert (back.num_classes, back.images_sha256) == (found.num_classes, found.images_sha256)
    assert (back.hardware_key, back.environment) == (found.hardware_key, found.environment)
