"""Who may speak for a device: whoever has its credential. Not a token, not a boot id, not a secret of another kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from hilnas.v1 import control_pb2
from nas_engine.domain.measurement import DeviceClass
from server.access.token import Role
from server.access.tokens import EnrolmentTokens, digest
from server.fleet.device import DeviceCapabilities, DeviceState
from server.fleet.sessions import AgentReport
from tests.support.worlds.agent_bench import Bench, RawAgent, code_of, identity
from tests.support.worlds.api_world import World as ApiWorld
from tests.support.worlds.databases import TestDatabase

EMULATED = DeviceClass.EMULATED


@pytest.fixture
def bench(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(sqlite_database, tmp_path)
    yield opened
    opened.close()


def refused(bench: Bench, *, code: str, match: str, **how: str) -> None:
    with pytest.raises(grpc.RpcError, match=match) as caught:
        bench.agent(**how)  # type: ignore[arg-type]
    assert code_of(caught) == code


def test_a_live_board_is_not_taken_over_with_a_token_and_its_boot_id(bench: Bench) -> None:
    board = bench.agent(boot_id="boot-of-the-board")
    refused(bench, boot_id="boot-of-the-board", code="FAILED_PRECONDITION", match="only its own credential")
    assert board.sync().session == control_pb2.SESSION_STATE_ACTIVE
    assert board.device.credential_sha256 == digest(board.credential)


def test_a_live_board_enrols_again_with_its_own_credential(bench: Bench) -> None:
    token = bench.token()
    board = bench.agent(token=token)
    again = bench.agent(token=token, credential=board.credential, boot_id="after a restart")
    assert again.me.agent_id == board.me.agent_id
    (used,) = (one for one in EnrolmentTokens(bench.world.uow).all() if one.id == board.device.enrolment_token_id)
    assert used.num_uses == 1


def test_a_board_that_lost_its_state_comes_back_once_it_is_offline(bench: Bench) -> None:
    board = bench.agent()
    bench.go_offline()
    back = bench.agent()
    assert back.me.agent_id == board.me.agent_id
    with pytest.raises(grpc.RpcError) as caught:
        board.sync()
    assert code_of(caught) == "UNAUTHENTICATED"


def test_an_offline_board_is_not_taken_over_by_an_emulator(bench: Bench) -> None:
    bench.agent()
    bench.go_offline()
    said = identity(EMULATED, "onnxruntime")
    for token in (bench.world.secrets.enrolment_token, bench.token(EMULATED)):
        with pytest.raises(grpc.RpcError, match="is enrolled as board"):
            bench.agent(said=said, token=token)


def test_a_credential_is_not_shared_by_two_devices(bench: Bench) -> None:
    board = bench.agent("one")
    refused(bench, name="two", credential=board.credential, code="FAILED_PRECONDITION", match="that of device 'one'")


@pytest.mark.parametrize("online", [True, False])
def test_a_retired_board_stays_retired_until_an_admin_takes_it_back(bench: Bench, online: bool) -> None:
    token = bench.token()
    board = bench.agent(token=token)
    bench.world.devices.set_state(board.me.agent_id, DeviceState.RETIRED, "sold")
    if not online:
        bench.go_offline()
    for credential in ("", board.credential):
        refused(bench, token=token, credential=credential, code="FAILED_PRECONDITION", match="was retired")
    with pytest.raises(grpc.RpcError, match="ask an admin to take it back"):
        board.sync()
    assert board.device.state is DeviceState.RETIRED
    bench.world.devices.unretire(board.me.agent_id, "bought back")
    assert board.sync().session == control_pb2.SESSION_STATE_ACTIVE


def test_an_agent_cannot_enrol_with_a_secret_of_another_kind(bench: Bench) -> None:
    viewer = bench.world.tokens.create("a viewer", [Role.VIEWER])[1]
    fixed = "nas_dev_" + "x" * 43  # an admin's fixed token may look like anything
    bench.world.database.execute(
        "UPDATE api_tokens SET secret_sha256 = :digest WHERE name = 'a viewer'", digest=digest(fixed)
    )
    for credential in (bench.world.secrets.admin_token, viewer, bench.token(), fixed, "nas_dev_short", "a" * 60):
        refused(bench, credential=credential, code="INVALID_ARGUMENT", match="credential asked for")
    assert bench.world.devices.types() == {}


def speaking_with(bench: Bench, board: RawAgent, secret: str) -> RawAgent:
    link = bench.link()
    link.set_credential(secret)
    return RawAgent(bench, link, board.me, board.said, secret)


def test_no_device_speaks_with_a_token_or_a_short_string(bench: Bench) -> None:
    board = bench.agent()
    for secret in (bench.world.secrets.admin_token, "short"):
        # As an older server may have let it in.
        bench.world.database.execute("UPDATE devices SET credential_sha256 = :digest", digest=digest(secret))
        for call in (lambda agent: agent.sync(), lambda agent: agent.fetch("ab" * 32)):
            with pytest.raises(Exception, match="UNAUTHENTICATED"):
                call(speaking_with(bench, board, secret))


def test_two_hosts_with_one_credential_are_quarantined_and_their_boot_ids_stay_secret(tmp_path: Path) -> None:
    world = ApiWorld.open(tmp_path)
    board = world.enrol()
    for boot_id in ("the-first-boot-id", "the-other-boot-id"):
        world.process.agents.sessions.sync(_report(board.id, boot_id, board.capabilities))
    with world.client(world.token(Role.VIEWER)) as client:
        device = client.get(f"/api/v1/devices/{board.id}").json()
        shown = [device, client.get("/api/v1/devices").json(), client.get("/api/v1/jobs").json()]
        pages = [client.get("/fleet").text, client.get(f"/api/v1/devices/{board.id}/canaries").text]
    assert device["state"] == "quarantined"
    events = world.process.uow.read(lambda tx: tx.connection.exec_driver_sql("SELECT payload FROM events").all())
    text = json.dumps(shown) + "".join(pages) + str(events)
    for secret in ("boot-id", "boot_id", "credential_sha256", "instance_epoch", board.credential_sha256):
        assert secret not in text, secret
    world.close()


def _report(device_id: str, boot_id: str, capabilities: DeviceCapabilities) -> AgentReport:
    return AgentReport(
        device_id=device_id,
        boot_id=boot_id,
        instance_epoch=1,
        agent_version="1",
        capabilities=capabilities,
    )


def test_enrolment_tokens_end_by_themselves(bench: Bench) -> None:
    tokens = EnrolmentTokens(bench.world.uow)
    made, secret = tokens.create("a rack")
    assert made.max_uses == 10
    assert made.expires_at is not None
    assert made.expires_at - made.created_at == timedelta(days=7)
    said = identity(EMULATED, "onnxruntime")
    for number in range(10):
        bench.agent(f"emu-{number}", said, token=secret, device_type="emu")
    with pytest.raises(grpc.RpcError, match="is used up: 10 devices"):
        bench.agent("emu-10", said, token=secret, device_type="emu")
    _, late = tokens.create("late")
    bench.world.database.execute("UPDATE enrolment_tokens SET expires_at = 1 WHERE name = 'late'")
    with pytest.raises(grpc.RpcError, match="revoked or expired: ask an admin"):
        bench.agent("emu-11", said, token=late, device_type="emu")


def test_the_first_enrolment_token_ends_as_well(bench: Bench) -> None:
    (first,) = EnrolmentTokens(bench.world.uow).all()
    assert (first.device_class, first.device_type, first.max_uses) == (EMULATED, None, 100)
    assert first.expires_at is not None
