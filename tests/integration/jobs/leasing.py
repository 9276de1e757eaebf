"""Queue measuring jobs, have a device take one, and lose its lease."""

from __future__ import annotations

from server.candidates.search import Search
from server.jobs.job import Job
from server.measuring.measurement import MeasurementQuery
from tests.support.worlds.service_world import (
    PlayedDevice,
    World,
)

EVERYTHING = MeasurementQuery(include_superseded=True, include_suspect=True)


def measuring(world: World, num_candidates: int = 1, **changes: object) -> Search:
    """A search whose measuring jobs are queued."""
    search = world.search(
        budget={"num_candidates": num_candidates}, algorithm={"kind": "random", "batch_size": num_candidates}, **changes
    )
    world.worker.run()
    return search


def taken(device: PlayedDevice) -> Job:
    job = device.take()
    assert job is not None
    return job


def lost(world: World, job: Job) -> None:
    world.database.kill_lease(job.id)
    world.dispatch.sweep()
    world.database.skip_backoff()
