"""Latencies without a board: measured, estimated or "measure it", and never one under another's name."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from nas_engine.domain.measuring.environment import DeviceClass, Dtype, HardwareKey
from server.access.token import Role
from server.artifacts.artifacts import Artifacts
from server.fleet.device import Device
from server.jobs.job import LeaseRef
from server.jobs.states import JobKind
from server.latencies.predictors.fits import Fits
from server.latencies.predictors.predictor import MIN_FITTED
from server.latencies.predictors.predictors import Predictors
from server.latencies.worker import FitHandler
from server.spaces.catalog import SpaceCatalog
from tests.support.worlds.api_world import SMALL_SPACE, World

GENOTYPES = tuple(itertools.product(range(4), repeat=4))


def asked(*genotypes: Sequence[int], device_types: Sequence[str] = ("rk3588",), **more: Any) -> dict[str, Any]:
    """A question for architectures of the small space."""
    return {
        "architectures": [{"space": SMALL_SPACE, "genotype": list(one)} for one in genotypes],
        "devices": [{"device_type": one} for one in device_types],
        **more,
    }


def ask(client: httpx2.Client, question: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/api/v1/latencies:query", json=question)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def measure(world: World, client: httpx2.Client, device: Any, genotypes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Queue what is missing, and have the board measure it."""
    queued = ask(client, asked(*genotypes, queue_missing=True, queue_estimated=True))
    world.convert_all()
    assert world.measure_all(device) > 0
    return queued


def fit(world: World) -> int:
    """Do the fits that are due."""
    handler = FitHandler(Fits(world.process.uow), world.process.get(SpaceCatalog), world.process.get(Artifacts))
    num = 0
    while (job := world.dispatch.claim("worker-1", (JobKind.FIT,))) is not None:
        assert isinstance(job.lease, LeaseRef)
        handler(job, job.lease, lambda: False)
        num += 1
    return num


def test_what_nobody_measured_is_to_be_measured_and_one_field_queues_it(world: World, client: httpx2.Client) -> None:
    device = world.enrol()
    found = ask(client, asked((0, 0, 0, 0), device_types=("rk3588", "unheard-of")))
    there, nowhere = found["answers"]
    assert (there["kind"], nowhere["kind"]) == ("measure_it", "measure_it")
    assert there["latency_us"] is there["estimate"] is there["measurement"] is None
    assert there["reason"] == "nobody measured this architecture there"
    assert "no device of type 'unheard-of'" in nowhere["reason"]
    assert client.get("/api/v1/jobs").json()["items"] == []

    queued = measure(world, client, device, [(0, 0, 0, 0), (1, 0, 0, 0)])
    assert all(one["job_id"].startswith("job_") for one in queued["answers"])
    found = ask(client, asked((0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0)))
    first, second, third = found["answers"]
    assert [first["kind"], second["kind"], third["kind"]] == ["measured", "measured", "measure_it"]
    assert (found["num_measured"], found["num_estimated"], found["num_to_measure"]) == (2, 0, 1)
    record = client.get(f"/api/v1/measurements/{first['measurement']['measurement_id']}").json()
    assert record["arch_id"] == first["arch_id"]
    assert first["latency_us"] == record["stats"]["p50_us"]
    assert (first["low_us"], first["high_us"]) == (record["stats"]["ci95_low_us"], record["stats"]["ci95_high_us"])
    (hardware,) = found["hardware"]
    assert hardware["hardware_key"] == first["hardware_key"] == record["hardware_key"]
    assert hardware["hardware"]["runtime_versions"] == {"onnxruntime": "1.0"}
    assert first["is_current"]
    assert first["matched_by"] == "architecture"


def test_one_job_is_queued_for_what_is_asked_twice(world: World, client: httpx2.Client) -> None:
    world.enrol()
    question = asked((0, 0, 0, 0), (0, 0, 0, 0), queue_missing=True)
    first, second = ask(client, question)["answers"]
    again, _ = ask(client, question)["answers"]
    assert first["job_id"] == second["job_id"] == again["job_id"]


def test_a_simulators_number_is_never_called_measured(world: World, client: httpx2.Client) -> None:
    device = world.enrol(device_class=DeviceClass.SIMULATED)
    measure(world, client, device, [(0, 0, 0, 0)])
    found = ask(client, asked((0, 0, 0, 0)))
    assert [one["kind"] for one in found["answers"]] == ["simulated"]
    assert (found["num_measured"], found["num_simulated"]) == (0, 1)


