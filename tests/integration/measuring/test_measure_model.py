"""Measuring a model of one's own: checked in a sandbox, refused early, followed to its number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from server.artifacts.model_check import ModelCheck
from server.core.errors import InvalidModelError
from tests.support.samples.model_files import check_model
from tests.support.samples.odd_models import odd_model, relu
from tests.support.samples.sample_graphs import small_shufflenet
from tests.support.worlds.api_world import World

FLOAT = TensorProto.FLOAT


def model_bytes(batch: int = 1) -> bytes:
    graph = small_shufflenet()
    return export_onnx(graph, *random_weights(graph, 0), batch=batch)


def dynamic_model() -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(made.SerializeToString())


def external_model() -> bytes:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4], np.zeros(4, np.float32).tobytes(), raw=True)
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    made = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not a model", "it begins with 'not a model'"),
        (dynamic_model(), "static shape"),
        (external_model(), "external data"),
    ],
)
def test_a_model_that_no_board_should_be_given_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidModelError, match=reason):
        check_model(content)


def test_a_good_model_is_described() -> None:
    facts = check_model(model_bytes(2))
    assert facts.input_shapes[0][0] == 2
    assert facts.opset == 17


@pytest.mark.parametrize(
    ("nodes", "element", "dtype"),
    [
        ((("QuantizeLinear", ["x", "s", "z"], ["q"]), ("DequantizeLinear", ["q", "s", "z"], ["y"])), FLOAT, Dtype.W8A8),
        ((("DequantizeLinear", ["w", "s", "z"], ["d"]), ("Mul", ["x", "d"], ["y"])), FLOAT, Dtype.FP32),
        ((("Relu", ["x"], ["y"]),), TensorProto.FLOAT16, Dtype.FP16),
        ((("Relu", ["x"], ["y"]),), FLOAT, Dtype.FP32),
    ],
)
def test_the_arithmetic_of_a_model_is_read_from_it(nodes: tuple[Any, ...], element: int, dtype: Dtype) -> None:
    x, y = (helper.make_tensor_value_info(name, element, [1, 4]) for name in "xy")
    constants = [
        helper.make_tensor("s", FLOAT, [], [0.1]),
        helper.make_tensor("z", TensorProto.UINT8, [], [3]),
        helper.make_tensor("w", TensorProto.UINT8, [4], [1, 2, 3, 4]),
    ]
    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "g", [x], [y], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    assert check_model(made.SerializeToString()).dtype is dtype


def test_a_check_that_takes_too_long_ends_with_a_refusal() -> None:
    with pytest.raises(InvalidModelError, match="could not be checked within"):
        check_model(model_bytes(), ModelCheck(timeout_s=0.01))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World.open(tmp_path)
    yield opened
    opened.close()


def upload(client: httpx2.Client, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    client.put(f"/api/v1/artifacts/{digest}", content=content).raise_for_status()
    return digest


def spec(digest: str, **device: Any) -> dict[str, Any]:
    return {"model_sha256": digest, "label": "mine", "device": {"device_type": "bench", **device}}


def test_a_model_is_queued_measured_and_found_by_its_job(world: World) -> None:
    device = world.enrol("bench-1", device_type="bench")
    with world.client() as client:
        answer = client.post("/api/v1/measurements", json=spec(upload(client, model_bytes())))
        assert answer.status_code == 202
        job = answer.json()
        assert answer.headers["Location"] == f"/api/v1/jobs/{job['id']}"
        assert (job["queue_position"], job["num_takers"], job["eta_s"]) == (1, 1, None)
        second = client.post("/api/v1/measurements", json=spec(upload(client, model_bytes()))).json()
        assert second["queue_position"] == 2
        assert world.measure_all(device) == 2
        done = client.get(f"/api/v1/jobs/{job['id']}").json()
        assert (done["state"], done["queue_position"]) == ("done", None)
        measured = client.get(f"/api/v1/measurements/{done['result']['measurement_id']}").json()
        assert (measured["label"], measured["arch_id"]) == ("mine", None)
        third = client.post("/api/v1/measurements", json=spec(upload(client, model_bytes()))).json()
        assert third["eta_s"] >= 0
        assert client.post(f"/api/v1/jobs/{third['id']}:cancel").json()["state"] == "cancelled"


def test_open_axes_are_fixed_to_the_shapes_given_which_the_job_says(world: World) -> None:
    world.enrol("bench-1", device_type="bench")
    with world.client() as client:
        uploaded = upload(client, relu((1, 3, "height", "width")))
        refused = client.post("/api/v1/measurements", json=spec(uploaded))
        assert refused.status_code == 422
        shapes = {"x": [1, 3, 32, 48]}
        answer = client.post("/api/v1/measurements", json={**spec(uploaded), "input_shapes": shapes})
        assert answer.status_code == 202, answer.text
        assert answer.json()["input_shapes"] == shapes
        assert client.get(f"/api/v1/jobs/{answer.json()['id']}").json()["input_shapes"] == shapes
        job = world.dispatch.get(answer.json()["id"])
        measured = client.get(f"/api/v1/artifacts/{job.payload['model_sha256']}").content
        assert job.payload["model_sha256"] != uploaded
        assert check_model(measured).input_shapes == ((1, 3, 32, 48),)
        for given, where in (({"x" * 257: [1]}, "input_shapes"), ({"x": [1] * 9}, "/input_shapes/x")):
            odd = client.post("/api/v1/measurements", json={**spec(uploaded), "input_shapes": given})
            assert odd.status_code == 422
            assert where in odd.json()["errors"][0]["pointer"]
        wrong = client.post("/api/v1/measurements", json={**spec(uploaded), "input_shapes": {"z": [1]}})
        assert (wrong.status_code, "no input 'z'" in wrong.text) == (422, True)


def test_the_batch_is_the_models_own_unless_the_spec_says_another_that_it_has(world: World) -> None:
    world.enrol("bench-1", device_type="bench")
    with world.client() as client:

        def batch_of(*shape: int, **device: int) -> int | None:
            answer = client.post("/api/v1/measurements", json=spec(upload(client, relu(shape)), **device))
            if answer.status_code == 422:
                assert answer.json()["errors"][0]["pointer"] == "/device/batch"
                return None
            return int(world.dispatch.get(answer.json()["id"]).payload["batch"])

        assert batch_of(8, 3, 16, 16) == 8
        assert (batch_of(8, 3, 16, 16, batch=1), batch_of(8, 3, 16, 16, batch=3)) == (None, None)
        assert (batch_of(5, 1, 8), batch_of(5, 1, 8, batch=1), batch_of(5, 1, 8, batch=8)) == (5, 1, None)
        assert (batch_of(15600), batch_of(15600, batch=2)) == (1, None)


def test_the_job_says_every_shape_that_was_fixed(world: World) -> None:
    world.enrol("bench-1", device_type="bench")
    with world.client() as client:
        axes = (TensorProto.FLOAT, ("n", "width"))
        add = helper.make_node("Add", ["a", "b"], ["y"])
        uploaded = upload(client, odd_model([add], {"a": axes, "b": axes}, {"y": axes}))
        answer = client.post("/api/v1/measurements", json={**spec(uploaded), "input_shapes": {"a": [1, 7]}})
        assert answer.json()["input_shapes"] == {"a": [1, 7], "b": [1, 7]}


@pytest.mark.parametrize(
    ("device", "pointer"),
    [
        ({"device_type": "toaster"}, "/device/device_type"),
        ({"dtype": "w8a8"}, "/device/dtype"),
        ({"batch": 4}, "/device/batch"),
        ({"core_mask": "0x7"}, "/device/core_mask"),
        ({"npu_only": True}, "/device/npu_only"),
    ],
)
def test_what_no_registered_device_could_ever_do_is_refused(world: World, device: dict[str, Any], pointer: str) -> None:
    world.enrol("bench-1", device_type="bench")
    with world.client() as client:
        answer = client.post("/api/v1/measurements", json=spec(upload(client, model_bytes()), **device))
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("invalid-measurement-spec")
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert client.get("/api/v1/jobs").json()["items"] == []


def test_a_calibration_data_set_that_nobody_knows_is_refused(world: World) -> None:
    world.enrol("bench-1", device_type="bench")
    with world.client() as client:
        wanted = {**spec(upload(client, model_bytes())), "calibration_dataset": "nothing"}
        answer = client.post("/api/v1/measurements", json=wanted)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/calibration_dataset")
        assert "known are fashion-mnist-12k" in answer.json()["errors"][0]["detail"]
        assert client.get("/api/v1/jobs").json()["items"] == []


def test_a_malformed_upload_is_refused_before_anything_is_queued(world: World) -> None:
    world.enrol("bench-1", device_type="bench")
    with world.client() as client:
        answer = client.post("/api/v1/measurements", json=spec(upload(client, external_model())))
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "invalid-model")
        assert "external data" in answer.json()["detail"]
        assert client.post("/api/v1/measurements", json=spec("0" * 64)).status_code == 404
