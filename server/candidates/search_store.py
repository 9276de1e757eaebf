"""Tables of searches and checkpoints, and their stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.domain.json_value import JsonValue
from server.candidates.search import Checkpoint, Search, SearchProgress, SearchQuery
from server.candidates.spec import parse_search_spec
from server.candidates.states import DesiredState, SearchState
from server.core.database.keyset import fetch_page
from server.core.database.labels import with_labels
from server.core.database.metadata import metadata
from server.core.database.store import Store, count_of
from server.core.database.types import Digest, Id, Json, Label, Timestamp
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest

searches = sa.Table(
    "searches",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("state", Label, nullable=False, index=True),
    sa.Column("desired_state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("space_id", Label, nullable=False),
    sa.Column("hardware_key", Digest),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), index=True),
    sa.Column("supernet_version_id", Id),
    sa.Column("checkpoint_seq", sa.BigInteger, nullable=False),
    sa.Column("progress", Json, nullable=False),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)


checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    # Text, not JSONB: an algorithm's state must come back exactly (1e20 as a float, -0.0 with its sign).
    sa.Column("payload", sa.JSON(none_as_null=True), nullable=False),
    sa.Column("code_version", Label, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
)


_FINAL = tuple(state.value for state in SearchState if state.final)


class SearchStore(Store):
    """Searches as rows; the spec and the progress are JSON."""

    def add(self, search: Search) -> None:
        """Store a new search."""
        self._connection.execute(sa.insert(searches).values(_search_row(search)))
        self._put_labels(search.id, search.spec.labels)

    def get(self, search_id: str) -> Search:
        """Read one."""
        return _search(self._one(sa.select(searches).where(searches.c.id == search_id), "search", search_id))

    def lock(self, search_id: str) -> Search:
        """Read one and hold it until the transaction ends."""
        statement = sa.select(searches).where(searches.c.id == search_id).with_for_update()
        return _search(self._one(statement, "search", search_id))

    def save(self, search: Search) -> Search:
        """Write a locked search with its version one higher."""
        written = replace(search, version=search.version + 1)
        row = _search_row(written)
        self._connection.execute(sa.update(searches).where(searches.c.id == search.id).values(row))
        self._put_labels(search.id, search.spec.labels)
        return written

    def page(self, query: SearchQuery, page: PageRequest) -> Page[Search]:
        """List; ordered by id."""
        return fetch_page(
            self._connection,
            _filtered(query),
            page,
            id_column=searches.c.id,
            from_row=_search,
            descending=query.newest_first,
        )

    def count(self, query: SearchQuery) -> int:
        """How many `page` would list in all."""
        return count_of(self._connection, _filtered(query))

    def in_states(self, states: Sequence[SearchState]) -> tuple[Search, ...]:
        """All searches in these states, by id."""
        wanted = searches.c.state.in_([state.value for state in states])
        rows = self._connection.execute(sa.select(searches).where(wanted).order_by(searches.c.id))
        return tuple(_search(row) for row in rows)

    def waiting_for(self, supernet_id: str) -> tuple[Search, ...]:
        """Searches that are not final and evaluate with this supernet, by id."""
        statement = (
            sa.select(searches)
            .where(searches.c.supernet_id == supernet_id, searches.c.state.not_in(_FINAL))
            .order_by(searches.c.id)
        )
        return tuple(_search(row) for row in self._connection.execute(statement))


class CheckpointStore(Store):
    """Checkpoints as rows."""

    def add(self, checkpoint: Checkpoint) -> None:
        """Store one; ConflictError where the search has one with this seq."""
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(checkpoints).values(asdict(checkpoint)))
        except IntegrityError as error:
            raise ConflictError(
                f"search {checkpoint.search_id} has a checkpoint {checkpoint.seq} already: another worker wrote it"
            ) from error

    def latest(self, search_id: str) -> Checkpoint | None:
        """The newest, None before the first."""
        statement = (
            sa.select(checkpoints)
            .where(checkpoints.c.search_id == search_id)
            .order_by(checkpoints.c.seq.desc())
            .limit(1)
        )
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else _checkpoint(row)

    def page(self, search_id: str, page: PageRequest) -> Page[Checkpoint]:
        """List, newest first."""
        return fetch_page(
            self._connection,
            sa.select(checkpoints).where(checkpoints.c.search_id == search_id),
            page,
            value_column=checkpoints.c.seq,
            id_column=checkpoints.c.search_id,
            from_row=_checkpoint,
            descending=True,
        )

    def prune(self, search_id: str, keep: int) -> int:
        """Delete all but the newest `keep`."""
        newest = (
            sa.select(checkpoints.c.seq)
            .where(checkpoints.c.search_id == search_id)
            .order_by(checkpoints.c.seq.desc())
            .limit(keep)
        )
        statement = sa.delete(checkpoints).where(
            checkpoints.c.search_id == search_id, checkpoints.c.seq.not_in(newest.scalar_subquery())
        )
        return int(self._connection.execute(statement).rowcount)


def _filtered(query: SearchQuery) -> sa.Select[Any]:
    statement = sa.select(searches)
    if query.states:
        statement = statement.where(searches.c.state.in_([state.value for state in query.states]))
    for column, wanted in (
        (searches.c.space_id, query.space_id),
        (searches.c.supernet_id, query.supernet_id),
        (searches.c.hardware_key, query.hardware_key),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    return with_labels(statement, searches.c.id, query.labels)


def _search_row(search: Search) -> dict[str, Any]:
    return {
        "id": search.id,
        "spec": search.spec.model_dump(mode="json"),
        "state": search.state.value,
        "desired_state": search.desired_state.value,
        "reason": search.reason,
        "space_id": search.spec.space.id,
        "hardware_key": search.hardware_key,
        "supernet_id": search.supernet_id,
        "supernet_version_id": search.supernet_version_id,
        "checkpoint_seq": search.checkpoint_seq,
        "progress": asdict(search.progress),
        "created_by": search.created_by,
        "created_at": search.created_at,
        "started_at": search.started_at,
        "finished_at": search.finished_at,
        "version": search.version,
    }


def _search(row: sa.Row[Any]) -> Search:
    progress = dict(row.progress)
    reference = progress.pop("reference_point", None)
    return Search(
        id=row.id,
        spec=parse_search_spec(row.spec),
        state=SearchState(row.state),
        desired_state=DesiredState(row.desired_state),
        reason=row.reason,
        hardware_key=row.hardware_key,
        supernet_id=row.supernet_id,
        supernet_version_id=row.supernet_version_id,
        checkpoint_seq=row.checkpoint_seq,
        progress=SearchProgress(**progress, reference_point=None if reference is None else tuple(reference)),
        created_by=row.created_by,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        version=row.version,
    )


def _checkpoint(row: sa.Row[Any]) -> Checkpoint:
    return Checkpoint(
        search_id=row.search_id,
        seq=row.seq,
        payload=cast(JsonValue, row.payload),
        code_version=row.code_version,
        created_at=row.created_at,
    )
