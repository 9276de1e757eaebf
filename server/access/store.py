"""Tables of API tokens and enrolment tokens, and their stores."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from server.access.enrolment_token import EnrolmentToken
from server.access.token import ApiToken, Role
from server.core.database.metadata import metadata
from server.core.database.store import Store
from server.core.database.types import Digest, Id, Json, Label, Timestamp, now

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False),
    sa.Column("prefix", Label, nullable=False),
    sa.Column("secret_sha256", Digest, nullable=False, unique=True),
    sa.Column("roles", Json, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
    sa.Column("last_used_at", Timestamp),
)


enrolment_tokens = sa.Table(
    "enrolment_tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False),
    sa.Column("secret_sha256", Digest, nullable=False, unique=True),
    sa.Column("max_uses", sa.BigInteger),
    sa.Column("num_uses", sa.BigInteger, nullable=False),
    sa.Column("labels", Json, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
)


def token_from_row(row: sa.Row[Any]) -> EnrolmentToken:
    """An enrolment token as a value."""
    return EnrolmentToken(
        id=row.id,
        name=row.name,
        secret_sha256=row.secret_sha256,
        max_uses=row.max_uses,
        num_uses=row.num_uses,
        labels=row.labels,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


class EnrolmentTokenStore(Store):
    """Enrolment tokens as rows."""

    def add(self, token: EnrolmentToken) -> None:
        """Store a new one."""
        self._connection.execute(sa.insert(enrolment_tokens).values({**asdict(token), "labels": dict(token.labels)}))

    def locked_by_secret(self, secret_sha256: str) -> EnrolmentToken | None:
        """Find one by the digest of its secret, locked."""
        statement = sa.select(enrolment_tokens).where(enrolment_tokens.c.secret_sha256 == secret_sha256)
        row = self._connection.execute(statement.with_for_update()).one_or_none()
        return None if row is None else token_from_row(row)

    def count_use(self, token_id: str) -> None:
        """Count one use."""
        self._update(token_id, {"num_uses": enrolment_tokens.c.num_uses + 1})

    def revoke(self, token_id: str) -> None:
        """Let no device enrol with it any more."""
        self._one(sa.select(enrolment_tokens).where(enrolment_tokens.c.id == token_id), "enrolment token", token_id)
        self._update(token_id, {"revoked_at": now()})

    def all(self) -> tuple[EnrolmentToken, ...]:
        """All of them, oldest first."""
        rows = self._connection.execute(sa.select(enrolment_tokens).order_by(enrolment_tokens.c.id))
        return tuple(token_from_row(row) for row in rows)

    def _update(self, token_id: str, values: dict[str, Any]) -> None:
        self._connection.execute(sa.update(enrolment_tokens).where(enrolment_tokens.c.id == token_id).values(values))


BOOTSTRAP_LOCK = 7_316_002


class TokenStore(Store):
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
