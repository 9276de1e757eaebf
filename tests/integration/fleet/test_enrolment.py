"""Enrolments whose answers are late or lost: the agent goes on with the credential it asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device_agent.state import Enrolled, StateDirectory
from server.access.tokens import EnrolmentTokens
from server.artifacts.files import FileByteStore
from server.core.errors import ConflictError, InvalidValueError, NotAuthenticatedError
from server.fleet.device import DeviceCapabilities, Enrolment
from tests.support.worlds.agent_bench import Bench
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import Farm
from tests.support.worlds.service_world import IDENTITY, World

FIRST, SECOND = "nas_dev_" + "a" * 43, "nas_dev_" + "b" * 43
ENROLMENT = Enrolment(
    name="bench-1",
    device_type="testboard",
    capabilities=DeviceCapabilities(identity=IDENTITY),
    boot_id="boot",
    instance_epoch=1,
)


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def test_an_enrolment_that_is_taken_twice_is_one_enrolment(world: World) -> None:
    token, secret = EnrolmentTokens(world.uow).create("one use", max_uses=1)
    device, credential = world.devices.enrol(secret, ENROLMENT, FIRST)
    again, same = world.devices.enrol(secret, ENROLMENT, FIRST)
    assert (again.id, same) == (device.id, credential)
    assert world.devices.authenticate(FIRST).id == device.id
    (used,) = (one for one in EnrolmentTokens(world.uow).all() if one.id == token.id)
    assert used.num_uses == 1


def test_enrolments_that_are_taken_at_the_same_time_end_with_the_same_credential(world: World) -> None:
    secret = world.secrets.enrolment_token
    with ThreadPoolExecutor(4) as pool:
        taken = [pool.submit(world.devices.enrol, secret, ENROLMENT, FIRST) for _ in range(4)]
        ids = {future.result()[0].id for future in taken}
    assert len(ids) == 1
    assert world.devices.authenticate(FIRST).id in ids


def test_another_credential_replaces_that_of_a_device_that_is_offline(world: World) -> None:
    secret = world.secrets.enrolment_token
    device, _ = world.devices.enrol(secret, ENROLMENT, FIRST)
    with pytest.raises(ConflictError, match="only its own credential speaks for it"):
        world.devices.enrol(secret, ENROLMENT, SECOND)
    world.database.execute("UPDATE devices SET last_seen_at = last_seen_at - 3600000000")
    assert world.devices.enrol(secret, ENROLMENT, SECOND)[0].id == device.id
    assert world.devices.authenticate(SECOND).id == device.id
    with pytest.raises(NotAuthenticatedError):
        world.devices.authenticate(FIRST)


def test_a_known_credential_does_not_replace_the_enrolment_token(world: World) -> None:
    world.devices.enrol(world.secrets.enrolment_token, ENROLMENT, FIRST)
    with pytest.raises(NotAuthenticatedError):
        world.devices.enrol("nas_enr_" + "x" * 43, ENROLMENT, FIRST)


def test_a_credential_that_could_be_guessed_is_refused(world: World) -> None:
    with pytest.raises(InvalidValueError, match="at least 40"):
        world.devices.enrol(world.secrets.enrolment_token, ENROLMENT, "short")


def test_an_agent_whose_enrolment_went_unanswered_asks_for_the_same_credential_again(
    sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    farm = Farm(sqlite_database, tmp_path)
    farm.faults.hide_enrolments = 2
    try:
        agent = farm.start()
        farm.until(lambda: bool(farm.faults.reports), 60.0)
    finally:
        farm.close()
    assert len(farm.faults.credentials) == 3
    assert len(set(farm.faults.credentials)) == 1
    assert "enrolling again" not in agent.log
    assert not (agent.state_dir / "wanted_credential").exists()


def test_an_agent_that_dies_between_enrolment_and_answer_comes_back_with_the_same_credential(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    wanted = first.wanted_credential()
    first.close()
    again = StateDirectory(tmp_path)
    assert again.wanted_credential() == wanted
    assert (tmp_path / "wanted_credential").stat().st_mode & 0o077 == 0
    again.remember(Enrolled("here:1", "dev_1", wanted))
    assert again.wanted_credential() != wanted  # one that was not accepted any more is never asked for again
    again.close()


def test_a_caller_without_a_wish_is_given_a_credential(sqlite_database: TestDatabase, tmp_path: Path) -> None:
    bench = Bench(sqlite_database, tmp_path)
    try:
        assert bench.agent(credential="").credential.startswith("nas_dev_")
        assert bench.agent("bench-2", credential=FIRST).credential == FIRST
    finally:
        bench.close()
