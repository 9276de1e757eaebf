"""`StudyStore`: ranking studies and their entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from server.db.keyset import fetch_page
from server.db.stores.base import Store, count_of
from server.db.stores.candidates import SqlArchitectureStore
from server.db.tables.ranking import ranking_entries, ranking_studies
from server.service.errors import NotFoundError
from server.service.paging import Page, PageRequest
from server.service.ranking_spec import parse_ranking_study_spec
from server.service.states import DesiredState, StudyEntryState, StudyState
from server.service.values.candidate import ArchitectureRecord
from server.service.values.ranking import (
    Correlation,
    HeldOutAccuracy,
    RankingResult,
    RankingStudy,
    StudyEntry,
    StudyQuery,
)
from server.service.values.supernet import TrainingProgress

_CONVERTED = ("spec", "state", "desired_state", "result")
_SAME = tuple(column.name for column in ranking_studies.c if column.name not in _CONVERTED)
_ENTRY_SAME = ("study_id", "number", "reason", "resume_artifact_sha256", "resume_step", "finished_at")


class SqlStudyStore(Store):
    """Studies as rows; the spec and the result are JSON."""

    def add(self, study: RankingStudy, entries: Sequence[StudyEntry]) -> None:
        """Store a new one with all of its entries and their architectures."""
        SqlArchitectureStore(self._connection).put([entry.record for entry in entries])
        self._connection.execute(sa.insert(ranking_studies).values(_row(study)))
        self._connection.execute(sa.insert(ranking_entries), [_entry_row(entry) for entry in entries])

    def get(self, study_id: str) -> RankingStudy:
        """Read one."""
        return _study(self._one(_of(study_id), "ranking study", study_id))

    def lock(self, study_id: str) -> RankingStudy:
        """Read one and hold it, and with it its entries, until the transaction ends."""
        return _study(self._one(_of(study_id).with_for_update(), "ranking study", study_id))

    def save(self, study: RankingStudy) -> RankingStudy:
        """Write a locked one with its version one higher."""
        written = replace(study, version=study.version + 1)
        statement = sa.update(ranking_studies).where(ranking_studies.c.id == study.id)
        self._connection.execute(statement.values(_row(written)))
        return written

    def page(self, query: StudyQuery, page: PageRequest) -> Page[RankingStudy]:
        """List, newest first."""
        return fetch_page(
            self._connection,
            _filtered(query),
            page,
            id_column=ranking_studies.c.id,
            from_row=_study,
            descending=True,
        )

    def count(self, query: StudyQuery) -> int:
        """How many `page` would list in all."""
        return count_of(self._connection, _filtered(query))

    def entry(self, study_id: str, number: int) -> StudyEntry:
        """Read one entry."""
        statement = _entries_of(study_id).where(ranking_entries.c.number == number)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise NotFoundError("entry of ranking study", f"{study_id}/{number}")
        return _entry(row, SqlArchitectureStore(self._connection).get(row.arch_id))

    def entries(self, study_id: str) -> tuple[StudyEntry, ...]:
        """Every entry, by number."""
        rows = self._connection.execute(_entries_of(study_id).order_by(ranking_entries.c.number)).all()
        records = SqlArchitectureStore(self._connection).get_many([row.arch_id for row in rows])
        return tuple(_entry(row, records[row.arch_id]) for row in rows)

    def save_entry(self, entry: StudyEntry) -> None:
        """Write an entry of a locked study."""
        mine = (ranking_entries.c.study_id == entry.study_id, ranking_entries.c.number == entry.number)
        self._connection.execute(sa.update(ranking_entries).where(*mine).values(_entry_row(entry)))


def _of(study_id: str) -> sa.Select[Any]:
    return sa.select(ranking_studies).where(ranking_studies.c.id == study_id)


def _entries_of(study_id: str) -> sa.Select[Any]:
    return sa.select(ranking_entries).where(ranking_entries.c.study_id == study_id)


def _filtered(query: StudyQuery) -> sa.Select[Any]:
    statement = sa.select(ranking_studies)
    if query.states:
        statement = statement.where(ranking_studies.c.state.in_([state.value for state in query.states]))
    if query.supernet_id is not None:
        statement = statement.where(ranking_studies.c.supernet_id == query.supernet_id)
    return statement


def _row(study: RankingStudy) -> dict[str, Any]:
    return {
        **{name: getattr(study, name) for name in _SAME},
        "spec": study.spec.model_dump(mode="json"),
        "state": study.state.value,
        "desired_state": study.desired_state.value,
        "result": None if study.result is None else asdict(study.result),
    }


def _study(row: sa.Row[Any]) -> RankingStudy:
    result = row.result
    return RankingStudy(
        **{name: getattr(row, name) for name in _SAME},
        spec=parse_ranking_study_spec(row.spec),
        state=StudyState(row.state),
        desired_state=DesiredState(row.desired_state),
        result=None
        if result is None
        else RankingResult(overall=Correlation(**result["overall"]), local=Correlation(**result["local"])),
    )


def _entry_row(entry: StudyEntry) -> dict[str, Any]:
    shared, alone, progress = entry.shared, entry.alone, entry.progress
    return {
        **{name: getattr(entry, name) for name in _ENTRY_SAME},
        "arch_id": entry.record.arch_id,
        "state": entry.state.value,
        "shared_top1": None if shared is None else shared.top1,
        "shared_images": None if shared is None else shared.num_images,
        "alone_top1": None if alone is None else alone.top1,
        "alone_images": None if alone is None else alone.num_images,
        "progress": {**asdict(progress), "metrics": dict(progress.metrics)},
    }


def _entry(row: sa.Row[Any], record: ArchitectureRecord) -> StudyEntry:
    return StudyEntry(
        **{name: getattr(row, name) for name in _ENTRY_SAME},
        record=record,
        state=StudyEntryState(row.state),
        shared=None if row.shared_top1 is None else HeldOutAccuracy(row.shared_top1, row.shared_images),
        alone=None if row.alone_top1 is None else HeldOutAccuracy(row.alone_top1, row.alone_images),
        progress=TrainingProgress(**row.progress),
    )
