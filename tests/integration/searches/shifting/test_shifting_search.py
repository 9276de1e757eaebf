"""Supernet shifting inside a search: versions, scores that carry them, crashes, and transfer to other classes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from nas_engine.domain.layer_graph import weight_refs
from nas_engine.domain.metrics import TOP1
from nas_engine.domain.search_space import Form
from server.candidates.states import SearchState
from server.core.errors import InvalidSpecError
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.training.supernet import SupernetVersion
from tests.support.samples.shifting_searches import (
    BUDGET,
    POPULATION,
    SHIFTING,
    accuracies,
    own_versions,
    shifting_spec,
)
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import TINY_SPACE, WorkerWorld


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def tensors(world: WorkerWorld, version: SupernetVersion) -> dict[str, torch.Tensor]:
    return load(world.artifacts.read(version.weights_sha256))


def crashes_before_commit(world: WorkerWorld, job: Job) -> bool:
    """Shift a generation and stop before anything is written."""
    asked = iter([False] * POPULATION)
    assert job.lease is not None
    world.handlers[job.kind](job, job.lease, lambda: next(asked, True))
    return world.uow.read(lambda tx: JobStore(tx).get_job(job.id)).state is JobState.LEASED


def test_every_generation_is_one_version_and_is_scored_with_it_alone(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    search = world.ran(**shifting_spec(supernet))
    assert search.state is SearchState.COMPLETED, search.reason
    versions = own_versions(world, search)
    assert [v.parent_id for v in versions] == [supernet.latest_version_id, versions[0].id, versions[1].id]
    assert search.supernet_version_id == versions[-1].id
    scored: dict[str | None, set[str]] = defaultdict(set)
    for evaluation in accuracies(world, search):
        scored[evaluation.supernet_version_id].add(evaluation.candidate_id)
    generations = [{c.id for c in world.candidates(search)[i : i + POPULATION]} for i in (0, 3, 6)]
    assert scored[versions[0].id] == generations[0]
    for version, generation in zip(versions[1:], generations[1:], strict=True):
        # The newcomers, and beside them the survivors they are compared with.
        assert generation < scored[version.id]
        assert len(scored[version.id]) == 2 * POPULATION
    front = world.fronts.of_search(search.id)
    assert {p.id for p in front.points} <= scored[versions[-1].id]
    assert front.num_complete == 2 * POPULATION


def test_others_still_get_the_supernet_as_it_was_trained(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    world.ran(**shifting_spec(supernet))
    assert world.supernets.get_training(supernet.id).latest_version_id == supernet.latest_version_id


def test_weights_of_operators_that_a_generation_never_sampled_are_unchanged(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    search = world.ran(**shifting_spec(supernet, budget={"num_candidates": POPULATION}))
    space = world.spaces.space(TINY_SPACE["id"], TINY_SPACE["parameters"])
    graphs = [space.graph(c.record.architecture, Form.SUPERNET) for c in world.candidates(search)]
    sampled = {ref.name for graph in graphs if graph is not None for node in graph.nodes for ref in weight_refs(node)}
    before = tensors(world, world.supernets.versions_of_supernet(supernet.id)[0])
    after = tensors(world, own_versions(world, search)[0])
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert moved <= sampled
    assert before.keys() - sampled


def test_a_crash_before_the_commit_shifts_the_same_generation_to_the_same_weights(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    undisturbed = world.ran(**shifting_spec(supernet))
    search = world.search(**shifting_spec(supernet))
    num_crashes = 0
    while (job := world.claim()) is not None:
        if job.kind is JobKind.SHIFT and crashes_before_commit(world, job):
            num_crashes += 1
            world.restart()
        world.do(job)
    assert num_crashes == BUDGET / POPULATION
    versions, others = own_versions(world, search), own_versions(world, undisturbed)
    assert [v.weights_sha256 for v in versions] == [v.weights_sha256 for v in others]
    assert [c.genotype for c in world.candidates(search)] == [c.genotype for c in world.candidates(undisturbed)]


def test_a_supernet_is_transferred_to_other_classes_by_a_new_head(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    space = {**TINY_SPACE, "parameters": {**TINY_SPACE["parameters"], "num_classes": 2}}
    changes = {"space": space, "dataset": "bands"}
    with pytest.raises(InvalidSpecError, match="num_classes"):
        world.search(**shifting_spec(supernet, **changes))
    search = world.ran(**shifting_spec(supernet, **changes, shifting={**SHIFTING, "new_head": True}))
    assert search.state is SearchState.COMPLETED, search.reason
    before = tensors(world, world.supernets.versions_of_supernet(supernet.id)[0])
    after = tensors(world, own_versions(world, search)[-1])
    reshaped = [name for name in before if before[name].shape != after[name].shape]
    assert reshaped
    assert all(after[name].shape[0] == 2 for name in reshaped)
    assert all(c.value(TOP1) is not None for c in world.candidates(search))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": [{"metric": "macs"}]}, "needs top1"),
        ({"shifting": {"images_per_candidate": 10, "batch_size": 4}}, "multiple"),
        ({"shifting": {"new_head": True}}, "needs dataset"),
    ],
)
def test_shifting_that_cannot_be_is_refused(world: WorkerWorld, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        world.search(**shifting_spec(world.ready_supernet(), **changes))
