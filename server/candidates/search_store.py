"""Tables of searches and checkpoints, and their stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from server.access.store import OWNER, OWNER_PATH, owned_by, owner_column
from server.candidates.search import Search, SearchCheckpoint, SearchProgress, SearchQuery, UsedPlugin
from server.candidates.spec import SearchSpec, stored_search_spec
from server.candidates.states import DesiredState, SearchState
from server.core.database.labels import with_labels, with_words
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, count_of, where_given
from server.core.database.types import Digest, EnumText, Id, JsonOf, Label, Timestamp
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest

searches = sa.Table(
    "searches",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", JsonOf(SearchSpec, load=stored_search_spec), nullable=False),
    sa.Column("state", EnumText(SearchState), nullable=False, index=True),
    sa.Column("desired_state", EnumText(DesiredState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("space_id", Label, nullable=False),
    sa.Column("hardware_key", Digest),
    sa.Column("board_hardware_keys", JsonOf(Mapping[str, str]), nullable=False, server_default="{}"),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), index=True),
    sa.Column("supernet_version_id", Id),
    sa.Column("checkpoint_seq", sa.BigInteger, nullable=False),
    sa.Column("progress", JsonOf(SearchProgress), nullable=False),
    sa.Column("created_by", Id),
    owner_column(),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("moved_to", sa.Text),
    sa.Column("plugins", JsonOf(tuple[UsedPlugin, ...]), nullable=False, server_default="[]"),
    sa.Column("words", sa.Text),
    sa.Column("cloned_from", Id),
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


SEARCHES = Rows(Search, searches, paths={"space_id": "spec.space.id", **OWNER_PATH}, joined=OWNER)
CHECKPOINTS = Rows(SearchCheckpoint, checkpoints)


_FINAL = tuple(state for state in SearchState if state.final)


class SearchStore(Store):
    """Searches as rows; the spec and the progress are JSON."""

    def add_search(self, search: Search) -> None:
        self._insert(SEARCHES, search)
        self._put_labels(search.id, search.spec.labels)

    def get_search(self, search_id: str) -> Search:
        """Read one search, whatever its state."""
        return self._one(SEARCHES, SEARCHES.select(searches.c.id == search_id), "search", search_id)

    def lock_search(self, search_id: str) -> Search:
        """Read one and hold it until the transaction ends."""
        statement = SEARCHES.select(searches.c.id == search_id).with_for_update(of=searches)
        return self._one(SEARCHES, statement, "search", search_id)

    def save_search(self, search: Search) -> Search:
        """Write a locked search with its version one higher."""
        written = self._save(SEARCHES, search)
        self._put_labels(search.id, search.spec.labels)
        return written

    def page_of_searches(self, query: SearchQuery, page: PageRequest) -> Page[Search]:
        """List the searches that a query matches, by id."""
        return self._page(SEARCHES, _filtered(query), page, id_column=searches.c.id, descending=query.newest_first)

    def count_searches(self, query: SearchQuery) -> int:
        """Count the searches that a query matches."""
        return count_of(self._connection, _filtered(query))

    def open_searches_of(self, owner_id: str) -> tuple[Search, ...]:
        """Searches of an owner that are not over."""
        return self._list(SEARCHES, SEARCHES.select(searches.c.owner_id == owner_id, searches.c.state.not_in(_FINAL)))

    def searches_in_states(self, states: Sequence[SearchState]) -> tuple[Search, ...]:
        """All searches in these states, by id."""
        found = SEARCHES.select(searches.c.state.in_(states), searches.c.moved_to.is_(None))
        return self._list(SEARCHES, found.order_by(searches.c.id))

    def searches_waiting_for_supernet(self, supernet_id: str) -> tuple[Search, ...]:
        """Searches that are not final and evaluate with this supernet, by id."""
        waiting = SEARCHES.select(searches.c.supernet_id == supernet_id, searches.c.state.not_in(_FINAL))
        return self._list(SEARCHES, waiting.order_by(searches.c.id))


class CheckpointStore(Store):
    """Checkpoints of searches as rows, one for each step."""

    def add_checkpoint(self, checkpoint: SearchCheckpoint) -> None:
        """Store one; ConflictError where the search has one with this seq."""
        try:
            with self._connection.begin_nested():
                self._insert(CHECKPOINTS, checkpoint)
        except IntegrityError as error:
            raise ConflictError(
                f"search {checkpoint.search_id} has a checkpoint {checkpoint.seq} already: another worker wrote it"
            ) from error

    def latest_checkpoint(self, search_id: str) -> SearchCheckpoint | None:
        """Read the newest checkpoint of a search; None before the first."""
        of_search = CHECKPOINTS.select(checkpoints.c.search_id == search_id)
        return self._first(CHECKPOINTS, of_search.order_by(checkpoints.c.seq.desc()).limit(1))

    def page_of_checkpoints(self, search_id: str, page: PageRequest) -> Page[SearchCheckpoint]:
        """List the checkpoints of a search, newest first."""
        return self._page(
            CHECKPOINTS,
            CHECKPOINTS.select(checkpoints.c.search_id == search_id),
            page,
            value_column=checkpoints.c.seq,
            id_column=checkpoints.c.search_id,
            descending=True,
        )

    def prune_checkpoints(self, search_id: str, keep: int) -> int:
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
    c = searches.c
    wanted = {
        c.state: query.states,
        c.space_id: query.space_id,
        c.supernet_id: query.supernet_id,
        c.hardware_key: query.hardware_key,
    }
    statement = owned_by(where_given(SEARCHES.select(c.moved_to.is_(None)), wanted), c.owner_id, query.owner)
    return with_words(with_labels(statement, c.id, query.labels), query.words, c.words, c.state)
