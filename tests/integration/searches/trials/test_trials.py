"""Trials of evaluators outside against SQLite and PostgreSQL: leases, fences, exactly once, mixed searches."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import MACS
from server.candidates.candidate import Candidate
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.candidates.states import CandidateState, EvaluationSource, SearchState
from server.core.errors import ConflictError, InvalidSpecError, NotFoundError
from server.jobs.job import LeaseRef
from server.jobs.states import JobState
from server.searches.trials.trial import Fault, ToldValue, Trial
from server.searches.trials.trials import Trials
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import EVALUATION, WorkerWorld

ENERGY = Metric("energy_mj", "mJ", Goal.MINIMIZE)
EXTERNAL = {"metric": "energy_mj", "unit": "mJ", "goal": "minimize", "minimum": 0.0}
SPEC: dict[str, Any] = {
    "objectives": [{"metric": "energy_mj"}, {"metric": "params", "goal": "maximize"}],
    "external": [EXTERNAL],
    "algorithm": {"kind": "nsga2", "population_size": 4},
    "budget": {"num_candidates": 12},
    "seed": 3,
}
LEASE_S = 600.0


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(database, tmp_path)


@pytest.fixture
def trials(world: WorkerWorld) -> Trials:
    return Trials(world.uow, world.dispatch, world.spaces)


def started(world: WorkerWorld, **changes: Any) -> Search:
    search = world.search(**{**SPEC, **changes})
    world.run()
    return search


def lease_of(trial: Trial) -> LeaseRef:
    assert trial.job.lease is not None
    return trial.job.lease


def energy_of(candidate: Candidate) -> float:
    return candidate.values[MACS] / 1e4


def told(trial: Trial) -> dict[str, ToldValue]:
    return {"energy_mj": ToldValue(value=energy_of(trial.candidate), standard_error=0.1)}


def evaluated(trials: Trials, search: Search, who: str = "rig", num: int = 3) -> int:
    asked = trials.ask(search.id, who, num, LEASE_S).trials
    for trial in asked:
        trials.tell(search.id, lease_of(trial), told(trial))
    return len(asked)


def ended(world: WorkerWorld, trials: Trials, search: Search) -> Search:
    while not (found := world.searches.get_search(search.id)).state.final:
        world.run()
        evaluated(trials, search)
    return found


def test_a_search_completes_by_what_is_told_alone(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    assert ended(world, trials, search).state is SearchState.COMPLETED
    found = world.candidates(search)
    assert len(found) == 12
    assert {one.state for one in found} == {CandidateState.COMPLETE}
    for one in found:
        value = one.current[ENERGY]
        assert (value.value, value.uncertainty) == (energy_of(one), 0.1)
        assert (value.metric.unit, value.source) == ("mJ", EvaluationSource.EXTERNAL)
    front = world.fronts.of_search(search.id)
    assert front.points
    assert {one.metric for one in front.objectives} >= {ENERGY}


def test_asking_gives_what_an_evaluator_needs(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    trial = trials.ask(search.id, "rig", 1, LEASE_S).trials[0]
    assert trial.wanted == (ENERGY,)
    assert trial.wanted[0].unit == "mJ"
    assert isinstance(trial.layer_graph, Mapping)
    nodes = trial.layer_graph["nodes"]
    assert isinstance(nodes, list)
    assert nodes[0]["type"] == "Input"
    assert any(node["type"] == "Conv2d" and node["stride"] >= 1 for node in nodes)
    assert trial.model is not None
    assert trial.model.url.endswith(f"{trial.candidate.id}/probe.onnx")
    assert trials.probe(trial.candidate.id)[1] == trials.probe(trial.candidate.id)[1]


def test_whoever_comes_back_gets_its_own_again_and_nobody_elses(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    mine = trials.ask(search.id, "rig", 2, LEASE_S).trials
    again = trials.ask(search.id, "rig", 2, LEASE_S).trials
    others = trials.ask(search.id, "other-rig", 4, LEASE_S).trials
    assert [lease_of(one) for one in again] == [lease_of(one) for one in mine]
    assert len(others) == 2
    assert not {one.job.id for one in others} & {one.job.id for one in mine}


def test_a_repeated_answer_is_the_same_and_another_is_refused(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    trial = trials.ask(search.id, "rig", 1, LEASE_S).trials[0]
    first = trials.tell(search.id, lease_of(trial), told(trial))
    assert trials.tell(search.id, lease_of(trial), told(trial)) == first
    with pytest.raises(ConflictError, match="answered under this lease before"):
        trials.tell(search.id, lease_of(trial), {"energy_mj": ToldValue(value=1.0)})
    with pytest.raises(ConflictError, match="answered under this lease before"):
        trials.fail(search.id, lease_of(trial), "too late", Fault.EVALUATOR)
    evaluations = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([trial.candidate.id]))
    assert len(evaluations) == 1


def test_a_stale_fence_is_refused_and_says_who_has_the_trial(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    late = trials.ask(search.id, "slow-rig", 1, 0.05).trials[0]
    time.sleep(0.2)
    world.dispatch.sweep()
    time.sleep(1.1)  # the back-off of a lease that died
    new = next(one for one in trials.ask(search.id, "rig", 4, LEASE_S).trials if one.job.id == late.job.id)
    with pytest.raises(ConflictError, match=r"stale: it was not renewed in time; .* by rig with fence 2"):
        trials.tell(search.id, lease_of(late), told(late))
    with pytest.raises(ConflictError, match="stale"):
        trials.renew(search.id, lease_of(late), LEASE_S)
    trials.tell(search.id, lease_of(new), told(new))
    assert new.job.attempt == 2


def test_a_lease_that_died_is_taken_where_nobody_has_the_trial(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    late = trials.ask(search.id, "slow-rig", 1, 0.05).trials[0]
    time.sleep(0.2)
    world.dispatch.sweep()
    assert trials.tell(search.id, lease_of(late), told(late)).job.state is JobState.DONE
    assert trials.tell(search.id, lease_of(late), told(late)).job.state is JobState.DONE


def test_a_long_lease_is_not_pulled_back_to_a_workers(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    trial = trials.ask(search.id, "rig", 1, 80_000.0).trials[0]
    world.dispatch.sweep()
    found = world.dispatch.get(trial.job.id)
    assert found.lease_expires_at == trial.job.lease_expires_at
    renewed = trials.renew(search.id, lease_of(trial), 60.0).job
    assert renewed.lease_expires_at is not None
    assert found.lease_expires_at is not None
    assert renewed.lease_expires_at < found.lease_expires_at


def test_a_failure_is_tried_again_and_an_architectures_fault_is_final(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    first, second = trials.ask(search.id, "rig", 2, LEASE_S).trials
    failed = trials.fail(search.id, lease_of(first), "the meter was off", Fault.EVALUATOR)
    assert (failed.job.state, failed.job.attempt) == (JobState.QUEUED, 1)
    assert failed.job.failure_message == "the meter was off"
    trials.fail(search.id, lease_of(second), "does not fit in memory", Fault.ARCHITECTURE)
    ended_as = {one.id: (one.state, one.reason) for one in world.candidates(search)}
    assert ended_as[second.candidate.id][0] is CandidateState.INFEASIBLE
    assert "does not fit in memory" in ended_as[second.candidate.id][1]
    assert ended_as[first.candidate.id][0] is CandidateState.EVALUATING


def test_the_last_attempt_that_fails_fails_the_candidate_and_the_search_goes_on(
    world: WorkerWorld, trials: Trials
) -> None:
    search = started(world)
    for attempt in range(1, 6):
        deadline = time.monotonic() + 60
        while not (held := trials.ask(search.id, "rig", 1, LEASE_S).trials):
            assert time.monotonic() < deadline
        trial = held[0]
        while trial.candidate.seq != 1:
            trials.tell(search.id, lease_of(trial), told(trial))
            while not (held := trials.ask(search.id, "rig", 1, LEASE_S).trials):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            trial = held[0]
        assert trial.job.attempt == attempt
        trials.fail(search.id, lease_of(trial), "no power", Fault.EVALUATOR)
    assert world.candidates(search)[0].state is CandidateState.FAILED
    final = ended(world, trials, search)
    assert final.state is SearchState.COMPLETED
    assert final.progress.num_failed == 1


def test_what_is_given_back_costs_no_attempt(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    trial = trials.ask(search.id, "rig", 1, LEASE_S).trials[0]
    assert trials.give_back(search.id, lease_of(trial)).job.state is JobState.QUEUED
    assert trials.give_back(search.id, lease_of(trial)).job.state is JobState.QUEUED
    other = trials.ask(search.id, "other", 1, LEASE_S).trials[0]
    assert (other.job.id, other.job.attempt, other.job.lease_epoch) == (trial.job.id, 1, 2)


def test_nobody_waits_for_a_trial_of_a_cancelled_search(world: WorkerWorld, trials: Trials) -> None:
    search = started(world)
    trial = trials.ask(search.id, "rig", 1, LEASE_S).trials[0]
    world.searches.cancel(search.id)
    with pytest.raises(ConflictError, match="nobody waits"):
        trials.tell(search.id, lease_of(trial), told(trial))
    assert trials.ask(search.id, "rig", 3, LEASE_S).trials == ()
    assert world.dispatch.get(trial.job.id).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("values", "pointer", "message"),
    [
        ({"enrgy_mj": ToldValue(value=1.0)}, "/metrics/enrgy_mj", "did you mean energy_mj"),
        ({}, "/metrics", "energy_mj is missing"),
        ({"energy_mj": ToldValue(value=math.nan)}, "/metrics/energy_mj/value", "finite"),
        ({"energy_mj": ToldValue(value=-1.0)}, "/metrics/energy_mj/value", "within 0 to inf"),
        ({"energy_mj": ToldValue(value=1.0, standard_error=math.inf)}, "/metrics/energy_mj/standard_error", "finite"),
    ],
)
def test_what_cannot_be_a_value_is_refused_and_the_lease_goes_on(
    world: WorkerWorld, trials: Trials, values: dict[str, ToldValue], pointer: str, message: str
) -> None:
    search = started(world)
    trial = trials.ask(search.id, "rig", 1, LEASE_S).trials[0]
    with pytest.raises(InvalidSpecError) as refused:
        trials.tell(search.id, lease_of(trial), values)
    assert next((one.pointer, message in one.message) for one in refused.value.violations) == (pointer, True)
    assert trials.tell(search.id, lease_of(trial), told(trial)).job.state is JobState.DONE


def test_a_trial_of_another_search_is_not_found(world: WorkerWorld, trials: Trials) -> None:
    search, other = started(world), started(world, seed=4)
    trial = trials.ask(search.id, "rig", 1, LEASE_S).trials[0]
    with pytest.raises(NotFoundError):
        trials.tell(other.id, lease_of(trial), told(trial))
    plain = world.search()
    with pytest.raises(ConflictError, match="wants nothing from outside"):
        trials.ask(plain.id, "rig", 1, LEASE_S)


def test_a_worker_that_dies_between_ask_and_tell_changes_nothing(world: WorkerWorld, trials: Trials) -> None:
    undisturbed, disturbed = started(world), started(world)
    ended(world, trials, undisturbed)
    while not world.searches.get_search(disturbed.id).state.final:
        world.restart()  # a worker that remembers nothing steps each generation
        world.run()
        for trial in reversed(trials.ask(disturbed.id, "rig", 3, LEASE_S).trials):
            trials.tell(disturbed.id, lease_of(trial), told(trial))
    genotypes = [[one.genotype for one in world.candidates(search)] for search in (undisturbed, disturbed)]
    assert genotypes[0] == genotypes[1]


def test_accuracy_by_us_and_energy_by_them(world: WorkerWorld, trials: Trials) -> None:
    supernet = world.ready_supernet()
    objectives = [{"metric": "top1"}, {"metric": "energy_mj"}]
    search = started(world, objectives=objectives, supernet=supernet.id, evaluation=EVALUATION)
    one = world.candidates(search)[0]
    assert [metric.name for metric in one.current if metric.name == "top1"] == ["top1"]
    assert one.state is CandidateState.EVALUATING  # its energy is awaited
    assert ended(world, trials, search).state is SearchState.COMPLETED
    sources = {m.name: v.source for m, v in world.candidates(search)[0].current.items()}
    assert sources["top1"] is EvaluationSource.EVALUATED
    assert sources["energy_mj"] is EvaluationSource.EXTERNAL


def test_top1_may_come_from_outside_without_a_supernet(world: WorkerWorld, trials: Trials) -> None:
    spec = parse_search_spec(
        {
            "space": world.search().spec.space.model_dump(),
            "objectives": [{"metric": "top1"}, {"metric": "macs"}],
            "external": [{"metric": "top1"}],
            "algorithm": {"kind": "random"},
            "budget": {"num_candidates": 3},
        }
    )
    search = world.searches.create_search(spec)
    world.run()
    for trial in trials.ask(search.id, "trainer", 3, LEASE_S).trials:
        with pytest.raises(InvalidSpecError, match="within 0 to 1"):
            trials.tell(search.id, lease_of(trial), {"top1": ToldValue(value=70.0)})
        trials.tell(search.id, lease_of(trial), {"top1": ToldValue(value=0.7, standard_error=0.01)})
    world.run()
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED
