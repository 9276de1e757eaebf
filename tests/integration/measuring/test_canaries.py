"""Canaries: when they run, what is expected of them, and what follows from one that is off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.errors import ConversionError, ConversionFailure
from nas_engine.domain.measurement import CanaryReading, DeviceClass
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.rknn.settings import CalibrationBatch
from server.access.tokens import EnrolmentTokens
from server.artifacts.artifact import ModelFormat
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.bootstrap import api
from server.bootstrap.settings import Settings
from server.candidates.evaluation_store import EvaluationStore
from server.core.events import EventQuery, EventStore
from server.fleet.device import Device, DeviceCapabilities, DeviceState, Enrolment, pool_key
from server.fleet.devices import Devices
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.measuring.canaries.canaries import Canaries, CanaryPlan, CanarySettings, GoldenModel
from server.measuring.canaries.golden import GOLDEN_KEY, golden_onnx
from server.measuring.payloads import MeasurePayload
from server.measuring.rpc import MeasuringRpc
from server.measuring.worker.golden import make_golden, make_golden_when_needed
from server.measuring.worker.rknn import RknnFiles, RknnMaker
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import FAKE, Farm, fake_model
from tests.support.worlds.service_world import IDENTITY, PlayedDevice, World

BOARD = replace(IDENTITY, device_class=DeviceClass.BOARD, core_mask="1")
UPGRADED = replace(BOARD, runtime_versions=(("onnxruntime", "1.21"),))
GOLDEN = GoldenModel(sha256="0" * 64, size_bytes=10, format=ModelFormat.ONNX)
ANSWER, OTHER_ANSWER = "a" * 64, "b" * 64


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> World:
    return World(sqlite_database, FileByteStore(tmp_path / "artifacts"))


class FakeRknnMaker(RknnMaker):
    """A converter that works, or does not."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._store = artifacts
        self.broken = False
        self.made: list[bytes] = []

    def make(
        self,
        onnx: bytes,
        dtype: Dtype,
        *,
        calibration: CalibrationBatch | None,
        arch_id: str | None,
        target_platform: str = "rk3588",
    ) -> RknnFiles:
        if self.broken:
            raise ConversionError(ConversionFailure.CONVERTER_CRASH, "the converter died, as the test says")
        self.made.append(onnx)
        model = self._store.put(b"RKNN" + onnx[:100], "application/octet-stream")
        return RknnFiles(model.sha256, model.sha256, ())


def job_for(device: PlayedDevice, core_mask: str = "1", model_format: ModelFormat = ModelFormat.ONNX) -> Job:
    """A queued job that the device could do with this core mask."""
    identity = replace(device.world.devices.get(device.id).capabilities.identity, core_mask=core_mask)
    payload = MeasurePayload(
        model_sha256="1" * 64,
        model_format=model_format,
        profile="quick",
        dtype="fp32",
        batch=1,
        latency_key="2" * 64,
        hardware_key="3" * 64,
        core_mask=core_mask,
        validity_policy="require",
        timeout_s=30.0,
    )
    new = NewJob(
        kind=JobKind.MEASURE,
        payload=payload.to_json(),
        target=JobTarget(pool_key=pool_key(identity, Dtype.FP32)),
        latency_key="2" * 64,
        hardware_key="3" * 64,
    )
    return device.world.uow.write(lambda tx: JobStore(tx).add_job(new))


def planned(canaries: Canaries, device: PlayedDevice, **changes: Any) -> CanaryPlan | None:
    return canaries.plan(device.world.devices.get(device.id), job_for(device, **changes))


def expected(canaries: Canaries, device: PlayedDevice, **changes: Any) -> CanaryPlan:
    plan = planned(canaries, device, **changes)
    assert plan is not None
    return plan


def ran(
    canaries: Canaries, device: PlayedDevice, median_us: float = 100.0, ratio: float | None = None, **changes: Any
) -> int:
    """Record a canary as the agents' endpoint does; returns how many measurements became suspect."""
    core_mask = changes.pop("core_mask", "1")
    alarm = "" if changes.pop("passed", True) else changes.pop("reason", "the canary is off")
    answer = changes.pop("output_digest", ANSWER)
    assert not changes
    reading = CanaryReading(artifact_sha256=GOLDEN.sha256, median_us=median_us, ratio=ratio, output_digest=answer)
    enrolled = device.world.devices.get(device.id)
    return canaries.record(enrolled, job_for(device, core_mask).id, reading, alarm=alarm)


