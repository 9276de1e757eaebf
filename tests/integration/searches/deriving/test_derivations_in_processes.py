"""DERIVE jobs that several processes share: the same network and figures, progress, a killed rank, resumption."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_engine.domain.errors import TrainingError
from server.candidates.search import Search
from server.candidates.states import SearchState
from server.core.errors import InvalidSpecError
from server.jobs.failures import policy_of
from server.jobs.worker.handlers import failure_of
from server.searches.steps.derivations import DERIVING
from server.searches.worker.deriving.order import DerivationOrder
from tests.integration.searches.test_derive_jobs import ALGORITHM, SPEC, until_deriving, work_events
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import WorkerWorld

# Sums of two halves round otherwise than the sum of the whole: over these few steps in float32 that stays far below
# what is compared. The rate is low enough that no activation falls on the other side of zero.
REL = 1e-3
TOGETHER: dict[str, Any] = {
    **ALGORITHM,
    "cost_factors": [5.0],
    "learning_rate": 0.02,
    "architecture_learning_rate": 0.05,
    "synchronised_norm": True,
    "derived_from": "best_epoch",
    "checkpoint_every_steps": 2,
    "precision": "float32",
}

# Processes agree every 20 steps whether they stop: a run that is cut short must be longer.
LONG: dict[str, Any] = {"epochs": 12}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def spec(num_processes: int, **changes: Any) -> dict[str, Any]:
    return {**SPEC, "algorithm": {**TOGETHER, "num_processes": num_processes, **changes}}


def derived(world: WorkerWorld, search: Search) -> dict[str, Any]:
    done = world.searches.get_search(search.id)
    assert done.state is SearchState.COMPLETED, done.reason
    (found,) = world.report(done, "derived")
    return dict(found)


def assert_the_same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name] == (pytest.approx(value, rel=REL) if isinstance(value, float) else value), name


def test_two_processes_derive_what_one_process_derives_with_the_whole_batch(world: WorkerWorld) -> None:
    one, two = (world.ran(**spec(number)) for number in (1, 2))
    assert_the_same(derived(world, one), derived(world, two))
    alone, together = work_events(world, one), work_events(world, two)
    assert [event["step"] for event in together] == [event["step"] for event in alone]
    for event, other in zip(alone, together, strict=True):
        assert other["loss"] == pytest.approx(event["loss"], rel=REL)
        assert other["expected_cost"] == pytest.approx(event["expected_cost"], rel=REL)
        assert (other["architecture_loss"] is None) is (event["architecture_loss"] is None)
    assert together[-1]["architecture_loss"] == pytest.approx(alone[-1]["architecture_loss"], rel=REL)
    assert not list((world.folder / "worker" / "training").iterdir()), "nothing is left behind"


@pytest.mark.long
def test_a_derivation_goes_on_after_a_killed_rank_and_after_a_stop(world: WorkerWorld) -> None:
    undisturbed = derived(world, world.ran(**spec(2, **LONG)))
    for how in ("killed", "stopped"):
        search = world.search(**spec(2, **LONG))
        job, lease = until_deriving(world)
        if how == "killed":
            victims: list[int] = []
            with pytest.raises(TrainingError, match="killed by SIGKILL|connection|Connection|closed|reset") as failed:
                world.handlers[job.kind](job, lease, killing_one(world, search, victims))
            assert victims
            assert children(world) == []
            assert policy_of(failure_of(failed.value).type).retryable
        else:
            world.handlers[job.kind](job, lease, after_step(world, search, 3))
            world.dispatch.give_back(lease, "the worker is shutting down")
        kept: Any = world.searches.get_search(search.id).progress.report[DERIVING]
        assert 0 < kept["step"] < kept["num_steps"]
        before = len(work_events(world, search))
        world.restart()  # a worker that remembers nothing
        if how == "killed":
            world.do(job)  # as it is tried again, without the wait before that
        world.run()
        assert_the_same(undisturbed, derived(world, search))
        assert work_events(world, search)[before]["step"] == kept["step"] + 1, "it did not go on from its checkpoint"


def killing_one(world: WorkerWorld, search: Search, victims: list[int]) -> Callable[[], bool]:
    """Never says stop; kills the last rank once a checkpoint is stored."""

    def look() -> bool:
        if not victims and DERIVING in world.searches.get_search(search.id).progress.report:
            victims.append(children(world)[-1])
            os.kill(victims[0], signal.SIGKILL)
        return False

    return look


def after_step(world: WorkerWorld, search: Search, step: int) -> Callable[[], bool]:
    return lambda: any(event["step"] >= step for event in work_events(world, search))


def children(world: WorkerWorld) -> list[int]:
    """Process ids of this run's processes, first rank first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if DerivationOrder.CHILD.encode() in command and str(world.folder).encode() in command:
                found.append(int(entry.name))
    return sorted(found)


def test_what_does_not_divide_is_refused_when_the_search_is_made(world: WorkerWorld) -> None:
    with pytest.raises(InvalidSpecError, match="batch_size 12 does not divide over 5 processes"):
        world.search(**spec(5))
    algorithm = {**TOGETHER, "num_processes": 2, "micro_batch": 4, "synchronised_norm": False}
    with pytest.raises(InvalidSpecError, match="micro_batch 4 does not divide the 6 images of a process"):
        world.search(**{**SPEC, "algorithm": algorithm})


def test_a_worker_on_the_cpu_cannot_count_its_gpus(world: WorkerWorld) -> None:
    world.search(**{**SPEC, "algorithm": {**TOGETHER, "num_processes": "gpus"}})
    job, lease = until_deriving(world)
    with pytest.raises(TrainingError, match="give a number"):
        world.handlers[job.kind](job, lease, lambda: False)
