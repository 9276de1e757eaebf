"""Impossible specs are refused at once, with the reason, the place and the feasible range."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.measurement import Dtype
from nas_engine.domain.metrics import MACS
from server.artifacts.files import FileByteStore
from server.artifacts.model_check import ModelFacts
from server.candidates.boards import MeasurementSpec
from server.candidates.search import SearchQuery
from server.core.errors import InvalidSpecError, NotFoundError, SpecViolation
from server.fleet.device import DeviceState
from server.fleet.device_spec import DeviceSpec
from server.jobs.states import JobKind, JobState
from server.measuring.queries import ModelMeasurementSpec
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, TRAINING, World


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> World:
    return World(sqlite_database, FileByteStore(tmp_path / "artifacts"))


def violations(world: World, **changes: Any) -> tuple[SpecViolation, ...]:
    """Why a spec is refused; creating it is refused for the same reasons and leaves nothing behind."""
    found = world.searches.validate(world.spec(**changes)).violations
    if found:
        with pytest.raises(InvalidSpecError) as caught:
            world.searches.create_search(world.spec(**changes))
        assert caught.value.violations == found
        assert world.searches.count_searches(SearchQuery()) == 0
    return found


def test_a_good_spec_is_reported_with_ranges_and_hardware(world: World) -> None:
    world.enrol()
    report = world.searches.validate(world.spec())
    assert report.violations == ()
    assert report.space_size == 256
    assert report.bounds[MACS].minimum == 10_000
    assert report.hardware is not None
    assert report.hardware.key.identity == IDENTITY
    assert report.num_devices == 1


@pytest.mark.parametrize(
    ("change", "pointer", "reason"),
    [
        ({"space": {"id": "nowhere"}}, "/space/id", "unknown search space 'nowhere'"),
        ({"space": {"id": "toy", "parameters": {"depth": 3}}}, "/space/parameters", "unknown parameters"),
        ({"dataset": "nothing"}, "/dataset", "known are animals, digits"),
        ({"dataset": "animals"}, "/dataset", "37 classes"),
        ({"supernet": "sup_none"}, "/supernet", "no supernet 'sup_none'"),
        ({"supernet": {**TRAINING, "dataset": "animals"}}, "/supernet/space/parameters", "set num_classes to 37"),
        ({"device": {"device_type": "rk3588"}}, "/device/device_type", "registered types: testboard"),
        ({"device": {"device_type": "testboard", "runtime": "rknnlite"}}, "/device/runtime", "offered: onnxruntime"),
        ({"device": {"device_type": "testboard", "dtype": "w8a8"}}, "/device/dtype", "offered: fp16, fp32"),
        ({"device": {"device_type": "testboard", "core_mask": "0x7"}}, "/device/core_mask", "offered: any"),
        ({"device": {"device_type": "testboard", "labels": {"rack": "z"}}}, "/device/labels", "carries labels"),
    ],
)
def test_an_impossible_spec_is_refused(world: World, change: dict[str, Any], pointer: str, reason: str) -> None:
    world.enrol()
    (found,) = violations(world, **change)
    assert found.pointer == pointer
    assert reason in found.message


def test_no_device_at_all_is_said_so(world: World) -> None:
    (found,) = violations(world)
    assert "registered types: none yet" in found.message


@pytest.mark.parametrize(
    ("constraint", "pointer"),
    [
        ({"metric": "macs", "maximum": 9_999}, "/constraints/0/maximum"),
        ({"metric": "macs", "minimum": 22_001}, "/constraints/0/minimum"),
        ({"metric": "params", "maximum": 50}, "/constraints/0/maximum"),
        ({"metric": "latency_us", "maximum": -1}, "/constraints/0/maximum"),
    ],
)
def test_a_bound_outside_the_space_is_refused_with_the_feasible_range(
    world: World, constraint: dict[str, Any], pointer: str
) -> None:
    world.enrol()
    (found,) = violations(world, constraints=[constraint])
    assert found.pointer == pointer
    assert found.feasible_minimum is not None
    assert f"{found.feasible_minimum:,.0f}" in found.message


def test_a_bound_at_the_edge_of_the_space_is_fine(world: World) -> None:
    world.enrol()
    assert violations(world, constraints=[{"metric": "macs", "minimum": 22_000}]) == ()


def test_everything_wrong_is_found_at_once(world: World) -> None:
    found = violations(world, constraints=[{"metric": "macs", "maximum": 1}], dataset="nothing")
    assert sorted(v.pointer for v in found) == ["/constraints/0/maximum", "/dataset", "/device/device_type"]


def test_a_table_of_results_cannot_be_measured(world: World) -> None:
    world.enrol()
    found = {violation.pointer: violation.message for violation in violations(world, space={"id": "table"})}
    assert any("table of results without a column latency_us" in message for message in found.values())
    assert "leave it out" in found["/device"]


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"objectives": [{"metric": "latency_us"}], "device": None}, "/device", "no device is named"),
        ({"constraints": [{"metric": "latency_us", "maximum": 1}], "device": None}, "/device", "no device is named"),
        ({"objectives": [{"metric": "top1"}]}, "/supernet", "no supernet is named"),
    ],
)
def test_every_value_that_is_wanted_must_come_from_somewhere(
    world: World, changes: dict[str, Any], pointer: str, message: str
) -> None:
    world.enrol()
    (found,) = violations(world, **changes)
    assert found.pointer == pointer
    assert message in found.message


def test_a_table_that_holds_what_is_wanted_needs_no_supernet(world: World) -> None:
    assert (
        violations(world, space={"id": "table"}, objectives=[{"metric": "top1"}, {"metric": "macs"}], device=None) == ()
    )


def test_a_supernet_of_another_space_is_refused(world: World) -> None:
    world.enrol()
    supernet = world.ready_supernet()
    other = {"id": "toy", "parameters": {"num_classes": 37}}
    (found,) = violations(world, space=other, supernet=supernet.id, objectives=[{"metric": "top1"}])
    assert "differs in parameters num_classes" in found.message


def test_a_failed_supernet_is_refused(world: World) -> None:
    world.enrol()
    search = world.search(objectives=[{"metric": "top1"}], supernet=TRAINING)
    world.supernets.cancel(str(search.supernet_id))
    report = world.searches.validate(world.spec(objectives=[{"metric": "top1"}], supernet=search.supernet_id))
    assert [v.pointer for v in report.violations] == ["/supernet"]


def test_the_hardware_of_most_working_devices_is_chosen(world: World) -> None:
    other = replace(IDENTITY, board_model="Another board")
    broken = [world.enrol(f"other-{n}", identity=other) for n in range(3)]
    world.enrol("one")
    for device in broken:
        world.devices.set_state(device.id, DeviceState.QUARANTINED, "broken")
    report = world.searches.validate(world.spec())
    assert report.hardware is not None
    assert report.hardware.key.identity == IDENTITY
    assert report.num_devices == 1


def test_networks_that_are_run_as_exported_are_measured_in_the_arithmetic_they_have(world: World) -> None:
    world.enrol()
    (found,) = violations(world, device={"device_type": "testboard", "dtype": "fp16"})
    assert (found.pointer, "a label only" in found.message) == ("/device/dtype", True)


def test_a_model_of_ones_own_is_filed_under_its_own_arithmetic(world: World) -> None:
    world.enrol()
    model = world.artifacts.put(b"onnx bytes", "application/onnx")
    spec = ModelMeasurementSpec(model_sha256=model.sha256, device=DeviceSpec(device_type="testboard", dtype="fp16"))
    with pytest.raises(InvalidSpecError, match="in fp32; the spec says fp16"):
        world.latencies.measure_model(spec, FACTS)
    job = world.latencies.measure_model(spec, replace(FACTS, dtype=Dtype.FP16))
    assert world.latencies.hardware(str(job.hardware_key)).dtype is Dtype.FP16


FACTS = ModelFacts(input_shapes=((1, 3, 32, 32),), opset=17, size_bytes=10)


def test_a_model_of_ones_own_is_measured_without_a_search(world: World) -> None:
    device = world.enrol()
    model = world.artifacts.put(b"onnx bytes", "application/onnx")
    measuring = MeasurementSpec(validity_policy="accept_flagged", profile="quick")
    spec = ModelMeasurementSpec(
        model_sha256=model.sha256, label="mine", device=DeviceSpec(device_type="testboard"), measurement=measuring
    )
    job = world.latencies.measure_model(spec, FACTS)
    assert (job.kind, job.state) == (JobKind.MEASURE, JobState.QUEUED)
    assert device.run() == 1
    done = world.dispatch.get(job.id)
    assert isinstance(done.result, dict)
    found = world.latencies.get_measurement(str(done.result["measurement_id"]))
    assert (found.label, found.search_id, found.arch_id) == ("mine", None, None)
    assert found.hardware.dtype is Dtype.FP32


def test_a_model_that_no_device_can_run_is_refused(world: World) -> None:
    model = world.artifacts.put(b"onnx bytes", "application/onnx")
    spec = ModelMeasurementSpec(model_sha256=model.sha256, device=DeviceSpec(device_type="rk3588"))
    with pytest.raises(InvalidSpecError, match="no device of type 'rk3588'"):
        world.latencies.measure_model(spec, FACTS)
    unknown = ModelMeasurementSpec(model_sha256="0" * 64, device=DeviceSpec(device_type="rk3588"))
    with pytest.raises(NotFoundError):
        world.latencies.measure_model(unknown, FACTS)
