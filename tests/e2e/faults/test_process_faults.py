"""kill -9 of the worker while several processes train for it, and in a ranking study: both go on where they were."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa

from server.core.event_type import EventType
from server.core.events import events
from server.jobs.states import JobKind
from server.studies.states import StudyEntryState, StudyState
from server.studies.store import ranking_entries, ranking_studies
from server.training.store import supernets
from server.training.training import TrainingState
from tests.support.processes.fault_searches import TRAINING
from tests.support.processes.rig import Installation

ALONE: dict[str, Any] = {
    "iterations": 200,
    "batch_size": 16,
    "optimizer": {"learning_rate": 0.05},
    "augmentation": "none",
    "num_calibration_batches": 1,
    "checkpoint_every_steps": 20,
    "num_threads": 1,
}


def test_training_processes_end_with_their_worker_and_studies_go_on_from_checkpoints(nas: Installation) -> None:
    nas.start()
    supernet_id = nas.api.supernets.create({**TRAINING, "iterations": 60, "num_processes": 2}).id
    nas.until(lambda: _resume_step(nas, supernet_id) > 0, "the first checkpoint is stored")
    processes = nas.worker.children()
    assert len(processes) >= 2
    with nas.in_the_middle_of(JobKind.TRAIN):
        nas.worker.kill()
    resume_step = _resume_step(nas, supernet_id)
    last_event = _last_event(nas)
    nas.until(lambda: not any(map(_lives, processes)), "nobody trains for a worker that is gone")
    nas.worker.start()
    nas.until(lambda: _state(nas, supernet_id) == TrainingState.READY, "the supernet is trained")
    assert min(_steps(nas, last_event)) >= resume_step

    spec = {"supernet": supernet_id, "architectures": [[0] * 6, [3] * 6], "training": ALONE}
    study_id = nas.api.ranking_studies.create(spec).id
    nas.until(lambda: _entry(nas, study_id, 2).resume_step > 0, "the second architecture has a checkpoint")
    first = _entry(nas, study_id, 1)
    assert first.state == StudyEntryState.DONE
    with nas.in_the_middle_of(JobKind.RANK):
        nas.worker.kill()
    resume_step, last_event = _entry(nas, study_id, 2).resume_step, _last_event(nas)
    nas.worker.start()
    nas.until(lambda: _study_state(nas, study_id) == StudyState.COMPLETED, "the study is over")
    assert _entry(nas, study_id, 1) == first, "what was done stays as it was"
    assert min(_steps(nas, last_event), default=resume_step) >= resume_step
    result = nas.api.ranking_studies.get(study_id).result
    assert result is not None
    assert result.overall.num == 2


def _state(nas: Installation, supernet_id: str) -> TrainingState:
    state: TrainingState = nas.rows(sa.select(supernets.c.state).where(supernets.c.id == supernet_id))[0].state
    return state


def _study_state(nas: Installation, study_id: str) -> StudyState:
    state: StudyState = nas.rows(sa.select(ranking_studies.c.state).where(ranking_studies.c.id == study_id))[0].state
    return state


def _resume_step(nas: Installation, supernet_id: str) -> int:
    return int(nas.rows(sa.select(supernets.c.resume_step).where(supernets.c.id == supernet_id))[0].resume_step)


def _entry(nas: Installation, study_id: str, number: int) -> sa.Row[Any]:
    wanted = (ranking_entries.c.study_id == study_id, ranking_entries.c.number == number)
    return nas.rows(sa.select(ranking_entries).where(*wanted))[0]


def _last_event(nas: Installation) -> int:
    return int(nas.rows(sa.select(sa.func.max(events.c.id)))[0][0] or 0)


def _steps(nas: Installation, after: int) -> list[int]:
    """Steps that trainings reported after an event."""
    wanted = (events.c.id > after, events.c.type == EventType.TRAINING)
    return [int(row.payload["step"]) for row in nas.rows(sa.select(events.c.payload).where(*wanted))]


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # a zombie has ended
    except OSError:
        return os.path.exists(f"/proc/{pid}")
