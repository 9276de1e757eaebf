"""`ArtifactRecords`, `EventStore`, `TokenStore` and `IdempotencyStore`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from server.db.keyset import fetch_page
from server.db.stores.base import Store
from server.db.tables.keeping import api_tokens, artifacts, events, idempotency_keys, model_exports
from server.db.types import now
from server.service.paging import Page, PageRequest
from server.service.states import Role
from server.service.values.artifact import Artifact, ModelExport, ModelFormat, WeightsOrigin
from server.service.values.event import Event, EventQuery, EventType, NewEvent
from server.service.values.token import ApiToken, IdempotencyScope, StoredResponse

# Keys of PostgreSQL advisory locks; any numbers that nothing else uses.
EVENT_LOCK = 7_316_001
BOOTSTRAP_LOCK = 7_316_002


class SqlArtifactRecords(Store):
    """What the database knows of artifacts."""

    def put(self, artifact: Artifact) -> None:
        """Store one, if it is not there yet."""
        self._insert_ignore(artifacts, [asdict(artifact)])

    def get(self, sha256: str) -> Artifact:
        """Read one."""
        return _artifact(self._one(sa.select(artifacts).where(artifacts.c.sha256 == sha256), "artifact", sha256))

    def find(self, sha256: str) -> Artifact | None:
        """Read one, None where there is none."""
        row = self._connection.execute(sa.select(artifacts).where(artifacts.c.sha256 == sha256)).one_or_none()
        return None if row is None else _artifact(row)

    def page(self, page: PageRequest) -> Page[Artifact]:
        """List, newest first."""
        # The sort value travels in page tokens, so it is the stored number rather than a datetime.
        created = sa.type_coerce(artifacts.c.created_at, sa.BigInteger).label("created_us")
        return fetch_page(
            self._connection,
            sa.select(artifacts, created),
            page,
            value_column=created,
            id_column=artifacts.c.sha256,
            from_row=_artifact,
            descending=True,
        )

    def add_export(self, export: ModelExport) -> None:
        """Remember which model file an architecture was exported to."""
        row = asdict(export)
        row.update(format=export.format.value, weights=export.weights.value, cpu_operators=list(export.cpu_operators))
        self._connection.execute(sa.insert(model_exports).values(row))

    def export(
        self,
        latency_key: str,
        format: ModelFormat,
        weights: Sequence[WeightsOrigin],
        supernet_version_id: str | None,
    ) -> ModelExport | None:
        """The newest export under this latency key; with a version id only one made from that version."""
        statement = sa.select(model_exports).where(
            model_exports.c.latency_key == latency_key,
            model_exports.c.format == format.value,
            model_exports.c.weights.in_([origin.value for origin in weights]),
        )
        if supernet_version_id is not None:
            statement = statement.where(model_exports.c.supernet_version_id == supernet_version_id)
        row = self._connection.execute(statement.order_by(model_exports.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else _export(row)

    def exports_of(self, arch_id: str) -> tuple[ModelExport, ...]:
        """Every export of an architecture, oldest first."""
        statement = sa.select(model_exports).where(model_exports.c.arch_id == arch_id).order_by(model_exports.c.id)
        return tuple(_export(row) for row in self._connection.execute(statement))


class SqlEventStore(Store):
    """The event log. New events wait in memory and get their ids at the end of the transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        super().__init__(connection)
        self._new: list[NewEvent] = []

    def append(self, event: NewEvent) -> None:
        """Store an event when the transaction commits."""
        self._new.append(event)

    @property
    def has_new(self) -> bool:
        """Whether anything waits to be stored."""
        return bool(self._new)

    def flush(self) -> None:
        """Store what waits; the last thing before a commit, so that ids grow in the order of commits."""
        if not self._new:
            return
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(EVENT_LOCK)))
        for event in self._new:
            values = {**asdict(event), "type": event.type.value, "payload": dict(event.payload), "created_at": now()}
            self._connection.execute(sa.insert(events).values(values))
        self._new.clear()

    def after(self, event_id: int, query: EventQuery, limit: int) -> tuple[Event, ...]:
        """Events with a larger id, oldest first."""
        statement = _filtered(query).where(events.c.id > event_id).order_by(events.c.id).limit(limit)
        return tuple(_event(row) for row in self._connection.execute(statement))

    def page(self, query: EventQuery, page: PageRequest) -> Page[Event]:
        """List, newest first."""
        return fetch_page(
            self._connection,
            _filtered(query),
            page,
            value_column=events.c.id,
            id_column=sa.cast(events.c.id, sa.String).label("id_text"),
            from_row=_event,
            descending=True,
        )

    def last_id(self) -> int:
        """The largest id; 0 without events."""
        return int(self._connection.execute(sa.select(sa.func.coalesce(sa.func.max(events.c.id), 0))).scalar_one())

    def prune(self, before: datetime) -> int:
        """Delete older ones; returns how many."""
        return int(self._connection.execute(sa.delete(events).where(events.c.created_at < before)).rowcount)


