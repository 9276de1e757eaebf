"""How a real agent comes in and goes: wrong tokens, names that are taken, a clean stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from device_agent.cli import main
from server.access.token import Role
from server.access.tokens import EnrolmentTokens
from server.core.errors import ConflictError
from server.fleet.device import KNOWN_DEVICE_FEATURE, DeviceCapabilities, Enrolment
from tests.support.worlds.farm import FAKE, Farm
from tests.support.worlds.service_world import IDENTITY, World


def start_here(farm: Farm, folder: Path, *more: str, name: str = "bench-1") -> int:
    """An agent in this very process: its exit status, once it has given up."""
    return main([*FAKE, "--insecure", "--server", f"127.0.0.1:{farm.server.port}", *here(folder, name), *more])


def here(folder: Path, name: str) -> list[str]:
    return ["--name", name, "--state-dir", str(folder), "--host-lock", str(folder.parent / "lock")]


@pytest.fixture(autouse=True)
def _no_token_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HILNAS_ENROLMENT_TOKEN", "HILNAS_ENROLMENT_TOKEN_FILE", "HILNAS_DEVICE_ID"):
        monkeypatch.delenv(variable, raising=False)


def test_an_agent_that_is_stopped_is_offline_at_once(farm: Farm) -> None:
    agent = farm.start()
    farm.until(lambda: bool(farm.faults.reports))
    device = farm.device()
    assert farm.world.devices.online(device)
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert not farm.world.devices.online(farm.device())


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("nas_enr_" + "x" * 43, "the enrolment token is unknown, revoked or expired"),
        ("an admin's", "the enrolment token is unknown, revoked or expired"),
        ("revoked", "the enrolment token is unknown, revoked or expired"),
        ("x" * 100_000, "refuses bench-1"),
        ("nas_\udcff", "holds what no token does"),
        ("", "has no enrolment token"),
        (" ", "has no enrolment token"),
    ],
    ids=["unknown", "of an admin", "revoked", "huge", "no text", "empty", "blank"],
)
def test_a_wrong_token_ends_the_agent_with_status_2_after_saying_so(
    farm: Farm, tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str, reason: str
) -> None:
    if token == "an admin's":
        token = farm.world.tokens.create("an admin", [Role.ADMIN])[1]
    if token == "revoked":
        made, token = EnrolmentTokens(farm.world.uow).create("revoked")
        EnrolmentTokens(farm.world.uow).revoke(made.id)
    assert start_here(farm, tmp_path / "state", "--enrolment-token", token) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("hilnas agent: ")
    assert reason in said


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"nas_enr_wrong\n"])
def test_a_token_file_that_helps_nobody_ends_the_agent_with_status_2(
    farm: Farm, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    assert start_here(farm, tmp_path / "state", "--enrolment-token-file", str(file)) == 2
    assert "enrolment token" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("token", "reason"), [("", "there is no enrolment token"), ("nas_enr_wrong", "enrolment token is unknown")]
)
def test_a_credential_that_is_not_accepted_ends_a_start_that_has_no_good_token(
    farm: Farm, tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str, reason: str
) -> None:
    agent = farm.start()
    farm.until(lambda: bool(farm.faults.reports))
    agent.signal(signal.SIGTERM)
    agent.wait()
    farm.world.database.execute("UPDATE devices SET credential_sha256 = 'none'")
    assert start_here(farm, agent.state_dir, "--enrolment-token", token) == 2
    assert reason in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_name_from_another_state_directory_is_refused_until_the_operator_says_which_device_it_is(
    farm: Farm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = farm.start()
    farm.until(lambda: bool(farm.faults.reports))
    agent.signal(signal.SIGTERM)
    agent.wait()
    device, token = farm.device(), farm.world.secrets.enrolment_token
    assert start_here(farm, tmp_path / "other", "--enrolment-token", token) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a device named 'bench-1' is enrolled already, last seen 20" in said
    assert f"--device-id {device.id}" in said
    assert start_here(farm, tmp_path / "other", "--enrolment-token", token, "--device-id", "dev_x") == 2
    assert farm.device() == device

    agent.state_dir.rename(tmp_path / "lost")
    back = farm.start(*FAKE, "--device-id", device.id)
    farm.until(lambda: farm.world.devices.online(farm.device()))
    assert farm.device().id == device.id
    back.signal(signal.SIGTERM)
    back.wait()
    assert start_here(farm, agent.state_dir, "--device-id", "dev_x") == 2
    assert f"is that of device {device.id}, not of dev_x" in capsys.readouterr().err


def test_agents_of_earlier_releases_come_back_by_their_name(world: World) -> None:
    old = Enrolment(name="bench-1", device_type="testboard", capabilities=DeviceCapabilities(identity=IDENTITY))
    device, _ = world.devices.enrol(world.secrets.enrolment_token, old)
    world.database.execute("UPDATE devices SET left_at = last_seen_at")
    assert world.devices.enrol(world.secrets.enrolment_token, old)[0].id == device.id
    assert world.devices.online(world.devices.get(device.id))
    world.database.execute("UPDATE devices SET left_at = last_seen_at")
    capabilities = DeviceCapabilities(identity=IDENTITY, features=(KNOWN_DEVICE_FEATURE,))
    with pytest.raises(ConflictError, match=f"add --device-id {device.id}"):
        world.devices.enrol(
            world.secrets.enrolment_token,
            Enrolment(name="bench-1", device_type="testboard", capabilities=capabilities),
        )


@pytest.fixture
def world(farm: Farm) -> World:
    return farm.world
