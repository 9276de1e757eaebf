"""Files that processes leave for others: first tokens that survive a crash, and signs of life."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from device_agent.cli import build_parser
from nas_engine.domain.measurement import DeviceClass
from server.bootstrap.pulse import Pulse
from server.bootstrap.secret_files import PendingSecret
from server.bootstrap.settings import Settings

FIRST, SECOND = "nas_adm_the-first-secret", "nas_adm_the-second-secret"


def test_a_secret_that_is_kept_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    pending = PendingSecret(path, FIRST)
    assert not path.exists(), "nobody reads a token that is not valid yet"
    pending.keep()
    assert path.read_text().strip() == FIRST
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["admin.token"]


def test_a_start_that_was_killed_before_it_kept_the_secret_hands_it_to_the_next(tmp_path: Path) -> None:
    PendingSecret(tmp_path / "admin.token", FIRST)
    following = PendingSecret(tmp_path / "admin.token", SECOND)
    assert (following.secret, following.left_behind) == (FIRST, True)


def test_a_secret_that_was_cut_short_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "admin.token.new").write_text(FIRST[:7])
    pending = PendingSecret(tmp_path / "admin.token", SECOND)
    assert (pending.secret, pending.left_behind) == (SECOND, False)
    pending.keep()
    assert (tmp_path / "admin.token").read_text().strip() == SECOND


def test_a_secret_that_is_dropped_leaves_the_valid_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    PendingSecret(path, FIRST).keep()
    PendingSecret(path, SECOND).drop()
    assert path.read_text().strip() == FIRST
    assert [file.name for file in tmp_path.iterdir()] == ["admin.token"]


def test_a_pulse_is_there_while_the_check_passes_and_gone_after_it_stopped(tmp_path: Path) -> None:
    path, looked = tmp_path / "worker.alive", threading.Semaphore(0)
    pulse = Pulse(path, looked.release, every_s=0.001)
    pulse.start()
    for _ in range(2):  # the second look comes after the first touch
        assert looked.acquire(timeout=10)
    assert path.exists()
    pulse.stop()
    assert not path.exists()


def test_a_pulse_stays_away_while_the_check_fails_and_comes_when_it_passes(tmp_path: Path) -> None:
    path, failed, passed = tmp_path / "worker.alive", threading.Semaphore(0), threading.Semaphore(0)
    well = threading.Event()

    def check() -> None:
        if not well.is_set():
            failed.release()
            raise ConnectionError("the database is away")
        passed.release()

    pulse = Pulse(path, check, every_s=0.001)
    pulse.start()
    for _ in range(2):
        assert failed.acquire(timeout=10)
    assert not path.exists()
    well.set()
    for _ in range(2):
        assert passed.acquire(timeout=10)
    assert path.exists()
    pulse.stop()


def test_leases_and_the_place_of_the_enrolment_token_are_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HILNAS_LEASE_TTL_S", "7.5")
    monkeypatch.setenv("HILNAS_LEASE_ACCEPT_S", "2")
    settings = Settings.load({"home": tmp_path})
    assert (settings.leases.ttl_s, settings.leases.accept_s) == (7.5, 2.0)
    assert settings.effective_enrolment_token_file == tmp_path / "enrolment.token"
    assert settings.enrolment.first_class is DeviceClass.EMULATED
    boards = {"enrolment_device_class": "board", "enrolment_device_type": "rk3588"}
    assert Settings.load({"home": tmp_path, **boards}).enrolment.first_type == "rk3588"
    with pytest.raises(ValidationError, match="needs enrolment_device_type"):
        Settings.load({"home": tmp_path, "enrolment_device_class": "board"})
    apart = Settings.load({"home": tmp_path, "enrolment_token_file": tmp_path / "shared" / "token"})
    assert apart.effective_enrolment_token_file == tmp_path / "shared" / "token"


def test_an_agent_takes_the_token_file_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_ENROLMENT_TOKEN_FILE", "/enrolment/token")
    assert build_parser().parse_args([]).enrolment_token_file == Path("/enrolment/token")
