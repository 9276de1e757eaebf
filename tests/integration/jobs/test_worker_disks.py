"""A worker's disk that is full or read-only: its job is given back without an attempt, and done once it can write."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nas_engine.domain.errors import EngineError
from nas_engine.domain.job_protocol import FailureType
from server.jobs.job import Job, LeaseRef
from server.jobs.states import JobKind
from server.jobs.worker.loop import Worker
from tests.support.worlds.service_world import World

PATIENCE_S = 60.0


def run(world: World, handler: Callable[[int], None], num_calls: int, folder: Path | None = None) -> list[Job]:
    """The jobs that a worker's handler was given, which is told how often it was called before."""
    given: list[Job] = []
    ended = threading.Event()

    def handle(job: Job, _: LeaseRef, __: Callable[[], bool]) -> None:
        given.append(job)
        if len(given) >= num_calls:
            ended.set()
        handler(len(given) - 1)

    worker = Worker(world.dispatch, "worker-1", {JobKind.SEARCH_STEP: handle}, folder=folder)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert ended.wait(PATIENCE_S)
    finally:
        worker.stop()
        thread.join(PATIENCE_S)
    return given


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_cannot_be_written_spends_no_attempt(world: World, number: int) -> None:
    world.enrol()
    world.search()

    def handler(num_before: int) -> None:
        if num_before == 0:
            raise OSError(number, os.strerror(number), "worker/training/run.checkpoint")
        if num_before == 1:
            raise EngineError("the checkpoint cannot be written") from OSError(number, os.strerror(number))

    given = run(world, handler, 3)
    assert [job.attempt for job in given[:3]] == [1, 1, 1]
    said = world.dispatch.get(given[0].id).failure_message
    assert "the worker's disk is full or read-only" in said
    assert os.strerror(number) in said


def test_a_library_that_writes_to_another_read_only_place_fails_its_job(world: World, tmp_path: Path) -> None:
    world.enrol()
    world.search()

    def handler(_: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/usr/share/models/cache")

    (job,) = run(world, handler, 1, folder=tmp_path)
    failed = world.dispatch.get(job.id)
    assert failed.failure_type is FailureType.WORKER_ERROR
    assert "/usr/share/models/cache" in failed.failure_message


def test_any_other_fault_of_the_disk_is_a_failed_attempt(world: World) -> None:
    world.enrol()
    world.search()

    def handler(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (job,) = run(world, handler, 1)
    assert world.dispatch.get(job.id).failure_type is FailureType.WORKER_ERROR
