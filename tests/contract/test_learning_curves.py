"""Learning curves as they are kept, and where the time of trainings and searches went, on SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from nas_engine.settings.training import TrainingSpec
from server.artifacts.files import FileByteStore
from server.core.database.transaction import Transaction
from server.core.errors import InvalidValueError, NotFoundError
from server.jobs.job import LeaseRef
from server.jobs.states import JobKind
from server.searches.history.times import time_of_search
from server.training.curves.point import MAX_POINTS, TrainingPoint
from server.training.curves.store import CurveStore
from server.training.supernet import Supernet
from server.training.supernets import NewVersion
from server.training.training import TrainingProgress
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import TRAINING, World, run_to_end


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def _in_training(world: World) -> tuple[Supernet, LeaseRef]:
    world.supernets.create_supernet(TrainingSpec.model_validate(TRAINING))
    job = world.dispatch.claim("worker-1", (JobKind.TRAIN,))
    assert job is not None
    assert job.lease is not None
    return world.supernets.start_training(job.lease), job.lease


def _report(world: World, lease: LeaseRef, step: int, loss: float = 1.0) -> None:
    metrics = {"top1": 0.25, "learning_rate": 0.1, "images_per_s": 640.0, "eta_s": 30.0}
    world.supernets.record_progress(lease, TrainingProgress(step=step, num_steps=100, loss=loss, metrics=metrics))


def test_every_report_is_a_point(world: World) -> None:
    supernet, lease = _in_training(world)
    for step in (10, 20):
        _report(world, lease, step, loss=1.0 / step)
    curve = world.supernets.curve(supernet.id, 500)
    assert [(one.step, one.loss) for one in curve.points] == [(10, 0.1), (20, 0.05)]
    last = curve.points[-1]
    assert (last.top1, last.learning_rate, last.images_per_s) == (0.25, 0.1, 640.0)
    assert curve.num_kept == 2


def test_a_resumed_training_doubles_no_point_and_leaves_none_of_the_part_that_was_lost(world: World) -> None:
    supernet, lease = _in_training(world)
    for step in (10, 20, 30):
        _report(world, lease, step, loss=1.0)
    _report(world, lease, 20, loss=0.5)  # from the checkpoint of step 10 on
    curve = world.supernets.curve(supernet.id, 500)
    assert [(one.step, one.loss) for one in curve.points] == [(10, 1.0), (20, 0.5)]


def test_a_long_curve_is_thinned_and_keeps_its_ends(world: World) -> None:
    supernet, lease = _in_training(world)

    def fill(tx: Transaction) -> None:
        for step in range(1, MAX_POINTS + 1):
            CurveStore(tx).add_point(TrainingPoint(trained_id=supernet.id, step=step, at=tx.now()))

    world.uow.write(fill)
    _report(world, lease, MAX_POINTS + 1)
    curve = world.supernets.curve(supernet.id, MAX_POINTS)
    steps = [one.step for one in curve.points]
    assert curve.num_kept == MAX_POINTS // 2 + 1
    assert (steps[0], steps[-1]) == (1, MAX_POINTS + 1)
    assert {b - a for a, b in itertools.pairwise(steps)} == {2}
    few = [one.step for one in world.supernets.curve(supernet.id, 3).points]
    assert len(few) == 3
    assert (few[0], few[-1]) == (steps[0], steps[-1])


def test_curves_of_two_trainings_are_apart(world: World) -> None:
    one, lease = _in_training(world)
    other, other_lease = _in_training(world)
    _report(world, lease, 10)
    _report(world, other_lease, 5)
    assert [p.step for p in world.supernets.curve(one.id, 9).points] == [10]
    assert [p.step for p in world.supernets.curve(other.id, 9).points] == [5]


def test_what_is_not_finite_is_refused_and_what_is_not_there_is_named(world: World) -> None:
    supernet, lease = _in_training(world)
    with pytest.raises(InvalidValueError, match="non-finite"):
        world.supernets.record_progress(lease, TrainingProgress(step=1, num_steps=2, metrics={"top1": math.nan}))
    assert world.supernets.curve(supernet.id, 9).points == ()
    with pytest.raises(NotFoundError, match="sup_x"):
        world.supernets.curve("sup_x", 9)


def test_the_time_of_a_training_says_what_is_left_and_where_it_went(world: World) -> None:
    supernet, lease = _in_training(world)
    assert world.supernets.time_of(world.supernets.get_training(supernet.id)).left_s is None
    _report(world, lease, 10)
    time = world.supernets.time_of(world.supernets.get_training(supernet.id))
    (train,) = time.kinds
    assert (train.kind, train.num_jobs) == (JobKind.TRAIN, 1)
    assert time.left_s is not None
    assert 0.0 <= time.left_s <= 30.0
    # A training has one job: what was held and what was waited for is all of what passed.
    assert train.busy_s + train.queued_s <= time.elapsed_s + 0.05
    weights = world.artifacts.put(b"weights", "application/octet-stream")
    world.supernets.finish_training(lease, NewVersion(weights_sha256=weights.sha256))
    ended = world.supernets.time_of(world.supernets.get_training(supernet.id))
    assert ended.left_s is None
    assert ended.elapsed_s == world.supernets.time_of(world.supernets.get_training(supernet.id)).elapsed_s


def test_the_time_of_a_search_is_told_kind_by_kind(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search())
    time = world.uow.read(lambda tx: time_of_search(tx, search))
    assert time.left_s is None
    found = {one.kind: one for one in time.kinds}
    assert {JobKind.SEARCH_STEP, JobKind.MEASURE, JobKind.CONVERT} <= set(found)
    assert found[JobKind.MEASURE].num_jobs == 6
    for one in time.kinds:
        assert one.busy_s >= 0.0
        assert one.queued_s >= 0.0
        assert one.busy_s + one.queued_s <= one.num_jobs * (time.elapsed_s + 0.05)


def test_the_training_that_a_search_ordered_counts_in_its_time(world: World) -> None:
    objectives = [{"metric": "top1"}, {"metric": "macs"}]
    search = world.search(objectives=objectives, device=None, supernet=TRAINING)
    time = world.uow.read(lambda tx: time_of_search(tx, search))
    assert [(one.kind, one.num_jobs) for one in time.kinds] == [(JobKind.TRAIN, 1)]
    assert time.left_s is None
