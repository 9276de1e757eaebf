"""Tables of API tokens and enrolment tokens, and their stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from server.access.enrolment_token import EnrolmentToken
from server.access.principal import Principal
from server.access.token import ApiToken, Role
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.types import Digest, Id, JsonOf, Label, Timestamp, now

principals = sa.Table(
    "principals",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False, unique=True),
    sa.Column("created_at", Timestamp, nullable=False),
)


OWNER_PATH = {"owner_id": "owner.id"}
"""For `Rows`: the column of `owner_column` holds the id of the value's owner."""


def owner_column() -> sa.Column[Any]:
    """The column of a thing's owner, for any table of things that have one."""
    return sa.Column("owner_id", Id, sa.ForeignKey("principals.id"))


def owned_by(statement: sa.Select[Any], column: sa.Column[Any], owner: str | None) -> sa.Select[Any]:
    """Keep rows whose owner has this id or this name; None does not filter."""
    if owner is None:
        return statement
    called = sa.select(principals.c.id).where(sa.or_(principals.c.id == owner, principals.c.name == owner))
    return statement.where(column.in_(called))


api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False),
    sa.Column("prefix", Label, nullable=False),
    sa.Column("secret_sha256", Digest, nullable=False, unique=True),
    sa.Column("roles", JsonOf(frozenset[Role]), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
    sa.Column("last_used_at", Timestamp),
    sa.Column("principal_id", Id, sa.ForeignKey("principals.id")),
)


enrolment_tokens = sa.Table(
    "enrolment_tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False),
    sa.Column("secret_sha256", Digest, nullable=False, unique=True),
    sa.Column("max_uses", sa.BigInteger),
    sa.Column("num_uses", sa.BigInteger, nullable=False),
    sa.Column("labels", JsonOf(Mapping[str, str]), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
    owner_column(),
)


PRINCIPALS = Rows(Principal, principals)
OWNER = {"owner": PRINCIPALS}
"""For `Rows`: where the owner of a value is read from."""
API_TOKENS = Rows(ApiToken, api_tokens, paths={"principal_id": "owner.id"}, joined=OWNER)
ENROLMENT_TOKENS = Rows(EnrolmentToken, enrolment_tokens, paths=OWNER_PATH, joined=OWNER)


class PrincipalStore(Store):
    """Principals as rows."""

    def put_principal(self, principal: Principal) -> Principal:
        """Store one, or give back the one that has its name already."""
        self._insert_ignore(principals, [PRINCIPALS.row_of(principal)])
        found = PRINCIPALS.select(principals.c.name == principal.name)
        return self._one(PRINCIPALS, found, "principal", principal.name)


class EnrolmentTokenStore(Store):
    """Enrolment tokens as rows."""

    def add_enrolment_token(self, token: EnrolmentToken) -> None:
        self._insert(ENROLMENT_TOKENS, token)

    def lock_enrolment_token_by_secret(self, secret_sha256: str) -> EnrolmentToken | None:
        """Find one by the digest of its secret and hold it until the transaction ends."""
        statement = ENROLMENT_TOKENS.select(enrolment_tokens.c.secret_sha256 == secret_sha256)
        return self._first(ENROLMENT_TOKENS, statement.with_for_update(of=enrolment_tokens))

    def count_use_of_enrolment_token(self, token_id: str) -> None:
        self._update(token_id, {"num_uses": enrolment_tokens.c.num_uses + 1})

    def revoke_enrolment_token(self, token_id: str) -> None:
        """Let no device enrol with it any more."""
        statement = ENROLMENT_TOKENS.select(enrolment_tokens.c.id == token_id)
        self._one(ENROLMENT_TOKENS, statement, "enrolment token", token_id)
        self._update(token_id, {"revoked_at": now()})

    def all_enrolment_tokens(self, owner: str | None = None) -> tuple[EnrolmentToken, ...]:
        """All of them, or those of an owner, oldest first."""
        found = owned_by(ENROLMENT_TOKENS.select(), enrolment_tokens.c.owner_id, owner)
        return self._list(ENROLMENT_TOKENS, found.order_by(enrolment_tokens.c.id))

    def _update(self, token_id: str, values: dict[str, Any]) -> None:
        self._connection.execute(sa.update(enrolment_tokens).where(enrolment_tokens.c.id == token_id).values(values))


BOOTSTRAP_LOCK = 7_316_002


class TokenStore(Store):
    """API tokens as rows, with the digest of their secrets."""

    def add_token(self, token: ApiToken) -> None:
        self._insert(API_TOKENS, token)

    def get_token(self, token_id: str) -> ApiToken:
        """Read one token by its id, a revoked one too."""
        return self._one(API_TOKENS, API_TOKENS.select(api_tokens.c.id == token_id), "token", token_id)

    def find_token_by_secret(self, secret_sha256: str) -> ApiToken | None:
        """Find one by the digest of its secret; None where no token has it."""
        return self._first(API_TOKENS, API_TOKENS.select(api_tokens.c.secret_sha256 == secret_sha256))

    def revoke_token(self, token_id: str) -> None:
        """Refuse a token from now on."""
        self.get_token(token_id)
        self._connection.execute(sa.update(api_tokens).where(api_tokens.c.id == token_id).values(revoked_at=now()))

    def touch_token(self, token_id: str) -> None:
        """Set last_used_at to now."""
        self._connection.execute(sa.update(api_tokens).where(api_tokens.c.id == token_id).values(last_used_at=now()))

    def all_tokens(self, owner: str | None = None) -> tuple[ApiToken, ...]:
        """Every token, or those of an owner, oldest first."""
        found = owned_by(API_TOKENS.select(), api_tokens.c.principal_id, owner)
        return self._list(API_TOKENS, found.order_by(api_tokens.c.id))

    def lock_bootstrap(self) -> bool:
        """Hold the right to make the first tokens until the transaction ends; True if there are none."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(BOOTSTRAP_LOCK)))
        return self._connection.execute(sa.select(sa.func.count()).select_from(api_tokens)).scalar_one() == 0
