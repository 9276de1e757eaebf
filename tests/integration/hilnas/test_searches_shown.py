"""What lists, commands and pages say of a search between two steps, and of one that was cancelled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from hilnas.cli.main import main
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass
from nas_engine.domain.uncertainty import value_text
from server.fleet.device import Device
from server.jobs.failures import Failure
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import World, latency_spec
from tests.support.worlds.enrolment_tokens import token_for

LATER = "after the first generation"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("shown") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def hands(server: RunningServer) -> Iterator[World]:
    """Worker and boards on the server's database."""
    world = World.open(server.home)
    yield world
    world.close()


@pytest.fixture(scope="module")
def board(hands: World) -> Device:
    token = token_for(hands.process.uow, DeviceClass.BOARD, "rk3588")
    return hands.enrol(enrolment_token=token)


@pytest.fixture(autouse=True)
def _found_by_environment(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_URL", server.url)
    monkeypatch.setenv("HILNAS_TOKEN", server.token)
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture
def browser(server: RunningServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, headers={"Accept": "text/html"}, follow_redirects=True) as client:
        client.post("/login", data={"token": server.token})
        yield client


def _run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    status = main(argv)
    printed = capsys.readouterr()
    assert status == 0, printed.err or printed.out
    return printed.out


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(_run(capsys, *argv, "--json"))


def _search(server: RunningServer, name: str, num_candidates: int) -> str:
    with server.sdk() as nas:
        return nas.searches.create(latency_spec(num_candidates, name=name)).id


def _rows(listed: str) -> dict[str, list[str]]:
    """Cells of a printed table, by the search's id."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in listed.splitlines() if "│" in line]
    return {cells[0]: cells for cells in rows}


def _fact(page: str, name: str) -> str:
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", page)
    assert found is not None, page
    return found[1]


def test_front_and_hypervolume_are_those_of_what_is_complete_now(
    server: RunningServer, hands: World, board: Device, browser: httpx2.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    search_id = _search(server, "between two steps", 6)
    hands.step([[0, 0, 0, 0], [3, 3, 3, 3]])
    hands.convert_all()
    hands.measure_all(board)
    front = _json(capsys, "search", "front", search_id)
    size = len(front["points"])
    (listed,) = _json(capsys, "search", "list")
    for read in (_json(capsys, "search", "get", search_id), listed):
        assert (read["progress"]["num_complete"], read["progress"]["generation"]) == (2, 0)
        assert read["progress"]["front_size"] == size > 0
        assert read["progress"]["hypervolume"] is None
    assert _rows(_run(capsys, "search", "list"))[search_id][5:7] == [str(size), LATER]
    assert LATER in _run(capsys, "search", "show", search_id)
    page = browser.get(f"/searches/{search_id}").text
    assert (_fact(page, "front"), _fact(page, "hypervolume")) == (str(size), LATER)
    assert LATER in browser.get("/").text

    hands.step([[1, 1, 1, 1], [2, 2, 2, 2]])  # fixes the reference point; what these two give is told by no step
    hands.convert_all()
    hands.measure_all(board, p50_us=500.0)
    _run(capsys, "search", "pause", search_id)
    front = _json(capsys, "search", "front", search_id)
    shown = _json(capsys, "search", "get", search_id)["progress"]
    assert (shown["front_size"], shown["hypervolume"]) == (len(front["points"]), front["hypervolume"])
    assert _json(capsys, "search", "list")[0]["progress"] == shown
    hypervolume = _rows(_run(capsys, "search", "list"))[search_id][6]
    assert hypervolume == value_text(front["hypervolume"])
    assert _fact(browser.get(f"/searches/{search_id}").text, "hypervolume") == hypervolume
    _run(capsys, "search", "cancel", search_id)


def test_why_candidates_failed_is_said_where_they_are_listed_and_shown(
    server: RunningServer, hands: World, board: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    search_id = _search(server, "refused by the board", 2)
    hands.step([[0, 1, 2, 3], [3, 2, 1, 0]])
    hands.convert_all()
    hands.fail_all(board, Failure(FailureType.MODEL_REJECTED, "operator [Gelu] is unknown"))
    assert f"hilnas search candidates {search_id}" in _run(capsys, "search", "front", search_id)
    assert _run(capsys, "search", "candidates", search_id).count("[Gelu]") == 2
    (one, _) = _json(capsys, "search", "candidates", search_id)
    assert "operator [Gelu] is unknown" in _run(capsys, "candidates", "show", one["short_id"])
    _run(capsys, "search", "cancel", search_id)  # its next step is not for the searches of others


def test_what_was_cancelled_with_its_search_did_not_fail(
    server: RunningServer, hands: World, browser: httpx2.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    search_id = _search(server, "cancelled", 4)
    hands.step([[0, 1, 2, 3], [3, 2, 1, 0]])
    _run(capsys, "search", "cancel", search_id)
    progress = _json(capsys, "search", "get", search_id)["progress"]
    assert (progress["num_cancelled"], progress["num_failed"], progress["num_in_flight"]) == (2, 0, 0)
    candidates = _json(capsys, "search", "candidates", search_id)
    assert [(one["state"], one["is_cancelled"]) for one in candidates] == [("failed", True)] * 2
    printed = _run(capsys, "search", "candidates", search_id)
    assert (printed.count("cancelled"), "failed" in printed) == (2, False)
    assert _rows(_run(capsys, "search", "list"))[search_id][4] == "0/4, 2 cancelled"
    assert "cancelled" in _run(capsys, "candidates", "show", candidates[0]["id"])
    page = browser.get(f"/searches/{search_id}").text
    assert (_fact(page, "cancelled"), _fact(page, "failed")) == ("2", "0")
    rows = browser.get(f"/fragments/searches/{search_id}/candidates").text
    assert (rows.count('<span class="chip cancelled">cancelled</span>'), "chip failed" in rows) == (2, False)
