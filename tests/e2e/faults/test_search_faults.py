"""kill -9 of the worker between ask and tell: every algorithm goes on to the candidates of an undisturbed search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from server.candidates.states import EndReason, SearchState
from tests.support.processes.records import asked
from tests.support.processes.rig import Installation
from tests.support.samples.table_results import table_bytes

TWO = [{"metric": "top1"}, {"metric": "macs"}]
PREDICTED = {"kind": "predictor_assisted", "num_initial": 12, "num_chosen": 4}
PLATEAU = {"plateau": {"share": 0.2, "num_candidates": 10}}
SEARCHES: Mapping[str, dict[str, Any]] = {
    "auto": {},
    "auto, plateau": {"stop": PLATEAU},
    "predictor-assisted, plateau": {"algorithm": PREDICTED, "stop": PLATEAU},
    "nsga2, plateau": {"algorithm": {"kind": "nsga2"}, "stop": PLATEAU},
}
OTHERS: Mapping[str, dict[str, Any]] = {
    "predictor-assisted": {"algorithm": PREDICTED},
    "nsga2, weighted": {
        "algorithm": {"kind": "nsga2", "population_size": 8},
        "objectives": [{"metric": "top1", "weight": 3.0}, {"metric": "macs"}],
    },
    "random": {"algorithm": {"kind": "random", "batch_size": 8}},
    "scarlet_nsga2": {"algorithm": {"kind": "scarlet_nsga2", "population_size": 8}},
    "spos_evolution": {
        "algorithm": {
            "kind": "spos_evolution",
            "population_size": 8,
            "num_parents": 4,
            "num_mutation": 4,
            "num_crossover": 4,
        },
        "objectives": TWO[:1],
    },
    "binned_evolution": {
        "algorithm": {
            "kind": "binned_evolution",
            "bin_width": 250_000,
            "population_size": 8,
            "num_mutation": 4,
            "num_crossover": 4,
        }
    },
}
STEPS_KILLED = (1, 2)
"""Steps after which the worker is killed, wherever it is in the next one."""


def test_the_chosen_and_the_stopped_go_on_as_if_undisturbed(nas: Installation) -> None:
    ends = _each_as_if_undisturbed(nas, SEARCHES)
    stopped = {name for name, reason in ends.items() if reason is EndReason.PLATEAU}
    assert stopped == {name for name, changes in SEARCHES.items() if "stop" in changes}


@pytest.mark.long
def test_every_other_algorithm_goes_on_as_if_undisturbed(nas: Installation) -> None:
    assert set(_each_as_if_undisturbed(nas, OTHERS).values()) == {None}


def _each_as_if_undisturbed(nas: Installation, wanted: Mapping[str, dict[str, Any]]) -> dict[str, EndReason | None]:
    """Run each search twice, once with its worker killed; returns how each ended."""
    nas.start()
    table = nas.folder / "table.json"
    table.write_bytes(table_bytes())
    nas.api.spaces.register_table("toy", nas.api.artifacts.upload(table, "application/json").sha256)
    ends = {}
    for name, changes in wanted.items():
        spec = {"space": {"id": "toy"}, "objectives": TWO, "budget": {"num_candidates": 60}, "seed": 4, **changes}
        undisturbed = nas.create(spec)
        nas.until_done(undisturbed)
        disturbed = nas.create(spec)
        for step in STEPS_KILLED:
            nas.until_step(disturbed, step)
            nas.worker.freeze()  # else the search could be over before it is looked at
            if nas.state(disturbed).final:
                nas.worker.thaw()
                break
            nas.worker.kill()
            nas.worker.start()
        nas.until_done(disturbed)
        found = [nas.api.searches.get(search_id) for search_id in (undisturbed, disturbed)]
        assert [search.state for search in found] == [SearchState.COMPLETED] * 2, name
        assert asked(nas, disturbed) == asked(nas, undisturbed), name
        assert (found[0].end_reason, found[0].reason) == (found[1].end_reason, found[1].reason), name
        ends[name] = found[0].end_reason
    return ends
