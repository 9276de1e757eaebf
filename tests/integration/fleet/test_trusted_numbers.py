"""Only trustworthy numbers steer: suspects are measured again, and devices of one pool agree."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.measurement import Dtype
from nas_engine.domain.metrics import LATENCY_US
from server.artifacts.files import FileByteStore
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import CandidateState, SearchState
from server.fleet.device import DeviceState, pool_key
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import FAKE, Farm, fake_model
from tests.support.worlds.service_world import IDENTITY, PlayedDevice, World, run_to_end

HOUR = timedelta(hours=1)
POOL_KEY = pool_key(IDENTITY, Dtype.FP32)
GOLDEN: dict[str, Any] = {"pool_key": POOL_KEY, "artifact_sha256": "0" * 64, "median_us": 100.0}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> World:
    return World(sqlite_database, FileByteStore(tmp_path / "artifacts"))


def latencies(world: World, candidate: Candidate) -> list[Evaluation]:
    found = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([candidate.id]))
    return [evaluation for evaluation in found if evaluation.metric == LATENCY_US]


def measure_one(world: World, device: PlayedDevice, latency_us: float) -> None:
    world.worker.run()
    job = device.take()
    assert job is not None
    device.measure(job, latency_us)


def test_a_canary_alarm_has_everything_since_the_last_good_canary_measured_again_elsewhere(world: World) -> None:
    slow, well = world.enrol("slow"), world.enrol("well")
    search = world.search(budget={"num_candidates": 3})
    measure_one(world, slow, 101.0)
    world.record_canary(slow.id, **GOLDEN, ratio=1.0, passed=True)
    measure_one(world, slow, 302.0)
    assert world.record_canary(slow.id, **GOLDEN, ratio=3.0, passed=False, reason="3 times as slow") == 1
    assert world.devices.get(slow.id).state is DeviceState.DEGRADED
    slow.sync(degraded=True, free_slots=0)
    assert world.devices.get(slow.id).state is DeviceState.DEGRADED
    done = run_to_end(world, well, search)
    assert done.state is SearchState.COMPLETED
    attempts = {len(latencies(world, candidate)) for candidate in world.candidates(search)}
    assert attempts == {1, 2}
    (again,) = (c for c in world.candidates(search) if len(latencies(world, c)) == 2)
    first, second = latencies(world, again)
    assert (first.value, again.value(LATENCY_US)) == (302.0, second.value)
    assert second.value != first.value
    assert second.measurement_id is not None
    assert world.latencies.get_measurement(second.measurement_id).device_id == well.id


def test_a_search_does_not_end_while_one_of_its_results_is_suspect(world: World) -> None:
    slow, well = world.enrol("slow"), world.enrol("well")
    search = world.search(budget={"num_candidates": 3})
    world.record_canary(slow.id, **GOLDEN, ratio=1.0, passed=True)
    world.worker.run()
    assert slow.run() == 3
    assert world.record_canary(slow.id, **GOLDEN, ratio=2.0, passed=False) == 3
    world.worker.run()
    assert world.searches.get_search(search.id).state is SearchState.RUNNING
    assert run_to_end(world, well, search).state is SearchState.COMPLETED
    for candidate in world.candidates(search):
        assert candidate.state is CandidateState.COMPLETE
        assert len(latencies(world, candidate)) == 2


def test_a_finished_search_keeps_its_suspect_results_and_queues_nothing(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search(budget={"num_candidates": 3}))
    world.record_canary(device.id, **GOLDEN, ratio=2.0, passed=False)
    assert all(len(latencies(world, candidate)) == 1 for candidate in world.candidates(search))
    assert world.enrol("other").take() is None


@pytest.mark.parametrize(("median_us", "state"), [(102.9, DeviceState.ACTIVE), (103.5, DeviceState.QUARANTINED)])
def test_devices_share_a_pool_only_while_their_canaries_agree(
    world: World, median_us: float, state: DeviceState
) -> None:
    first, second = world.enrol("first"), world.enrol("second")
    world.record_canary(first.id, **GOLDEN, ratio=None, passed=True)
    world.record_canary(second.id, **GOLDEN | {"median_us": median_us}, ratio=None, passed=True)
    found = world.devices.get(second.id)
    assert found.state is state
    assert ("of its pool 100 us" in found.reason) == (state is DeviceState.QUARANTINED)
    assert world.devices.get(first.id).state is state  # of two that disagree either may be wrong


def test_a_real_agent_that_is_slower_than_its_pool_is_taken_out_of_it(farm: Farm) -> None:
    farm.start(name="bench-1")
    farm.final(farm.submit(fake_model(latency_us=700.0)))
    farm.world.devices.reserve(farm.device("bench-1").id, "test", farm.world.uow.read(lambda tx: tx.now()) + HOUR)
    farm.start(*FAKE, "--fake-slowdown", "1.1", name="bench-2")
    farm.submit(fake_model(latency_us=710.0), latency_key="second")
    farm.until(lambda: farm.device("bench-2").state is DeviceState.QUARANTINED)
    assert "within 3% they would share a pool" in farm.device("bench-2").reason
    suspects = [record for record in farm.measurements() if record.suspect]
    assert [record.device_id for record in suspects] == [farm.device("bench-2").id]
