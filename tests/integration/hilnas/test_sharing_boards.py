"""Boards are shared by the command and by the SDK; the how-to page is run as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hilnas.cli import main as cli
from hilnas.client.client import Hilnas
from hilnas.client.errors import PermissionDeniedError
from server.access.token import Role
from server.access.tokens import Tokens
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import World

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "share_a_board.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("sharing") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def secrets(server: RunningServer) -> dict[str, str]:
    """A board, and the tokens of three people."""
    world = World.open(server.home)
    world.enrol("bench-1")
    tokens = world.process.get(Tokens)
    made = {name: tokens.create(name, [Role.ENGINEER], principal=name)[1] for name in ("alice", "bob", "carol")}
    world.close()
    return made


@pytest.fixture
def shell(
    server: RunningServer, secrets: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("HILNAS_URL", server.url)
    monkeypatch.setenv("HILNAS_TOKEN", server.token)
    monkeypatch.setenv("COLUMNS", "200")

    def run(line: str, status: int = 0) -> str:
        got = cli.main(shlex.split(line.removeprefix("$ hilnas ")))
        printed = capsys.readouterr()
        assert got == status, f"{line}: {printed.err}"
        return printed.err if status else printed.out

    return run


def test_the_page_is_run_as_it_stands(shell: Any) -> None:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    give, users, windows, limit, show, owner_only, everybody = [
        shell(line) for block in blocks for line in block.splitlines()
    ]
    assert "bench-1  owner: alice  shared with: everybody\n" in give
    assert "shared with: bob, carol\n" in users
    assert "shared with: everybody; mon-fri 18:00-08:00, sat,sun 00:00-24:00 Europe/Berlin\n" in windows
    assert "shared with: bob; each 2 h of a day Europe/Berlin\n" in limit
    assert "bob; each 2 h of a day Europe/Berlin" in show
    assert "shared with: nobody but its owner\n" in owner_only
    assert "shared with: everybody\n" in everybody
    changes = shell("changes list --kind device --action amend")
    assert changes.count("amend") == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "--everybody takes all rules away"),
        ("--everybody --owner-only", "leave it out"),
        ("--user bob --owner-only", "give it without --user"),
        ("--window 18-08", "write it as '18:00-08:00'"),
        ("--window 'someday 18:00-08:00'", "'someday' is no day"),
        ("--window 18:00-18:00", "has no length"),
        ("--window 25:00-08:00", "start"),
        ("--window 18:00-08:00 --time-zone Europe/Berlln", "time zone 'Europe/Berlln' is not known"),
        ("--user nobody-here", "no principal has the name or the id 'nobody-here'"),
        ("--hours-per-day 25", "max_hours_per_day"),
        ("--hours-per-day 1 --share-per-day 0.5", "give one of them"),
    ],
)
def test_what_is_wrong_is_said(shell: Any, options: str, said: str) -> None:
    assert said in shell(f"devices share bench-1 {options}", status=1)


def test_a_span_of_days_may_go_over_the_end_of_the_week(shell: Any) -> None:
    said = shell("devices share bench-1 --window 'sat-mon 08:00-09:30' --window 12:00-13:00")
    assert "everybody; mon,sat,sun 08:00-09:30, 12:00-13:00 UTC" in said
    shell("devices share bench-1 --everybody")


def test_an_owner_shares_by_the_sdk_and_others_do_not(server: RunningServer, secrets: dict[str, str]) -> None:
    with server.sdk() as admin:
        assert admin.devices.give("bench-1", "alice").owner.name == "alice"  # type: ignore[union-attr]
    with Hilnas(server.url, secrets["alice"]) as alice:
        window = {"days": ["sat", "sun"], "start": "00:00", "end": "24:00"}
        made = alice.devices.share("bench-1", users=["bob"], windows=[window], max_share_per_day=0.25)
        assert (made.rules.users, made.rules.max_share_per_day) == (["bob"], 0.25)
        assert alice.devices.get("bench-1").rules == made.rules
        with pytest.raises(PermissionDeniedError):
            alice.devices.give("bench-1", "bob")
    with Hilnas(server.url, secrets["bob"]) as bob:
        with pytest.raises(PermissionDeniedError):
            bob.devices.share("bench-1")
        assert bob.devices.get("bench-1").rules == made.rules
    with server.sdk() as admin:
        assert admin.devices.share("bench-1").rules.users is None
