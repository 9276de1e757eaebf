"""The contract of the store of ranking studies, against SQLite and PostgreSQL."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from server.artifacts.files import FileByteStore
from server.candidates.candidate import HeldOutAccuracy
from server.core.database.transaction import Transaction
from server.core.errors import InvalidValueError, NotFoundError
from server.core.event_type import EventType
from server.core.events import EventQuery, EventStore, NewEvent
from server.core.paging import PageRequest
from server.studies.spec import parse_ranking_study_spec
from server.studies.states import StudyEntryState, StudyState
from server.studies.store import StudyStore
from server.studies.study import Correlation, RankingResult, RankingStudy, StudyEntry, StudyQuery
from server.training.training import TrainingProgress
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World

TRAINING = {"epochs": 1}


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def added(world: World, number: int = 3) -> RankingStudy:
    supernet = world.ready_supernet()
    spec = {"supernet": supernet.id, "num_architectures": number, "training": TRAINING, "num_local": 2}
    return world.studies.create_study(parse_ranking_study_spec(spec))


def entry_of(world: World, study: RankingStudy, number: int) -> StudyEntry:
    return world.uow.read(lambda tx: StudyStore(tx).get_study_entry(study.id, number))


def test_a_study_and_its_entries_come_back_as_they_were_stored(world: World) -> None:
    study = added(world)
    assert world.studies.get_study(study.id) == study
    entries = world.studies.study_entries(study.id)
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert {entry.state for entry in entries} == {StudyEntryState.WAITING}
    assert len({entry.record.arch_id for entry in entries}) == 3
    assert entries[1] == entry_of(world, study, 2)


def test_what_a_study_finds_is_kept(world: World) -> None:
    study = added(world)
    nothing = Correlation(kendall_tau=None, p_value=None, spearman=None, num=2)
    result = RankingResult(overall=Correlation(kendall_tau=0.5, p_value=0.1, spearman=0.6, num=3), local=nothing)
    entry = replace(
        entry_of(world, study, 1),
        state=StudyEntryState.DONE,
        inherited=HeldOutAccuracy(0.25, 40),
        standalone=HeldOutAccuracy(0.75, 40),
        progress=TrainingProgress(step=3, num_steps=4, loss=1.5, metrics={"top1": 0.5}),
        resume_artifact_sha256="a" * 64,
        resume_step=2,
    )

    def write() -> RankingStudy:
        def save(tx: Transaction) -> RankingStudy:
            StudyStore(tx).save_study_entry(entry)
            return StudyStore(tx).save_study(replace(StudyStore(tx).lock_study(study.id), result=result))

        return world.uow.write(save)

    saved = write()
    assert saved.version == study.version + 1
    assert world.studies.get_study(study.id) == saved
    assert saved.result == result
    assert entry_of(world, study, 1) == entry
    assert entry_of(world, study, 2).inherited is None


def test_pages_and_filters(world: World) -> None:
    studies = [added(world, 2) for _ in range(3)]
    first = world.studies.page_of_studies(StudyQuery(), PageRequest(2))
    assert [study.id for study in first.items] == [studies[2].id, studies[1].id]
    rest = world.studies.page_of_studies(StudyQuery(), PageRequest(2, first.next))
    assert [study.id for study in rest.items] == [studies[0].id]
    world.studies.cancel(studies[1].id)
    cancelled = StudyQuery(states=(StudyState.CANCELLED,))
    assert [study.id for study in world.studies.page_of_studies(cancelled, PageRequest(5)).items] == [studies[1].id]
    assert world.studies.count_studies(StudyQuery(supernet_id=studies[0].supernet_id)) == 1


def test_what_is_not_there_is_named(world: World) -> None:
    study = added(world, 2)
    with pytest.raises(NotFoundError, match="study_none"):
        world.studies.get_study("study_none")
    with pytest.raises(NotFoundError, match="/3"):
        entry_of(world, study, 3)


def test_events_of_a_study_are_found_by_it(world: World) -> None:
    study, other = added(world, 2), added(world, 2)
    world.uow.write(lambda tx: EventStore(tx).append_event(NewEvent(type=EventType.TRAINING, study_id=other.id)))
    found = world.uow.read(lambda tx: EventStore(tx).events_after(0, EventQuery(study_id=study.id), 10))
    assert [(event.type, event.study_id) for event in found] == [(EventType.STUDY, study.id)]


@pytest.mark.parametrize("top1", [math.nan, -0.1, 1.5])
def test_an_accuracy_that_is_none_is_refused(top1: float) -> None:
    with pytest.raises(InvalidValueError, match="report a failure"):
        HeldOutAccuracy(top1, 10)