class SqlTokenStore(Store):
    """API tokens."""

    def add(self, token: ApiToken) -> None:
        """Store a new one."""
        row = {**asdict(token), "roles": sorted(role.value for role in token.roles)}
        self._connection.execute(sa.insert(api_tokens).values(row))

    def get(self, token_id: str) -> ApiToken:
        """Read one."""
        return _token(self._one(sa.select(api_tokens).where(api_tokens.c.id == token_id), "token", token_id))

    def by_secret(self, secret_sha256: str) -> ApiToken | None:
        """Find one by the digest of its secret."""
        statement = sa.select(api_tokens).where(api_tokens.c.secret_sha256 == secret_sha256)
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else _token(row)

    def revoke(self, token_id: str) -> None:
        """Let it be used no more."""
        self.get(token_id)
        self._connection.execute(sa.update(api_tokens).where(api_tokens.c.id == token_id).values(revoked_at=now()))

    def touch(self, token_id: str) -> None:
        """Set last_used_at to now."""
        self._connection.execute(sa.update(api_tokens).where(api_tokens.c.id == token_id).values(last_used_at=now()))

    def all(self) -> tuple[ApiToken, ...]:
        """Every token, oldest first."""
        rows = self._connection.execute(sa.select(api_tokens).order_by(api_tokens.c.id))
        return tuple(_token(row) for row in rows)

    def lock_bootstrap(self) -> bool:
        """Hold the right to make the first tokens until the transaction ends; True if there are none."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(BOOTSTRAP_LOCK)))
        return self._connection.execute(sa.select(sa.func.count()).select_from(api_tokens)).scalar_one() == 0


class SqlIdempotencyStore(Store):
    """Idempotency keys with the answers they stand for."""

    def reserve(self, scope: IdempotencyScope, fingerprint: str) -> bool:
        """Take a key; False where it is taken."""
        row = {**asdict(scope), "fingerprint": fingerprint, "created_at": self._now()}
        return self._insert_ignore(idempotency_keys, [row]) == 1

    def find(self, scope: IdempotencyScope) -> tuple[str, StoredResponse] | None:
        """Fingerprint and answer stored under a key."""
        row = self._connection.execute(sa.select(idempotency_keys).where(_same_key(scope))).one_or_none()
        if row is None or row.status is None:
            return None
        headers = tuple((name, value) for name, value in row.headers)
        return row.fingerprint, StoredResponse(status=row.status, headers=headers, body=row.body)

    def complete(self, scope: IdempotencyScope, response: StoredResponse) -> None:
        """Store the answer under a reserved key."""
        values = {
            "status": response.status,
            "headers": [list(header) for header in response.headers],
            "body": response.body,
        }
        self._connection.execute(sa.update(idempotency_keys).where(_same_key(scope)).values(values))

    def prune(self, before: datetime) -> int:
        """Delete older ones; returns how many."""
        statement = sa.delete(idempotency_keys).where(idempotency_keys.c.created_at < before)
        return int(self._connection.execute(statement).rowcount)

    def _now(self) -> datetime:
        return self._connection.execute(sa.select(now())).scalar_one()


def _same_key(scope: IdempotencyScope) -> sa.ColumnElement[bool]:
    k = idempotency_keys.c
    return sa.and_(k.caller == scope.caller, k.method == scope.method, k.path == scope.path, k.key == scope.key)


def _filtered(query: EventQuery) -> sa.Select[Any]:
    statement = sa.select(events, sa.cast(events.c.id, sa.String).label("id_text"))
    for column, wanted in (
        (events.c.search_id, query.search_id),
        (events.c.supernet_id, query.supernet_id),
        (events.c.device_id, query.device_id),
        (events.c.study_id, query.study_id),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    if query.types:
        statement = statement.where(events.c.type.in_([event_type.value for event_type in query.types]))
    return statement


def _artifact(row: sa.Row[Any]) -> Artifact:
    return Artifact(sha256=row.sha256, size_bytes=row.size_bytes, media_type=row.media_type, created_at=row.created_at)


def _export(row: sa.Row[Any]) -> ModelExport:
    return ModelExport(
        id=row.id,
        arch_id=row.arch_id,
        latency_key=row.latency_key,
        format=ModelFormat(row.format),
        weights=WeightsOrigin(row.weights),
        sha256=row.sha256,
        supernet_version_id=row.supernet_version_id,
        cpu_operators=tuple(row.cpu_operators),
        created_at=row.created_at,
    )


def _event(row: sa.Row[Any]) -> Event:
    return Event(
        id=row.id,
        type=EventType(row.type),
        payload=row.payload,
        search_id=row.search_id,
        supernet_id=row.supernet_id,
        device_id=row.device_id,
        study_id=row.study_id,
        created_at=row.created_at,
    )


def _token(row: sa.Row[Any]) -> ApiToken:
    return ApiToken(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        secret_sha256=row.secret_sha256,
        roles=frozenset(Role(role) for role in row.roles),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
