"""Idempotency keys: a request that is sent again gets the answer it had; the table, its store and its use case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.types import Digest, JsonOf, Label, Timestamp
from server.core.errors import ConflictError, IdempotencyKeyReusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyScope:
    """What an idempotency key is unique within.

    Attributes:
        caller: id of the token, or "" without authentication.
        method, path: of the request.
        key: as the caller sent it.
    """

    caller: str
    method: str
    path: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """An answer to be given again to a repeated request.

    Attributes:
        status: HTTP status.
        headers: (name, value) pairs to be repeated, e.g. Location, ETag.
        body: UTF-8 text.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


@dataclass(frozen=True, slots=True)
class IdempotentResult:
    """The answer, and whether it was given before."""

    response: StoredResponse
    replayed: bool


KEEP = timedelta(hours=72)


class Idempotency:
    """Runs an action once per key."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def run(self, scope: IdempotencyScope, fingerprint: str, action: Callable[[], StoredResponse]) -> IdempotentResult:
        """Do `action` and store its answer, or give the stored one.

        Whatever use cases `action` calls join this transaction: effect and answer are committed together. An action
        that raises stores nothing, and may be repeated with the same key. It may be run again after a serialisation
        failure, so it must have no effect outside the database.

        Args:
            fingerprint: sha256 of the request's content; the same key must come with the same content.

        Raises:
            IdempotencyKeyReusedError: the key was used for other content.
        """

        def work(tx: Transaction) -> IdempotentResult:
            if IdempotencyStore(tx).reserve_key(scope, fingerprint):
                response = action()
                IdempotencyStore(tx).store_response(scope, response)
                return IdempotentResult(response, replayed=False)
            found = IdempotencyStore(tx).find_response(scope)
            if found is None:
                raise ConflictError(f"idempotency key {scope.key!r} is in use by a request that is still running")
            stored_fingerprint, response = found
            if stored_fingerprint != fingerprint:
                raise IdempotencyKeyReusedError(scope.key)
            return IdempotentResult(response, replayed=True)

        return self._uow.write(work)

    def prune(self) -> int:
        """Forget keys older than 72 hours; returns how many."""
        return self._uow.write(lambda tx: IdempotencyStore(tx).prune_keys(tx.now() - KEEP))


idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("caller", Label, primary_key=True),
    sa.Column("method", Label, primary_key=True),
    sa.Column("path", sa.String(500), primary_key=True),
    sa.Column("key", Label, primary_key=True),
    sa.Column("fingerprint", Digest, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("headers", JsonOf(tuple[tuple[str, str], ...])),
    sa.Column("body", sa.Text),
    sa.Column("created_at", Timestamp, nullable=False, index=True),
)


_SCOPE = ("caller", "method", "path", "key")
_ANSWER = ("status", "headers", "body")
SCOPES = Rows(IdempotencyScope, idempotency_keys, beside=("fingerprint", "created_at", *_ANSWER))
RESPONSES = Rows(StoredResponse, idempotency_keys, beside=("fingerprint", "created_at", *_SCOPE))


class IdempotencyStore(Store):
    """Idempotency keys with the answers they stand for."""

    def reserve_key(self, scope: IdempotencyScope, fingerprint: str) -> bool:
        """Take a key; False where it is taken."""
        row = {**SCOPES.row_of(scope), "fingerprint": fingerprint, "created_at": self._tx.now()}
        return self._insert_ignore(idempotency_keys, [row]) == 1

    def find_response(self, scope: IdempotencyScope) -> tuple[str, StoredResponse] | None:
        """Fingerprint and answer stored under a key."""
        statement = RESPONSES.select(_same_key(scope)).add_columns(idempotency_keys.c.fingerprint)
        row = self._connection.execute(statement).one_or_none()
        if row is None or row.status is None:
            return None
        return row.fingerprint, RESPONSES.value_of(row)

    def store_response(self, scope: IdempotencyScope, response: StoredResponse) -> None:
        """Store the answer under a reserved key."""
        self._connection.execute(sa.update(idempotency_keys).where(_same_key(scope)).values(RESPONSES.row_of(response)))

    def prune_keys(self, before: datetime) -> int:
        """Delete older ones; returns how many."""
        statement = sa.delete(idempotency_keys).where(idempotency_keys.c.created_at < before)
        return int(self._connection.execute(statement).rowcount)


def _same_key(scope: IdempotencyScope) -> sa.ColumnElement[bool]:
    k = idempotency_keys.c
    return sa.and_(k.caller == scope.caller, k.method == scope.method, k.path == scope.path, k.key == scope.key)