class TestPlans:
    """What `Canaries` plans for a played board."""

    @pytest.fixture
    def canaries(self, world: World) -> Canaries:
        return Canaries(world.uow, [GOLDEN], CanarySettings(every_s=600.0))

    @pytest.fixture
    def board(self, world: World) -> PlayedDevice:
        return world.enrol(identity=BOARD)

    def test_the_first_canary_has_no_baseline_and_no_known_answer(
        self, canaries: Canaries, board: PlayedDevice
    ) -> None:
        plan = expected(canaries, board)
        assert (plan.model, plan.baseline_us, plan.output_digest) == (GOLDEN, None, "")

    def test_the_first_median_stays_the_baseline_and_the_last_answer_is_known(
        self, canaries: Canaries, board: PlayedDevice
    ) -> None:
        ran(canaries, board, 100.0)
        ran(canaries, board, 102.0, ratio=1.02)
        board.sync(instance_epoch=2)  # a fresh start has a canary
        plan = expected(canaries, board)
        assert plan.baseline_us == pytest.approx(100.0)
        assert plan.output_digest == ANSWER

    def test_none_is_due_again_before_its_time(self, canaries: Canaries, board: PlayedDevice) -> None:
        ran(canaries, board)
        assert planned(canaries, board) is None
        soon = Canaries(board.world.uow, [GOLDEN], CanarySettings(every_s=0.0))
        assert planned(soon, board) is not None

    def test_every_replica_knows_that_a_start_had_its_canary(self, canaries: Canaries, board: PlayedDevice) -> None:
        ran(canaries, board)
        another = Canaries(board.world.uow, [GOLDEN], CanarySettings(every_s=600.0))
        assert planned(another, board) is None
        board.sync(instance_epoch=2)
        assert planned(another, board) is not None
        assert planned(canaries, board) is not None  # the job got lost before it ran: the start has had none yet

    def test_a_failure_that_blames_the_device_calls_for_one(self, canaries: Canaries, board: PlayedDevice) -> None:
        ran(canaries, board)
        board.world.database.execute("UPDATE devices SET num_failures_in_a_row = 1")
        assert planned(canaries, board) is not None

    def test_a_canary_of_the_future_says_nothing(self, canaries: Canaries, board: PlayedDevice) -> None:
        ran(canaries, board)
        board.world.database.execute("UPDATE canaries SET taken_at = taken_at + 3600000000")
        assert planned(canaries, board) is not None

    def test_a_runtime_upgrade_begins_with_a_baseline_of_its_own(self, canaries: Canaries, board: PlayedDevice) -> None:
        ran(canaries, board, 100.0)
        board.sync(capabilities=DeviceCapabilities(identity=UPGRADED), instance_epoch=2)
        plan = expected(canaries, board)
        assert (plan.baseline_us, plan.output_digest) == (None, "")
        ran(canaries, board, 80.0, output_digest=OTHER_ANSWER)
        board.sync(capabilities=DeviceCapabilities(identity=UPGRADED), instance_epoch=3)
        plan = expected(canaries, board)
        assert (plan.baseline_us, plan.output_digest) == (80.0, OTHER_ANSWER)
        assert board.world.devices.get(board.id).state is DeviceState.ACTIVE
        board.sync(capabilities=DeviceCapabilities(identity=BOARD), instance_epoch=4)  # and back again
        plan = expected(canaries, board)
        assert (plan.baseline_us, plan.output_digest) == (100.0, ANSWER)

    def test_another_core_mask_has_a_baseline_of_its_own(self, canaries: Canaries, board: PlayedDevice) -> None:
        ran(canaries, board, 100.0)
        assert planned(canaries, board) is None
        assert expected(canaries, board, core_mask="7").baseline_us is None

    def test_a_newcomer_is_held_to_an_answer_that_two_boards_of_its_pool_gave(
        self, canaries: Canaries, board: PlayedDevice
    ) -> None:
        ran(canaries, board)
        newcomer = board.world.enrol("newcomer", identity=BOARD)
        assert expected(canaries, newcomer).output_digest == ""  # one board may be wrong itself
        ran(canaries, board.world.enrol("second", identity=BOARD))
        plan = expected(canaries, newcomer)
        assert (plan.baseline_us, plan.output_digest) == (None, ANSWER)

    def test_two_boards_with_other_outputs_are_both_held_back_until_a_person_decides(
        self, canaries: Canaries, board: PlayedDevice
    ) -> None:
        world, newcomer = board.world, board.world.enrol("newcomer", identity=BOARD)
        ran(canaries, board)
        ran(canaries, newcomer, output_digest=OTHER_ANSWER)  # both ran before either's answer was known
        for one, other in ((board, newcomer), (newcomer, board)):
            found = world.devices.get(one.id)
            assert found.state is DeviceState.QUARANTINED
            assert other.id in found.reason
            assert "other outputs" in found.reason
            assert ":resume" in found.reason
        told = world.uow.read(lambda tx: EventStore(tx).events_after(0, EventQuery(), 100))
        assert {event.device_id for event in told if event.payload.get("state") == "quarantined"} == {
            board.id,
            newcomer.id,
        }
        world.devices.set_state(newcomer.id, DeviceState.ACTIVE, "its outputs were compared by hand")
        ran(canaries, newcomer, output_digest=OTHER_ANSWER)
        assert world.devices.get(newcomer.id).state is DeviceState.ACTIVE
        newcomer.sync(instance_epoch=2)  # a fresh start has a canary
        assert expected(canaries, newcomer).output_digest == OTHER_ANSWER
        assert world.devices.get(board.id).state is DeviceState.QUARANTINED

    def test_two_boards_that_agree_outvote_a_third(self, canaries: Canaries, board: PlayedDevice) -> None:
        world = board.world
        second, third = (world.enrol(name, identity=BOARD) for name in ("second", "third"))
        ran(canaries, board, 100.0)
        ran(canaries, second, 101.0)
        ran(canaries, third, 120.0)
        states = [world.devices.get(one.id).state for one in (board, second, third)]
        assert states == [DeviceState.ACTIVE, DeviceState.ACTIVE, DeviceState.QUARANTINED]
        assert "2 others of its pool 100.5 us" in world.devices.get(third.id).reason

    def test_devices_with_other_versions_are_not_compared(self, canaries: Canaries, board: PlayedDevice) -> None:
        ran(canaries, board, 100.0)
        newer = board.world.enrol("newer", identity=UPGRADED)
        ran(canaries, newer, 50.0, output_digest=OTHER_ANSWER)
        assert board.world.devices.get(newer.id).state is DeviceState.ACTIVE

    def test_emulated_devices_have_none(self, canaries: Canaries, world: World) -> None:
        assert planned(canaries, world.enrol(), core_mask="any") is None


class TestWiring:
    """The composition root's canaries and the worker's golden model."""

    @pytest.fixture
    def process(self, tmp_path: Path) -> Iterator[api.ApiProcess]:
        built = api.build(Settings(home=tmp_path))
        yield built
        built.engine.dispose()

    def enrol(self, process: api.ApiProcess, identity_class: DeviceClass, *formats: str) -> Device:
        token, secret = EnrolmentTokens(process.uow).create("test", device_class=identity_class, device_type="t")
        identity = replace(BOARD, device_class=identity_class)
        enrolment = Enrolment(
            name=f"board of {token.id}",
            device_type="t",
            capabilities=DeviceCapabilities(identity=identity, model_formats=formats or ("onnx",)),
        )
        return process.get(Devices).enrol(secret, enrolment)[0]

    def plan(self, process: api.ApiProcess, identity_class: DeviceClass, format: ModelFormat) -> CanaryPlan | None:
        uow, device = process.uow, self.enrol(process, identity_class)
        payload = MeasurePayload(
            model_sha256="1" * 64,
            model_format=format,
            profile="quick",
            dtype="fp32",
            batch=1,
            latency_key="2" * 64,
            hardware_key="3" * 64,
            core_mask="1",
            validity_policy="require",
            timeout_s=30.0,
        )
        job = uow.write(lambda tx: JobStore(tx).add_job(NewJob(kind=JobKind.MEASURE, payload=payload.to_json())))
        measuring = process.agents.work[JobKind.MEASURE]
        assert isinstance(measuring, MeasuringRpc)
        return measuring.canaries.plan(device, job)

    def test_boards_run_the_golden_model_and_emulators_do_not(self, process: api.ApiProcess) -> None:
        plan = self.plan(process, DeviceClass.BOARD, ModelFormat.ONNX)
        assert plan is not None
        golden = golden_onnx()
        assert process.get(Artifacts).read(plan.model.sha256) == golden
        assert plan.model.size_bytes == len(golden)
        assert self.plan(process, DeviceClass.EMULATED, ModelFormat.ONNX) is None
        assert self.plan(process, DeviceClass.SIMULATED, ModelFormat.ONNX) is None

    def test_rknn_boards_run_the_golden_model_that_a_worker_made(self, process: api.ApiProcess) -> None:
        uow = process.uow
        maker = FakeRknnMaker(process.get(Artifacts))
        maker.broken = True
        assert not make_golden(uow, maker)
        assert self.plan(process, DeviceClass.BOARD, ModelFormat.RKNN) is None
        maker.broken = False
        assert make_golden(uow, maker)
        plan = self.plan(process, DeviceClass.BOARD, ModelFormat.RKNN)
        assert plan is not None
        assert plan.model.format is ModelFormat.RKNN
        assert process.get(Artifacts).read(plan.model.sha256).startswith(b"RKNN")
        assert not make_golden(uow, maker)  # once per installation
        assert maker.made == [golden_onnx()]

    def test_a_worker_makes_the_golden_model_once_a_board_needs_it(self, process: api.ApiProcess) -> None:
        uow, maker, stopped = process.uow, FakeRknnMaker(process.get(Artifacts)), threading.Event()
        looks = threading.Thread(target=make_golden_when_needed, args=(uow, maker, stopped, 0.01))
        looks.start()
        self.enrol(process, DeviceClass.BOARD, "onnx")
        looks.join(0.2)
        assert looks.is_alive()
        assert maker.made == []
        self.enrol(process, DeviceClass.BOARD, "rknn")
        looks.join(30)
        assert len(maker.made) == 1
        stopped.set()
        make_golden_when_needed(uow, maker, stopped, 0.01)  # ends at once

    def test_the_golden_model_is_no_candidates_latency(self, process: api.ApiProcess) -> None:
        make_golden(process.uow, FakeRknnMaker(process.get(Artifacts)))
        assert len(GOLDEN_KEY) == 64
        assert process.uow.read(lambda tx: EvaluationStore(tx).awaited_evaluations_under(GOLDEN_KEY, "3" * 64)) == ()


