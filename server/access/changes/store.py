"""Table of changes, and its store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from server.access.changes.change import ActorKind, Change, ChangeAction, ChangeQuery, SubjectKind
from server.access.token import Role
from server.core.database.keyset import fetch_page
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.statements import insert_row
from server.core.database.store import Store, where_given
from server.core.database.types import EnumText, Id, JsonOf, Label, Timestamp
from server.core.ids import IdPrefix, has_prefix
from server.core.paging import Page, PageRequest

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("action", EnumText(ChangeAction), nullable=False),
    sa.Column("kind", EnumText(SubjectKind), nullable=False),
    sa.Column("subject_id", Label, nullable=False),
    sa.Column("subject_name", Label, nullable=False),
    # No foreign keys: a record of what was done holds, whatever becomes of those that it names.
    sa.Column("owner_id", Id),
    sa.Column("actor_kind", EnumText(ActorKind), nullable=False),
    sa.Column("actor_id", Id, nullable=False),
    sa.Column("actor_name", Label, nullable=False),
    sa.Column("token_id", Id),
    sa.Column("token_name", Label, nullable=False),
    sa.Column("roles", JsonOf(frozenset[Role]), nullable=False),
    sa.Column("members", JsonOf(tuple[str, ...]), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_changes_created_at_id", "created_at", "id"),
    sa.Index("ix_changes_kind_created_at_id", "kind", "created_at", "id"),
    sa.Index("ix_changes_subject_id_created_at_id", "subject_id", "created_at", "id"),
    sa.Index("ix_changes_owner_id_created_at_id", "owner_id", "created_at", "id"),
    sa.Index("ix_changes_actor_id_created_at_id", "actor_id", "created_at", "id"),
    sa.Index("ix_changes_token_id_created_at_id", "token_id", "created_at", "id"),
)


CHANGES = Rows(
    Change,
    changes,
    paths={
        "actor_kind": "actor.kind",
        "actor_id": "actor.id",
        "actor_name": "actor.name",
        "token_id": "actor.token_id",
        "token_name": "actor.token_name",
        "roles": "actor.roles",
    },
)
_CREATED_US = sa.type_coerce(changes.c.created_at, sa.BigInteger).label("created_us")  # what a page token can carry


class ChangeStore(Store):
    """Changes as rows; they are written in the transaction of what they tell of."""

    def add_change(self, change: Change) -> None:
        """Store a record of a change, in the transaction of that change."""
        insert_row(self._connection, changes, CHANGES.row_of(change))

    def page_of_changes(self, query: ChangeQuery, page: PageRequest) -> Page[Change]:
        """List the changes that a query matches, newest first."""
        return fetch_page(
            self._connection,
            _filtered(query),
            page,
            id_column=changes.c.id,
            from_row=CHANGES.value_of,
            value_column=_CREATED_US,
            descending=True,
            has_nulls=False,
        )

    def registered(self, kind: SubjectKind) -> frozenset[str]:
        """Ids of those of a kind that were registered last, not unregistered."""
        c = changes.c
        query = sa.select(c.subject_id, c.action).where(c.kind == kind).order_by(c.created_at, c.id)
        last = {row.subject_id: row.action for row in self._connection.execute(query)}
        return frozenset(id for id, action in last.items() if action is ChangeAction.REGISTER)

    def prune_changes(self, before: datetime, kept: SubjectKind) -> int:
        """Delete older ones, but those of one kind; returns how many."""
        old = sa.delete(changes).where(changes.c.created_at < before, changes.c.kind != kept)
        return int(self._connection.execute(old).rowcount)


def _filtered(query: ChangeQuery) -> sa.Select[Any]:
    c = changes.c
    by_token = query.actor is not None and has_prefix(query.actor, IdPrefix.TOKEN)
    wanted = {
        (c.token_id if by_token else c.actor_id): query.actor,
        c.actor_kind: query.actor_kinds,
        c.kind: query.kinds,
        c.action: query.actions,
        c.subject_id: query.subject_id,
    }
    statement = where_given(CHANGES.select(), wanted).add_columns(_CREATED_US)
    if query.visible_to is not None:
        statement = statement.where(sa.or_(c.owner_id == query.visible_to, c.actor_id == query.visible_to))
    if query.since is not None:
        statement = statement.where(c.created_at >= query.since)
    if query.until is not None:
        statement = statement.where(c.created_at < query.until)
    return statement
