"""The evaluator of the how-to page, killed half way and started again: nothing is lost and nothing is doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hilnas.client.client import Hilnas
from server.candidates.states import SearchState
from tests.support.processes.served_worker import Served, served_worker
from tests.support.worlds.worker_world import TINY_SPACE

DOCS = Path(__file__).parents[3] / "docs"
SCRIPT = DOCS / "examples" / "evaluator.py"
NUM_CANDIDATES = 24
SPEC: dict[str, Any] = {
    "space": TINY_SPACE,
    "objectives": [{"metric": "energy_mj"}, {"metric": "params", "goal": "maximize"}],
    "external": [{"metric": "energy_mj", "unit": "mJ", "goal": "minimize", "minimum": 0}],
    "algorithm": {"kind": "nsga2", "population_size": 6},
    "budget": {"num_candidates": NUM_CANDIDATES},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_worker(tmp_path_factory.mktemp("evaluator")) as running:
        yield running


def evaluator(served: Served, search_id: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "HILNAS_URL": served.server.url, "HILNAS_TOKEN": served.server.token}
    return subprocess.Popen([sys.executable, str(SCRIPT), search_id], env=environment)


def genotypes(nas: Hilnas, search_id: str) -> list[list[int]]:
    return [one.genotype for one in nas.searches.candidates(search_id)]


def test_an_evaluator_that_is_killed_half_way_loses_and_doubles_nothing(served: Served) -> None:
    nas = served.nas
    killed, undisturbed = nas.searches.create(SPEC), nas.searches.create(SPEC)
    process = evaluator(served, killed.id)
    served.until(lambda: nas.searches.get(killed.id).progress.num_complete >= 4, "four candidates are told")
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    half_way = nas.searches.get(killed.id)
    assert half_way.state is SearchState.RUNNING
    assert half_way.progress.num_complete < NUM_CANDIDATES
    held = {one.id for one in nas.trials.all(killed.id, states=["leased"])}

    again = [evaluator(served, killed.id), evaluator(served, undisturbed.id)]
    for search in (killed, undisturbed):
        assert search.wait(120, poll_s=0.2).progress.num_complete == NUM_CANDIDATES
    assert [one.wait(60) for one in again] == [0, 0]

    trials = list(nas.trials.all(killed.id))
    assert len(trials) == NUM_CANDIDATES
    assert {one.attempt for one in trials} == {1}  # what it held was its own again, and cost no attempt
    assert held <= {one.id for one in trials if one.evaluator == "power-rig-1"}
    for candidate in nas.searches.candidates(killed.id):
        values = [one for one in nas.searches.evaluations(candidate.id) if one.metric == "energy_mj"]
        assert [(one.source.value, one.uncertainty) for one in values] == [("external", 0.05)]
    assert genotypes(nas, killed.id) == genotypes(nas, undisturbed.id)
    front = nas.searches.front(killed.id)
    assert [(one.metric, one.unit) for one in front.objectives] == [("energy_mj", "mJ"), ("params", "params")]
    assert front.points


def test_the_page_shows_this_very_script_and_spec(served: Served) -> None:
    page = (DOCS / "how-to" / "bring_an_evaluator.md").read_text()
    assert "examples/evaluator.py" in page
    assert len(SCRIPT.read_text().splitlines()) <= 20
