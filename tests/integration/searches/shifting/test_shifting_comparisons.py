"""What a shifting search compares: one version of the supernet at a time, whatever the algorithm, whatever fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.metrics import TOP1
from server.candidates.payloads import EvaluatePayload, ShiftPayload
from server.candidates.search import Search
from server.candidates.states import CandidateState, EndReason, SearchState
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from server.jobs.failures import Failure
from server.jobs.job import Job, JobQuery
from server.jobs.payloads import read_payload
from server.jobs.states import JobKind, JobState
from tests.support.samples.shifting_searches import (
    BUDGET,
    IMMEDIATE,
    POPULATION,
    SHIFTING,
    accuracies_of,
    assert_no_comparison_crosses_versions,
    checkpoints,
    compared,
    own_versions,
    shifting_spec,
)
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import WorkerWorld

MODES = {"accumulate": SHIFTING, "immediate": IMMEDIATE}
ALGORITHMS: Mapping[str, Mapping[str, Any]] = {
    "nsga2": {"kind": "nsga2", "population_size": POPULATION},
    "nsga2_reject": {"kind": "nsga2", "population_size": POPULATION, "constraint_handling": "reject"},
    "scarlet_nsga2": {"kind": "scarlet_nsga2", "population_size": POPULATION},
    "spos_evolution": {
        "kind": "spos_evolution",
        "population_size": POPULATION,
        "num_parents": 2,
        "num_mutation": 1,
        "num_crossover": 1,
    },
    "binned_evolution": {
        "kind": "binned_evolution",
        "population_size": POPULATION,
        "bin_width": 1000,
        "num_mutation": 2,
        "num_crossover": 1,
    },
}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def spec_of(world: WorkerWorld, algorithm: str, **changes: Any) -> dict[str, Any]:
    spec = shifting_spec(world.ready_supernet(), algorithm=dict(ALGORITHMS[algorithm]), **changes)
    return {**spec, "objectives": [{"metric": "top1"}]} if algorithm == "spos_evolution" else spec


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_compares_accuracies_of_one_version(world: WorkerWorld, algorithm: str) -> None:
    mode = dict(IMMEDIATE if algorithm == "scarlet_nsga2" else SHIFTING)
    search = world.ran(**spec_of(world, algorithm, shifting=mode))
    assert search.state is SearchState.COMPLETED, search.reason
    assert search.progress.num_complete == BUDGET
    assert assert_no_comparison_crosses_versions(world, search) > 0, "there were survivors to compare"
    assert world.report(search, "shifting")["crosses_versions"] is False


def test_what_waits_for_its_generation_to_be_full_is_scored_again_too(world: WorkerWorld) -> None:
    # Chance is a third: about half of the candidates are refused, so that a generation takes several batches.
    bound = {"constraints": [{"metric": "top1", "minimum": 0.34}], "budget": {"num_candidates": 12}}
    search, num_waited = world.ran(**spec_of(world, "scarlet_nsga2", **bound)), 0
    # Whether any candidate is above chance is luck, and nothing that is waited for here.
    assert search.state is SearchState.COMPLETED or search.progress.end_reason is EndReason.NO_FEASIBLE_CANDIDATE, (
        search.reason
    )
    waited: set[tuple[int, ...]] = set()
    for checkpoint in checkpoints(world, search):
        assert waited <= compared(checkpoint).keys(), "it was scored again with the version of the next batch"
        document: Any = checkpoint.payload
        waited = {tuple(genotype) for genotype in document["algorithm"]["own"]["waiting"]}
        num_waited += len(waited)
    assert num_waited > 0
    assert_no_comparison_crosses_versions(world, search)


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        ({"kind": "random"}, "random: it has no survivors"),
        ({"kind": "predictor_assisted"}, "accuracies of several versions"),
        ({"kind": "densenas", "dataset": "stripes"}, "densenas: it has no survivors"),
    ],
)
def test_algorithms_that_cannot_compare_within_one_version_are_refused(
    world: WorkerWorld, algorithm: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidSpecError, match=why):
        world.search(**shifting_spec(world.ready_supernet(), algorithm=algorithm))


def test_in_immediate_mode_each_candidate_is_scored_at_once_and_with_the_last_version(world: WorkerWorld) -> None:
    search = world.ran(**spec_of(world, "nsga2", shifting=dict(IMMEDIATE)))
    versions, candidates = own_versions(world, search), world.candidates(search)
    assert len(versions) == len(candidates) == BUDGET
    assert [v.parent_id for v in versions[1:]] == [v.id for v in versions[:-1]]
    for place, (candidate, version) in enumerate(zip(candidates, versions, strict=True)):
        last_of_batch = versions[place // POPULATION * POPULATION + POPULATION - 1]
        taken = [e.supernet_version_id for e in accuracies_of(world, search, candidate)]
        # The last one trained is scored with the last version at once; survivors again with those of later batches.
        expected = [version.id] if version is last_of_batch else [version.id, last_of_batch.id]
        assert taken[: len(expected)] == expected
        assert set(taken[len(expected) :]) <= {v.id for v in versions[POPULATION - 1 :: POPULATION]}
    assert assert_no_comparison_crosses_versions(world, search) > 0


def test_immediate_accuracies_are_compared_only_where_the_spec_says_so_and_the_report_tells(world: WorkerWorld) -> None:
    search = world.ran(**spec_of(world, "nsga2", shifting={**IMMEDIATE, "compare": "immediate"}))
    assert search.state is SearchState.COMPLETED, search.reason
    versions = own_versions(world, search)
    for candidate, version in zip(world.candidates(search), versions, strict=True):
        (evaluation,) = accuracies_of(world, search, candidate)
        assert evaluation.supernet_version_id == version.id
        assert candidate.value(TOP1) == evaluation.value
    assert world.report(search, "shifting")["crosses_versions"] is True
    assert world.fronts.of_search(search.id).num_complete == BUDGET
    with pytest.raises(InvalidSpecError, match="immediate goes with mode immediate"):
        world.search(**spec_of(world, "nsga2", shifting={**SHIFTING, "compare": "immediate"}))


def is_rescoring(world: WorkerWorld, job: Job, search: Search) -> bool:
    """Whether a job scores a candidate that was told already."""
    if job.kind is not JobKind.EVALUATE or job.payload["split"] == "test":
        return False
    observed = {c.id for c in world.candidates(search) if c.told_seq is not None}
    return read_payload(EvaluatePayload, job.payload).candidate_id in observed


@pytest.mark.parametrize("mode", MODES)
def test_a_survivor_that_cannot_be_scored_again_is_reported_and_compared_with_nothing(
    world: WorkerWorld, mode: str
) -> None:
    search = world.search(**spec_of(world, "nsga2", shifting=dict(MODES[mode])))
    failed: list[str] = []
    while (job := world.claim()) is not None:
        if not failed and is_rescoring(world, job, search):
            failed.append(read_payload(EvaluatePayload, job.payload).candidate_id)
        if failed and job.candidate_id == failed[0]:
            assert job.lease is not None
            world.dispatch.fail(job.lease, Failure(FailureType.WORKER_ERROR, "the disk is full"))
            world.database.skip_backoff()
        else:
            world.do(job)
    ended = world.searches.get_search(search.id)
    assert ended.state is SearchState.COMPLETED, ended.reason
    (lost,) = [c for c in world.candidates(search) if c.id == failed[0]]
    assert lost.state is CandidateState.COMPLETE, "what it was scored with earlier stays"
    reports = [event["report"]["shifting"].get("not_scored", []) for event in world.generation_events(search)]
    assert [ids for ids in reports if ids] == [failed], "reported once: it survives no longer"
    attempts = [j for j in jobs_of(world, search) if j.candidate_id == failed[0] and j.state is JobState.FAILED]
    assert [j.attempt for j in attempts] == [5], "it was tried again before it was given up"
    assert lost.genotype in withdrawn(world, search)
    assert failed[0] not in {p.id for p in world.fronts.of_search(search.id).points}
    assert_no_comparison_crosses_versions(world, ended)


def test_a_search_goes_on_where_no_survivor_can_be_scored_again(world: WorkerWorld) -> None:
    search = world.search(**spec_of(world, "nsga2"))
    while (job := world.claim()) is not None:
        if is_rescoring(world, job, search):
            assert job.lease is not None
            world.dispatch.fail(job.lease, Failure(FailureType.INVALID_INPUT, "the data set is gone"))
        else:
            world.do(job)
    ended = world.searches.get_search(search.id)
    assert (ended.state, ended.progress.num_complete) == (SearchState.COMPLETED, BUDGET)
    assert assert_no_comparison_crosses_versions(world, ended) == 0


def test_a_shift_that_fails_for_good_ends_the_search_with_the_reason(world: WorkerWorld) -> None:
    search = world.search(**spec_of(world, "nsga2"))
    while (job := world.claim()) is not None and job.kind is not JobKind.SHIFT:
        world.do(job)
    assert job is not None
    assert len(read_payload(ShiftPayload, job.payload).candidate_ids) == POPULATION
    assert job.lease is not None
    world.dispatch.fail(job.lease, Failure(FailureType.INVALID_INPUT, "the data set is gone"))
    ended = world.searches.get_search(search.id)
    assert ended.state is SearchState.FAILED
    assert "shift" in ended.reason
    assert "the data set is gone" in ended.reason
    assert {c.state for c in world.candidates(search)} == {CandidateState.FAILED}
    assert world.claim() is None


def jobs_of(world: WorkerWorld, search: Search) -> tuple[Job, ...]:
    return world.dispatch.page(JobQuery(search_id=search.id), PageRequest(200)).items


def withdrawn(world: WorkerWorld, search: Search) -> set[tuple[int, ...]]:
    document: Any = checkpoints(world, search)[-1].payload
    return {tuple(genotype) for genotype in document["algorithm"]["withdrawn"]}
