"""What a device counts as: an admin gives a class with the token, the agent can only lower it. Over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from nas_engine.domain.measurement import DeviceClass
from nas_engine.domain.metrics import LATENCY_US
from server.core.errors import ConflictError
from server.fleet.device import ClassSource
from tests.support.worlds.agent_bench import Bench, code_of, identity
from tests.support.worlds.databases import TestDatabase

BOARD, EMULATED, SIMULATED = DeviceClass.BOARD, DeviceClass.EMULATED, DeviceClass.SIMULATED


@pytest.fixture
def bench(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(sqlite_database, tmp_path)
    yield opened
    opened.close()


def test_a_token_for_boards_lets_a_board_of_its_type_in(bench: Bench) -> None:
    agent = bench.agent()
    device = agent.device
    assert (device.device_class, device.class_limit, device.class_source) == (BOARD, BOARD, ClassSource.ENROLLED)
    assert device.class_reason == ""
    assert device.enrolment_token_id is not None
    assert agent.sync().message == ""


def test_a_token_of_the_first_release_lets_a_board_in_as_emulated_and_says_so(bench: Bench) -> None:
    bench.world.database.execute("UPDATE enrolment_tokens SET max_uses = NULL, expires_at = NULL")
    agent = bench.agent(token=bench.world.secrets.enrolment_token)
    assert agent.device.device_class is EMULATED
    message = agent.sync().message
    assert message == agent.device.class_reason
    assert "counts as emulated, not as board: enrolment token enr_" in message
    # Its results are taken as what it counts as, although it goes on calling itself a board.
    bench.submit(agent)
    assert "kept" not in agent.measured(agent.take()).reason
    (record,) = bench.measurements(agent)
    assert (record.device_class, record.suspect) == (EMULATED, False)


@pytest.mark.parametrize("runtime", ["fake", "rk3588-sim", "Fake", "another-sim"])
@pytest.mark.parametrize("said", [BOARD, SIMULATED])
def test_a_simulator_cannot_enrol_as_a_board(bench: Bench, runtime: str, said: DeviceClass) -> None:
    with pytest.raises(grpc.RpcError, match="only simulates one") as caught:
        bench.agent(said=identity(said, runtime), token=bench.token(BOARD))
    assert code_of(caught) == "PERMISSION_DENIED"
    assert bench.world.devices.types() == {}


def test_a_simulator_that_calls_itself_emulated_is_let_in_as_a_simulator(bench: Bench) -> None:
    agent = bench.agent(said=identity(EMULATED, "fake"), token=bench.token(EMULATED))
    assert agent.device.device_class is SIMULATED
    assert "'fake' computes its times" in agent.sync().message


@pytest.mark.parametrize(
    ("token_class", "token_type", "device_type"), [(BOARD, "rk3588", "rk3576"), (EMULATED, "emu", "emu4")]
)
def test_a_token_lets_in_devices_of_its_type_only(
    bench: Bench, token_class: DeviceClass, token_type: str, device_type: str
) -> None:
    with pytest.raises(grpc.RpcError, match=f"of type '{token_type}', not '{device_type}'") as caught:
        bench.agent(said=identity(token_class), token=bench.token(token_class, token_type), device_type=device_type)
    assert code_of(caught) == "PERMISSION_DENIED"


def test_a_token_for_any_type_keeps_out_of_the_types_of_boards(bench: Bench) -> None:
    bench.agent()
    anything = bench.world.secrets.enrolment_token
    with pytest.raises(grpc.RpcError, match="type 'rk3588' has board devices"):
        bench.agent("intruder", identity(EMULATED, "onnxruntime"), token=anything)
    assert bench.agent("emu-1", identity(EMULATED, "onnxruntime"), token=anything, device_type="emu").device.id


def test_what_an_agent_says_later_lowers_its_class_and_never_raises_it(bench: Bench) -> None:
    agent = bench.agent()
    key = agent.device.capabilities.pool_keys()
    assert agent.sync(identity(BOARD, "fake")).message.startswith("counts as simulated, not as board")
    assert agent.device.class_limit is SIMULATED
    agent.sync(identity(BOARD))
    assert (agent.device.device_class, agent.device.class_limit) == (SIMULATED, SIMULATED)
    assert not agent.device.capabilities.pool_keys() & key
    bench.world.devices.confirm(agent.me.agent_id, BOARD, "it is on my desk")
    agent.sync()
    assert (agent.device.device_class, agent.device.class_source) == (BOARD, ClassSource.CONFIRMED)
    assert agent.device.capabilities.pool_keys() == key
    agent.sync(identity(EMULATED, "onnxruntime"))
    agent.sync(identity(BOARD, "onnxruntime"))
    assert agent.device.device_class is EMULATED


def test_nobody_can_confirm_a_simulator_as_a_board(bench: Bench) -> None:
    agent = bench.agent(said=identity(SIMULATED, "fake"))
    with pytest.raises(ConflictError, match="it can be simulated only, not board"):
        bench.world.devices.confirm(agent.me.agent_id, BOARD)


@pytest.mark.parametrize(
    "change", [{"runtime": "onnxruntime"}, {"version": "2.4"}, {"clocks": "unpinned"}, {"core_mask": "0x2"}]
)
def test_a_board_that_runs_otherwise_has_another_hardware_key_and_begins_with_a_canary(
    sqlite_database: TestDatabase, tmp_path: Path, change: dict[str, str]
) -> None:
    bench = Bench(sqlite_database, tmp_path, golden=True)
    try:
        agent = bench.agent(said=identity(runtime="rknnlite"))
        bench.submit(agent, b"one")
        first = agent.take()
        assert first.measure.HasField("canary")
        agent.measured(first, canary_us=1000.0)
        bench.submit(agent, b"two")
        second = agent.take()
        assert not second.measure.HasField("canary"), "one canary in ten minutes"
        agent.measured(second)
        before = agent.device
        agent.sync(identity(**change))
        assert not agent.device.capabilities.pool_keys() & before.capabilities.pool_keys()
        assert agent.device.identity_since > before.identity_since
        bench.submit(agent, b"three")
        third = agent.take()
        assert third.measure.HasField("canary")
        assert not third.measure.canary.HasField("baseline_us"), "the old baseline is that of something else"
        agent.measured(third, canary_us=1200.0)
        agent.sync(identity())
        bench.submit(agent, b"four")
        fourth = agent.take()
        assert fourth.measure.canary.baseline_us == 1000.0, "back again, and to be shown again"
        agent.measured(fourth, canary_us=1000.0)
    finally:
        bench.close()


def test_what_was_measured_before_an_upgrade_is_not_reused_after_it(bench: Bench) -> None:
    world, old = bench.world, identity(runtime="onnxruntime", version="1.20")
    agent = bench.agent(said=old)
    spec = {"device": {"device_type": "rk3588"}, "budget": {"num_candidates": 1}}
    world.search(**spec)
    world.worker.run()
    agent.measured(agent.take())
    again = world.search(**spec)
    world.worker.run()
    assert agent.sync().assignments == [], "nothing has changed: it is reused"
    assert [one.value(LATENCY_US) for one in world.candidates(again)] == [500.0]
    agent.sync(replace(old, runtime_versions=(("onnxruntime", "1.21"),)))
    world.search(**spec)
    world.worker.run()
    assert agent.take().measure.model.sha256


def test_what_a_declared_board_measured_is_reused_once_an_admin_has_confirmed_it(bench: Bench) -> None:
    world = bench.world
    agent = bench.agent(said=identity(runtime="onnxruntime"))
    world.database.execute("UPDATE devices SET class_source = 'declared'")
    spec = {"device": {"device_type": "rk3588"}, "budget": {"num_candidates": 1}}
    own = world.search(**spec)
    world.worker.run()
    agent.measured(agent.take())
    assert [one.value(LATENCY_US) for one in world.candidates(own)] == [500.0], "the search that asked for it has it"
    world.search(**spec)
    world.worker.run()
    agent.measured(agent.take(), 510.0)
    world.devices.confirm(agent.me.agent_id, None)
    later = world.search(**spec)
    world.worker.run()
    assert agent.sync().assignments == []
    assert [one.value(LATENCY_US) for one in world.candidates(later)] == [510.0]