class TestAgents:
    """Real agents with the fake runtime."""

    def test_a_board_whose_canary_gives_other_outputs_is_degraded_and_its_results_are_suspect(self, farm: Farm) -> None:
        agent = farm.start()
        farm.final(farm.submit(fake_model(latency_us=700.0)))
        farm.until(lambda: len(farm.canaries(farm.device())) == 1)
        suspect = farm.final(farm.submit(fake_model(latency_us=750.0), latency_key="next"))
        agent.signal(signal.SIGTERM)
        agent.wait()
        # As if the board had answered otherwise when it was well.
        farm.world.database.execute("UPDATE canaries SET output_digest = :digest", digest=OTHER_ANSWER)
        farm.start()
        job = farm.submit(fake_model(latency_us=800.0), latency_key="second")
        farm.until(lambda: farm.device().state is DeviceState.DEGRADED)
        assert "other outputs than it should" in farm.device().reason
        assert [record.job_id for record in farm.measurements() if record.suspect] == [suspect.id]
        assert farm.world.dispatch.get(job.id).state is not JobState.DONE

    def test_boards_within_three_percent_share_a_pool(self, farm: Farm) -> None:
        farm.start(name="bench-1")
        farm.final(farm.submit(fake_model(latency_us=700.0)))
        until = farm.world.uow.read(lambda tx: tx.now()) + timedelta(hours=1)
        farm.world.devices.reserve(farm.device("bench-1").id, "test", until)
        farm.start(*FAKE, "--fake-slowdown", "1.015", name="bench-2")
        farm.final(farm.submit(fake_model(latency_us=710.0), latency_key="second"))
        farm.until(lambda: len(farm.canaries(farm.device("bench-2"))) == 1)
        assert farm.device("bench-2").state is DeviceState.ACTIVE
        keys = {record.hardware_key for record in farm.measurements()}
        assert len(keys) == 1
