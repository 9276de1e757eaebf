"""Tables of ranking studies and their entries, and their store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from server.candidates.states import DesiredState
from server.core.database.keyset import fetch_page
from server.core.database.metadata import metadata
from server.core.database.store import Store, count_of
from server.core.database.types import Digest, Id, Json, Label, Timestamp, finite
from server.core.errors import NotFoundError
from server.core.paging import Page, PageRequest
from server.spaces.architecture import ArchitectureRecord
from server.spaces.store import ArchitectureStore
from server.studies.spec import parse_ranking_study_spec
from server.studies.states import StudyEntryState, StudyState
from server.studies.study import Correlation, HeldOutAccuracy, RankingResult, RankingStudy, StudyEntry, StudyQuery
from server.training.supernet import TrainingProgress

ranking_studies = sa.Table(
    "ranking_studies",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), nullable=False, index=True),
    sa.Column("supernet_version_id", Id, sa.ForeignKey("supernet_versions.id"), nullable=False),
    sa.Column("dataset", Label, nullable=False),
    sa.Column("state", Label, nullable=False, index=True),
    sa.Column("desired_state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("num_entries", sa.BigInteger, nullable=False),
    sa.Column("num_done", sa.BigInteger, nullable=False),
    sa.Column("num_failed", sa.BigInteger, nullable=False),
    sa.Column("result", Json),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)


ranking_entries = sa.Table(
    "ranking_entries",
    metadata,
    sa.Column("study_id", Id, sa.ForeignKey("ranking_studies.id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("arch_id", Digest, sa.ForeignKey("architectures.arch_id"), nullable=False),
    sa.Column("state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("shared_top1", sa.Double),
    sa.Column("shared_images", sa.BigInteger),
    sa.Column("alone_top1", sa.Double),
    sa.Column("alone_images", sa.BigInteger),
    sa.Column("progress", Json, nullable=False),
    sa.Column("resume_artifact_sha256", Digest),
    sa.Column("resume_step", sa.BigInteger, nullable=False),
    sa.Column("finished_at", Timestamp),
    finite("shared_top1"),
    finite("alone_top1"),
)


_CONVERTED = ("spec", "state", "desired_state", "result")


_SAME = tuple(column.name for column in ranking_studies.c if column.name not in _CONVERTED)


_ENTRY_SAME = ("study_id", "number", "reason", "resume_artifact_sha256", "resume_step", "finished_at")


class StudyStore(Store):
    """Studies as rows; the spec and the result are JSON."""

    def add(self, study: RankingStudy, entries: Sequence[StudyEntry]) -> None:
        """Store a new one with all of its entries and their architectures."""
        ArchitectureStore(self._tx).put([entry.record for entry in entries])
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
        return _entry(row, ArchitectureStore(self._tx).get(row.arch_id))

    def entries(self, study_id: str) -> tuple[StudyEntry, ...]:
        """Every entry, by number."""
        rows = self._connection.execute(_entries_of(study_id).order_by(ranking_entries.c.number)).all()
        records = ArchitectureStore(self._tx).get_many([row.arch_id for row in rows])
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