def test_several_hardware_keys_are_said_and_can_be_told_apart(world: World, client: httpx2.Client) -> None:
    simulated = world.enrol("sim", device_class=DeviceClass.SIMULATED)
    measure(world, client, simulated, [(0, 0, 0, 0)])
    board = world.enrol("board")
    key = next(
        one["hardware_key"]
        for one in client.get("/api/v1/hardware-keys").json()["items"]
        if one["hardware"]["device_class"] == "simulated"
    )
    only = {"architectures": asked((0, 0, 0, 0))["architectures"], "devices": [{"device_type": "rk3588"}]}
    queued = ask(client, {**only, "require_valid": True, "queue_missing": True})
    assert [one["kind"] for one in queued["answers"]] == ["simulated"]  # something is there: nothing is queued
    measured_key = _key(board).digest
    named = {**only, "devices": [{"device_type": "rk3588", "hardware_key": measured_key}]}
    assert [one["kind"] for one in ask(client, named)["answers"]] == ["measure_it"]
    queued = ask(client, {**named, "queue_missing": True})
    assert queued["answers"][0]["hardware_key"] == measured_key
    world.convert_all()
    assert world.measure_all(board) == 1
    (both,) = ask(client, only)["answers"]
    assert (both["kind"], both["hardware_key"], both["is_ambiguous"]) == ("measured", measured_key, True)
    assert [one["hardware_key"] for one in both["others"]] == [key]
    (narrowed,) = ask(client, named)["answers"]
    assert not narrowed["is_ambiguous"]
    (elsewhere,) = ask(client, {**only, "devices": [{"device_type": "rk3588", "runtime": "rknnlite"}]})["answers"]
    assert elsewhere["kind"] == "measure_it"
    assert "no device of the type offers that" in elsewhere["reason"]


def _key(device: Device) -> HardwareKey:
    return HardwareKey(identity=device.capabilities.identity, dtype=Dtype.FP32, batch=1)


@pytest.mark.long
def test_enough_measurements_make_a_predictor_that_says_how_often_it_is_right(
    world: World, client: httpx2.Client
) -> None:
    device, predictors = world.enrol(), world.process.get(Predictors)
    known, unknown = GENOTYPES[: MIN_FITTED - 1], GENOTYPES[200:204]
    measure(world, client, device, known)
    assert predictors.advance() == 0
    assert fit(world) == 0
    (answer, *_) = ask(client, asked(*unknown))["answers"]
    assert answer["kind"] == "measure_it"
    assert f"{MIN_FITTED - 1} of the {MIN_FITTED} measurements" in answer["reason"]

    measure(world, client, device, [GENOTYPES[100]])
    assert predictors.advance() == 1
    assert fit(world) == 1
    found = ask(client, asked(*unknown, known[0]))
    *guessed, sure = found["answers"]
    assert {one["kind"] for one in guessed} == {"estimated"}
    assert sure["kind"] == "measured"
    (predictor,) = found["predictors"]
    for one in guessed:
        assert one["low_us"] < one["latency_us"] < one["high_us"]
        said = one["estimate"]
        assert (said["source_id"], said["num_measurements"]) == (predictor["id"], MIN_FITTED)
        assert (said["nominal"], said["num_left_out"], said["is_stale"]) == (0.9, MIN_FITTED, False)
        assert 0.6 < said["coverage"] <= 1.0
        assert one["measurement"] is None
    assert predictor == client.get(f"/api/v1/latency-predictors/{predictor['id']}").json()

    measure(world, client, device, GENOTYPES[120 : 120 + predictor["refit_after"]])
    assert predictors.advance() == 1
    (stale, *_) = ask(client, asked(*unknown))["answers"]
    assert stale["estimate"]["is_stale"]
    assert fit(world) == 1
    (fresh, *_) = ask(client, asked(*unknown))["answers"]
    assert not fresh["estimate"]["is_stale"]
    assert fresh["estimate"]["num_measurements"] == MIN_FITTED + predictor["refit_after"]


def test_the_api_process_reads_predictors_without_what_they_were_learned_with() -> None:
    script = (
        "import sys\n"
        "import server.bootstrap.api\n"
        "import nas_engine.cost.prediction.served_predictor\n"
        "import nas_engine.cost.calibrated_tables.served_table\n"
        "print([name for name in ('sklearn', 'scipy', 'torch') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_viewer_may_ask_and_not_queue(world: World) -> None:
    world.enrol()
    viewer = world.client(world.token(Role.VIEWER))
    assert ask(viewer, asked((0, 0, 0, 0)))["num_to_measure"] == 1
    refused = viewer.post("/api/v1/latencies:query", json=asked((0, 0, 0, 0), queue_missing=True))
    assert refused.status_code == 403
    assert "role engineer" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"architectures": [{"arch_id": "0" * 64}]}, "/architectures/0/arch_id"),
        ({"architectures": [{"space": SMALL_SPACE, "genotype": [9, 0, 0, 0]}]}, "/architectures/0"),
        ({"architectures": [{"space": {"id": "nowhere"}, "genotype": [0]}]}, "/architectures/0"),
        ({"architectures": []}, ""),
        ({"devices": []}, "/devices"),
    ],
)
def test_a_question_that_cannot_be_answered_says_where(
    client: httpx2.Client, change: dict[str, Any], pointer: str
) -> None:
    answer = client.post("/api/v1/latencies:query", json={**asked((0, 0, 0, 0)), **change})
    assert answer.status_code == 422, answer.text
    assert [one.get("pointer") for one in answer.json()["errors"]] == [pointer]
