"""kill -9 of the worker while it trains and while it evaluates: it goes on, and comes to the very same numbers."""

from __future__ import annotations

import shutil

import sqlalchemy as sa

from server.candidates.search_store import searches
from server.core.event_type import EventType
from server.core.events import events
from server.jobs.states import JobKind
from server.training.store import supernet_versions, supernets
from tests.support.processes.fault_searches import ACCURACY, NUM_ACCURATE, TRAINING
from tests.support.processes.records import asked, assert_intact
from tests.support.processes.rig import Installation


def test_a_worker_killed_in_training_and_in_evaluation_comes_to_the_same_result(nas: Installation) -> None:
    nas.start()
    undisturbed = nas.create(ACCURACY)
    nas.until_done(undisturbed)
    assert_intact(nas, undisturbed, NUM_ACCURATE)

    disturbed = nas.create(ACCURACY)
    supernet_id = _supernet_of(nas, disturbed)
    nas.until(lambda: _resume_step(nas, supernet_id) > 0, "the first checkpoint is stored")
    with nas.in_the_middle_of(JobKind.TRAIN):
        nas.worker.kill()
    resume_step, last_event = _resume_step(nas, supernet_id), _last_event(nas, supernet_id)
    assert 0 < resume_step < TRAINING["iterations"]
    # As on another host: only what the worker stored for others is left.
    shutil.rmtree(nas.home / "worker")
    nas.worker.start()
    with nas.in_the_middle_of(JobKind.EVALUATE):
        nas.worker.kill()
    nas.worker.start()
    nas.until_done(disturbed)
    assert_intact(nas, disturbed, NUM_ACCURATE)

    steps_after = _training_steps(nas, supernet_id, last_event)
    assert min(steps_after) >= resume_step, "it went on from its checkpoint"
    assert _weights(nas, supernet_id) == _weights(nas, _supernet_of(nas, undisturbed))
    curve = _curve(nas, supernet_id)
    assert len(curve) == len({step for step, _ in curve}), "no point is doubled"
    assert curve == _curve(nas, _supernet_of(nas, undisturbed))
    assert asked(nas, disturbed) == asked(nas, undisturbed)
    assert any(one.test_top1 is not None for one in asked(nas, disturbed))


def _supernet_of(nas: Installation, search_id: str) -> str:
    return str(nas.rows(sa.select(searches.c.supernet_id).where(searches.c.id == search_id))[0].supernet_id)


def _resume_step(nas: Installation, supernet_id: str) -> int:
    return int(nas.rows(sa.select(supernets.c.resume_step).where(supernets.c.id == supernet_id))[0].resume_step)


def _weights(nas: Installation, supernet_id: str) -> list[str]:
    """Digests of the weights of every version."""
    of_supernet = supernet_versions.c.supernet_id == supernet_id
    return [str(row[0]) for row in nas.rows(sa.select(supernet_versions.c.weights_sha256).where(of_supernet))]


def _curve(nas: Installation, supernet_id: str) -> list[tuple[int, float | None]]:
    """Steps and losses of the learning curve."""
    return [(point.step, point.loss) for point in nas.api.supernets.curve(supernet_id).points]


def _last_event(nas: Installation, supernet_id: str) -> int:
    return int(nas.rows(sa.select(sa.func.max(events.c.id)).where(events.c.supernet_id == supernet_id))[0][0] or 0)


def _training_steps(nas: Installation, supernet_id: str, after: int) -> list[int]:
    """Steps that training reported after an event."""
    wanted = (
        events.c.supernet_id == supernet_id,
        events.c.id > after,
        events.c.type == EventType.TRAINING,
    )
    return [int(row.payload["step"]) for row in nas.rows(sa.select(events.c.payload).where(*wanted))]
