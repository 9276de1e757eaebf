"""Every search algorithm, chosen by its spec, through the real worker and database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.metrics import TOP1
from server.candidates.states import CandidateState, SearchState
from server.core.errors import InvalidSpecError
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import WorkerWorld

TWO = [{"metric": "macs"}, {"metric": "params", "goal": "maximize"}]
THREE = [*TWO, {"metric": "peak_activation_bytes"}]
SMALL: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "random": ({"kind": "random", "batch_size": 5}, TWO),
    "nsga2": ({"kind": "nsga2", "population_size": 4}, TWO),
    "scarlet": ({"kind": "scarlet_nsga2", "population_size": 4}, TWO),
    "scarlet_three": ({"kind": "scarlet_nsga2", "population_size": 4, "num_models": 3}, THREE),
    "spos": (
        {"kind": "spos_evolution", "population_size": 4, "num_parents": 2, "num_mutation": 2, "num_crossover": 1},
        TWO[:1],
    ),
    "binned": (
        {"kind": "binned_evolution", "bin_width": 1000, "population_size": 4, "num_mutation": 2, "num_crossover": 2},
        TWO,
    ),
    "predictor": (
        {
            "kind": "predictor_assisted",
            "num_initial": 4,
            "num_chosen": 3,
            "inner_population": 6,
            "inner_generations": 2,
        },
        TWO,
    ),
}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


@pytest.mark.parametrize("name", SMALL)
def test_an_algorithm_of_the_spec_uses_its_budget_and_leaves_a_front(world: WorkerWorld, name: str) -> None:
    algorithm, objectives = SMALL[name]
    search = world.ran(algorithm=algorithm, objectives=objectives)
    assert search.state is SearchState.COMPLETED, search.reason
    assert (search.progress.num_asked, search.progress.num_complete) == (12, 12)
    assert len({c.arch_id for c in world.candidates(search)}) == 12
    assert search.progress.front_size > 0


@pytest.mark.parametrize("name", SMALL)
def test_a_worker_that_restarts_after_every_job_asks_the_same_candidates(world: WorkerWorld, name: str) -> None:
    algorithm, objectives = SMALL[name]
    undisturbed = world.ran(algorithm=algorithm, objectives=objectives)
    search = world.search(algorithm=algorithm, objectives=objectives)
    while (job := world.claim()) is not None:
        world.do(job)
        world.restart()
    assert [c.genotype for c in world.candidates(search)] == [c.genotype for c in world.candidates(undisturbed)]


def test_what_misses_a_constraint_that_is_evaluated_is_counted(world: WorkerWorld) -> None:
    objectives = [{"metric": "top1"}, {"metric": "macs"}]
    supernet = world.ready_supernet().id
    free = world.ran(objectives=objectives, supernet=supernet, algorithm={"kind": "random", "batch_size": 5})
    accuracies = sorted(candidate.values[TOP1] for candidate in world.candidates(free))
    assert free.progress.num_unmet == 0
    bound = [{"metric": "top1", "minimum": accuracies[-3]}]
    search = world.ran(
        objectives=objectives, supernet=supernet, constraints=bound, algorithm={"kind": "random", "batch_size": 5}
    )
    missed = [one for one in world.candidates(search) if one.values[TOP1] < accuracies[-3]]
    assert search.progress.num_unmet == len(missed) > 0
    assert search.progress.num_infeasible == 0, "they were evaluated"


def test_scarlet_picks_models_from_the_front_at_the_end(world: WorkerWorld) -> None:
    search = world.ran(algorithm={"kind": "scarlet_nsga2", "population_size": 4, "num_models": 2})
    picked = world.report(search, "picked")
    front = world.fronts.of_search(search.id)
    assert len(picked) == min(2, len(front.points))
    assert set(picked) <= {point.id for point in front.points}
    assert world.generation_events(search)[-1]["report"]["picked"] == picked


def test_an_unmeetable_accuracy_constraint_is_reported_and_ends_the_search(world: WorkerWorld) -> None:
    search = world.ran(
        algorithm={"kind": "scarlet_nsga2", "population_size": 2, "max_rejections": 3},
        objectives=[{"metric": "top1"}, {"metric": "macs"}],
        constraints=[{"metric": "top1", "minimum": 1.0}],
        supernet=world.ready_supernet().id,
        evaluation={"num_calibration_batches": 1, "batch_size": 40},
        budget={"num_candidates": 30},
    )
    assert search.state is SearchState.FAILED
    assert "top1" in search.reason
    assert "Relax the constraint" in search.reason


def test_predictor_quality_is_shown_while_the_search_runs(world: WorkerWorld) -> None:
    search = world.ran(
        algorithm={**SMALL["predictor"][0]},
        objectives=[{"metric": "top1"}, {"metric": "macs"}],
        supernet=world.ready_supernet().id,
        evaluation={"num_calibration_batches": 1, "batch_size": 40},
    )
    assert search.state is SearchState.COMPLETED
    reports = [
        e["report"]["predictors"]["top1"] for e in world.generation_events(search) if "predictors" in e["report"]
    ]
    assert [r["num_fresh"] for r in reports] == [3, 6, 8, 8]
    assert world.report(search, "predictors")["top1"] == reports[-1]


def test_a_warm_start_reports_what_became_of_every_offer(world: WorkerWorld) -> None:
    known = [[0, 0, 0], [1, 1, 1], [1, 1, 1], [9, 9, 9], "no such model"]
    search = world.ran(warm_start={"architectures": known}, algorithm={"kind": "nsga2", "population_size": 4})
    report = world.report(search, "warm_start")
    assert (report["num_offered"], report["num_accepted"], report["num_rejected"]) == (5, 2, 3)
    assert report["accepted_from"] == {"architectures": 2}
    assert "already asked" in report["rejected"][0]["reason"]
    assert world.generation_events(search)[0]["report"]["warm_start"] == report
    first = world.candidates(search)[:3]
    assert [c.genotype for c in first[:2]] == [(0, 0, 0), (1, 1, 1)]
    assert [c.provenance for c in first] == [{"operator": "warm_start", "source": "architectures"}] * 2 + [None]


def test_a_warm_start_from_another_search_takes_its_front_first(world: WorkerWorld) -> None:
    other = world.ran(algorithm={"kind": "random", "batch_size": 12})
    front = {c.genotype for c in world.fronts.of_search(other.id).points}
    search = world.ran(
        warm_start={"search": other.id, "max_candidates": len(front)}, algorithm={"kind": "nsga2", "population_size": 6}
    )
    assert world.report(search, "warm_start")["accepted_from"] == {"search": len(front)}
    assert {c.genotype for c in world.candidates(search)[: len(front)]} == front
    assert all(c.state is CandidateState.COMPLETE for c in world.candidates(search))


def test_a_warm_start_from_a_search_that_does_not_exist_is_refused(world: WorkerWorld) -> None:
    with pytest.raises(InvalidSpecError) as error:
        world.search(warm_start={"search": "srch_nothing"})
    assert [v.pointer for v in error.value.violations] == ["/warm_start/search"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": {"kind": "spos_evolution"}}, "one objective"),
        ({"algorithm": {"kind": "binned_evolution", "bin_metric": "top1"}}, "bin_metric"),
        ({"algorithm": {"kind": "scarlet_nsga2", "p_prior": 0.5}}, "add up to 1"),
        ({"warm_start": {}}, "needs architectures"),
    ],
)
def test_a_spec_that_its_algorithm_cannot_serve_is_refused(
    world: WorkerWorld, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        world.search(**changes)
