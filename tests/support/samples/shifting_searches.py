"""Searches that shift their supernet, for tests: specs, and what they left behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from nas_engine.domain.metrics import TOP1
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search, SearchCheckpoint
from server.core.paging import PageRequest
from server.training.supernet import Supernet, SupernetVersion
from tests.support.worlds.worker_world import EVALUATION, WorkerWorld

POPULATION, BUDGET = 3, 9
SHIFTING: Mapping[str, Any] = {"images_per_candidate": 16, "batch_size": 8, "learning_rate": 0.01}
IMMEDIATE: Mapping[str, Any] = {"mode": "immediate", "steps_per_candidate": 2, "batch_size": 8, "learning_rate": 0.01}


def shifting_spec(supernet: Supernet, **changes: Any) -> dict[str, Any]:
    """A spec of three generations, or with changes."""
    return {
        "objectives": [{"metric": "top1"}, {"metric": "macs"}],
        "supernet": supernet.id,
        "algorithm": {"kind": "nsga2", "population_size": POPULATION},
        "evaluation": EVALUATION,
        "budget": {"num_candidates": BUDGET},
        "shifting": dict(SHIFTING),
        **changes,
    }


def own_versions(world: WorkerWorld, search: Search) -> list[SupernetVersion]:
    """The versions that a search has made, in order."""
    assert search.supernet_id is not None
    return [v for v in world.supernets.versions_of_supernet(search.supernet_id) if v.search_id == search.id]


def accuracies(world: WorkerWorld, search: Search) -> tuple[Evaluation, ...]:
    """Every accuracy of its candidates on validation images."""
    ids = [c.id for c in world.candidates(search)]
    found = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates(ids))
    return tuple(e for e in found if e.metric == TOP1)


def accuracies_of(world: WorkerWorld, search: Search, candidate: Candidate) -> list[Evaluation]:
    """Every accuracy of one candidate, by attempt."""
    return [e for e in accuracies(world, search) if e.candidate_id == candidate.id]


def checkpoints(world: WorkerWorld, search: Search) -> list[SearchCheckpoint]:
    """Its checkpoints, oldest first."""
    return list(reversed(world.searches.page_of_checkpoints(search.id, PageRequest(100)).items))


def compared(checkpoint: SearchCheckpoint) -> dict[tuple[int, ...], float]:
    """The accuracies that an algorithm holds, by genotype: whatever it compares is among them."""
    document: Any = checkpoint.payload
    return {tuple(r["genotype"]): r["objectives"]["top1"] for r in document["algorithm"]["results"]}


def assert_no_comparison_crosses_versions(world: WorkerWorld, search: Search) -> int:
    """Each step held accuracies of one version alone; gives how many candidates were compared beside newcomers."""
    ids = {c.genotype: c.id for c in world.candidates(search)}
    known: dict[str, dict[str, set[float]]] = defaultdict(lambda: defaultdict(set))
    for evaluation in accuracies(world, search):
        assert evaluation.supernet_version_id is not None
        known[evaluation.supernet_version_id][evaluation.candidate_id].add(evaluation.value)
    num_survivors = 0
    events = {event["seq"]: event for event in world.generation_events(search)}
    for checkpoint in checkpoints(world, search):  # the older ones may be pruned
        event = events[checkpoint.seq]
        version_id = event["report"]["shifting"]["scored_with"]
        held = compared(checkpoint)
        for genotype, top1 in held.items():
            assert top1 in known[version_id][ids[genotype]], "an accuracy of another version is compared"
        if event["num_told"]:
            num_survivors += len(held) - event["num_told"]
    return num_survivors
