"""``hilnas search amend``, ``amendments`` and ``clone``, and the same calls of the SDK, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hilnas.client.client import Hilnas
from hilnas.client.errors import ConflictError, HilnasError
from tests.support.commands import search
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import cheap_spec


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("changes") / "home") as running:
        yield running


@pytest.fixture(autouse=True)
def _found_by_environment(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_URL", server.url)
    monkeypatch.setenv("HILNAS_TOKEN", server.token)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def nas(server: RunningServer) -> Iterator[Hilnas]:
    with Hilnas(server.url, token=server.token) as client:
        yield client


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    status = search.main(list(argv))
    printed = capsys.readouterr()
    assert status == 0, printed.err or printed.out
    return printed.out


def test_a_search_is_amended_listed_and_cloned_by_commands(nas: Hilnas, capsys: pytest.CaptureFixture[str]) -> None:
    found = nas.searches.create(cheap_spec(10, constraints=[{"metric": "params", "minimum": 1.0}]))
    said = run(capsys, "amend", found.id, "--budget", "20", "--bound", "macs:le:1e8", "--drop-bound", "params")
    assert "/budget/num_candidates: 10 -> 20" in said
    assert "/constraints: " in said
    run(capsys, "amend", found.id, "--set", "stop.wall_time_s=3600", "--set", "priority=-1")
    assert "nothing differs" in run(capsys, "amend", found.id, "--budget", "20")
    listed = run(capsys, "amendments", found.id)
    assert "/stop" in listed
    assert len(json.loads(run(capsys, "amendments", found.id, "--json"))) == 2
    assert nas.searches.get(found.id).spec.stop.wall_time_s == 3600
    clone = nas.searches.get(run(capsys, "clone", found.id, "--set", "seed=5").strip())
    assert (clone.cloned_from, clone.spec.seed, clone.spec.budget.num_candidates) == (found.id, 5, 20)
    assert search.main(["amend", found.id]) == 1
    assert "nothing to amend" in capsys.readouterr().err
    assert search.main(["amend", found.id, "--set", "seed=3"]) == 1
    assert "clone the search" in capsys.readouterr().err


def test_the_sdk_amends_and_clones(nas: Hilnas) -> None:
    found = nas.searches.create(cheap_spec(10))
    amended = found.amend({"budget": {"num_candidates": 30}})
    assert amended.spec.budget.num_candidates == 30
    (one,) = list(found.amendments())
    assert (one.seq, one.changes[0].old, one.changes[0].new) == (1, 10, 30)
    assert one.principal is not None
    with pytest.raises(HilnasError):
        nas.searches.amend(found.id, {"priority": -1}, version=found.version)
    read = nas.searches.get(found.id)
    assert read.launched_spec == found.spec
    assert read.clone({"seed": 2}, as_launched=True).spec.budget.num_candidates == 10
    assert read.clone().spec.budget.num_candidates == 30
    nas.searches.cancel(found.id)
    with pytest.raises(ConflictError, match="clone"):
        found.amend({"budget": {"num_candidates": 40}})
