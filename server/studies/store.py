"""Tables of ranking studies and their entries, and their store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from server.access.store import OWNER, OWNER_PATH, owned_by, owner_column
from server.candidates.states import DesiredState
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, count_of, where_given
from server.core.database.types import Digest, EnumText, Id, JsonOf, Label, Timestamp, finite
from server.core.paging import Page, PageRequest
from server.spaces.store import ARCHITECTURES, ArchitectureStore
from server.studies.spec import RankingStudySpec, parse_ranking_study_spec
from server.studies.states import StudyEntryState, StudyState
from server.studies.study import RankingResult, RankingStudy, StudyEntry, StudyQuery
from server.training.training import TrainingProgress

ranking_studies = sa.Table(
    "ranking_studies",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", JsonOf(RankingStudySpec, load=parse_ranking_study_spec), nullable=False),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), nullable=False, index=True),
    sa.Column("supernet_version_id", Id, sa.ForeignKey("supernet_versions.id"), nullable=False),
    sa.Column("dataset", Label, nullable=False),
    sa.Column("state", EnumText(StudyState), nullable=False, index=True),
    sa.Column("desired_state", EnumText(DesiredState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("num_entries", sa.BigInteger, nullable=False),
    sa.Column("num_done", sa.BigInteger, nullable=False),
    sa.Column("num_failed", sa.BigInteger, nullable=False),
    sa.Column("result", JsonOf(RankingResult)),
    sa.Column("created_by", Id),
    owner_column(),
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
    sa.Column("state", EnumText(StudyEntryState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("shared_top1", sa.Double),
    sa.Column("shared_images", sa.BigInteger),
    sa.Column("alone_top1", sa.Double),
    sa.Column("alone_images", sa.BigInteger),
    sa.Column("progress", JsonOf(TrainingProgress), nullable=False),
    sa.Column("resume_artifact_sha256", Digest),
    sa.Column("resume_step", sa.BigInteger, nullable=False),
    sa.Column("finished_at", Timestamp),
    finite("shared_top1"),
    finite("alone_top1"),
)


STUDIES = Rows(RankingStudy, ranking_studies, paths=OWNER_PATH, joined=OWNER)
ENTRIES = Rows(
    StudyEntry,
    ranking_entries,
    paths={
        "arch_id": "record.arch_id",
        "shared_top1": "inherited.top1",
        "shared_images": "inherited.num_images",
        "alone_top1": "standalone.top1",
        "alone_images": "standalone.num_images",
    },
    joined={"record": ARCHITECTURES},
)


class StudyStore(Store):
    """Studies as rows; the spec and the result are JSON."""

    def add_study(self, study: RankingStudy, entries: Sequence[StudyEntry]) -> None:
        """Store a new one with all of its entries and their architectures."""
        ArchitectureStore(self._tx).put_architectures([entry.record for entry in entries])
        self._insert(STUDIES, study)
        self._insert(ENTRIES, *entries)

    def get_study(self, study_id: str) -> RankingStudy:
        """Read a study by its id. Raises NotFoundError."""
        return self._one(STUDIES, STUDIES.select(ranking_studies.c.id == study_id), "ranking study", study_id)

    def lock_study(self, study_id: str) -> RankingStudy:
        """Read one and hold it, and with it its entries, until the transaction ends."""
        statement = STUDIES.select(ranking_studies.c.id == study_id).with_for_update(of=ranking_studies)
        return self._one(STUDIES, statement, "ranking study", study_id)

    def save_study(self, study: RankingStudy) -> RankingStudy:
        """Write a locked one with its version one higher."""
        return self._save(STUDIES, study)

    def page_of_studies(self, query: StudyQuery, page: PageRequest) -> Page[RankingStudy]:
        """List the studies that a query selects, newest first."""
        return self._page(STUDIES, _filtered(query), page, id_column=ranking_studies.c.id, descending=True)

    def count_studies(self, query: StudyQuery) -> int:
        """How many `page` would list in all."""
        return count_of(self._connection, _filtered(query))

    def num_open_of(self, owner_id: str) -> int:
        """How many of an owner's are not over."""
        c = ranking_studies.c
        going_on = c.state.in_([state for state in StudyState if not state.final])
        return count_of(self._connection, sa.select(c.id).where(c.owner_id == owner_id, going_on))

    def get_study_entry(self, study_id: str, number: int) -> StudyEntry:
        """Read one entry of a study. Raises NotFoundError."""
        statement = _entries_of(study_id).where(ranking_entries.c.number == number)
        return self._one(ENTRIES, statement, "entry of ranking study", f"{study_id}/{number}")

    def study_entries(self, study_id: str) -> tuple[StudyEntry, ...]:
        """Every entry, by number."""
        return self._list(ENTRIES, _entries_of(study_id).order_by(ranking_entries.c.number))

    def save_study_entry(self, entry: StudyEntry) -> None:
        """Write an entry of a locked study."""
        mine = (ranking_entries.c.study_id == entry.study_id, ranking_entries.c.number == entry.number)
        self._connection.execute(sa.update(ranking_entries).where(*mine).values(ENTRIES.row_of(entry)))


def _entries_of(study_id: str) -> sa.Select[Any]:
    return ENTRIES.select(ranking_entries.c.study_id == study_id)


def _filtered(query: StudyQuery) -> sa.Select[Any]:
    c = ranking_studies.c
    wanted = where_given(STUDIES.select(), {c.state: query.states, c.supernet_id: query.supernet_id})
    return owned_by(wanted, c.owner_id, query.owner)
