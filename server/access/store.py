"""Tables of API tokens and enrolment tokens, and their stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.measuring.environment import DeviceClass
from server.access.enrolment_token import EnrolmentToken
from server.access.page_session import PageSession
from server.access.principal import Principal
from server.access.token import ApiToken, Role
from server.core.database.metadata import metadata
from server.core.database.prepared import fetch
from server.core.database.rows import Rows
from server.core.database.statements import key_conditions, key_parameters
from server.core.database.store import Store
from server.core.database.types import Digest, EnumText, Id, JsonOf, Label, Timestamp, now
from server.core.errors import NotFoundError
from server.core.paging import Page, PageRequest

principals = sa.Table(
    "principals",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False, unique=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("weight", sa.Double, nullable=False, server_default="1"),
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
    sa.Column("device_class", EnumText(DeviceClass), nullable=False, server_default="emulated"),
    sa.Column("device_type", Label),
    sa.Column("max_uses", sa.BigInteger),
    sa.Column("num_uses", sa.BigInteger, nullable=False),
    sa.Column("labels", JsonOf(Mapping[str, str]), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
    owner_column(),
)


sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", Digest, primary_key=True),
    sa.Column("token_id", Id, sa.ForeignKey("api_tokens.id"), nullable=False, index=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False, index=True),
    sa.Column("revoked_at", Timestamp),
)


# What was uploaded by whom, day by day: what the quota of uploads counts.
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("quota_key", Id, primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
)


SESSIONS = Rows(PageSession, sessions)
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

    def find_principal(self, called: str) -> Principal | None:
        """Find the one of this id or this name; an id goes first, None where there is neither."""
        found = PRINCIPALS.select(sa.or_(principals.c.id == called, principals.c.name == called))
        first = sa.case((principals.c.id == called, 0), else_=1)
        return self._first(PRINCIPALS, found.order_by(first).limit(1))

    def page_of_principals(self, page: PageRequest) -> Page[Principal]:
        """List them, oldest first."""
        return self._page(PRINCIPALS, PRINCIPALS.select(), page, id_column=principals.c.id)

    def owner_of(self, id_column: sa.Column[Any], id: str, kind: str) -> Principal | None:
        """Read who owns a thing of any table that has an `owner_column`; None for nobody.

        Args:
            id_column: of the table.
            kind: of the thing, for NotFoundError.

        Raises:
            NotFoundError: there is no such thing.
        """
        table = id_column.table
        source = table.outerjoin(principals, principals.c.id == table.c.owner_id)
        found = self._connection.execute(sa.select(*PRINCIPALS.columns).select_from(source).where(id_column == id))
        row = found.one_or_none()
        if row is None:
            raise NotFoundError(kind, id)
        return None if row[0] is None else PRINCIPALS.value_of(row)

    def get_principal(self, principal_id: str) -> Principal:
        """Read one. Raises NotFoundError."""
        return self._get(PRINCIPALS, principals.c.id, principal_id, "principal")

    def weigh_principal(self, principal_id: str, weight: float) -> Principal:
        """Set its weight. Raises NotFoundError."""
        self._connection.execute(sa.update(principals).where(principals.c.id == principal_id).values(weight=weight))
        return self.get_principal(principal_id)

    def lock_principal(self, principal_id: str) -> None:
        """Hold a principal until the transaction ends: what it may still have is counted by one at a time."""
        self._connection.execute(sa.select(principals.c.id).where(principals.c.id == principal_id).with_for_update())


class SessionStore(Store):
    """Sessions of the web pages as rows."""

    def add_session(self, session: PageSession) -> None:
        self._insert(SESSIONS, session)

    def find_session(self, session_id: str) -> PageSession | None:
        """Find one by the digest of its secret."""
        return self._first(SESSIONS, SESSIONS.select(sessions.c.id == session_id))

    def sessions_of(self, ids: Iterable[str]) -> list[PageSession]:
        """Read those of these ids that are sessions."""
        return self._list_in(SESSIONS, sessions.c.id, ids)

    def prolong_session(self, session_id: str, expires_at: datetime) -> None:
        """Let it end later."""
        self._connection.execute(sa.update(sessions).where(sessions.c.id == session_id).values(expires_at=expires_at))

    def revoke_session(self, session_id: str) -> None:
        """Refuse it from now on."""
        mine = sa.and_(sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
        self._connection.execute(sa.update(sessions).where(mine).values(revoked_at=now()))

    def num_open_of(self, token_id: str) -> int:
        """How many of a token's have neither been logged out nor expired, as far as it is written down."""
        mine = sa.and_(sessions.c.token_id == token_id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > now())
        return self._connection.execute(sa.select(sa.func.count()).select_from(sessions).where(mine)).scalar_one()

    def prune_sessions(self, before: datetime) -> None:
        """Delete those that ended earlier."""
        self._connection.execute(sa.delete(sessions).where(sessions.c.expires_at < before))


class UploadStore(Store):
    """How much was uploaded, by whom and on which day."""

    def uploaded_bytes(self, quota_key: str, day: str) -> int:
        """What was written down for a day."""
        mine = sa.and_(uploads.c.quota_key == quota_key, uploads.c.day == day)
        return self._connection.execute(sa.select(uploads.c.num_bytes).where(mine)).scalar_one_or_none() or 0

    def add_uploaded(self, quota_key: str, day: str, num_bytes: int) -> None:
        """Count some more."""
        self._insert_ignore(uploads, [{"quota_key": quota_key, "day": day, "num_bytes": 0}])
        mine = sa.and_(uploads.c.quota_key == quota_key, uploads.c.day == day)
        added = uploads.c.num_bytes + num_bytes
        self._connection.execute(sa.update(uploads).where(mine).values(num_bytes=added))

    def prune_uploads(self, before_day: str) -> None:
        """Forget earlier days."""
        self._connection.execute(sa.delete(uploads).where(uploads.c.day < before_day))


class EnrolmentTokenStore(Store):
    """Enrolment tokens as rows."""

    def add_enrolment_token(self, token: EnrolmentToken) -> None:
        self._insert(ENROLMENT_TOKENS, token)

    def lock_enrolment_token_by_secret(self, secret_sha256: str) -> EnrolmentToken | None:
        """Find one by the digest of its secret and hold it until the transaction ends."""
        statement = ENROLMENT_TOKENS.select(enrolment_tokens.c.secret_sha256 == secret_sha256)
        return self._first(ENROLMENT_TOKENS, statement.with_for_update(of=enrolment_tokens))

    def find_enrolment_token_by_secret(self, secret_sha256: str) -> EnrolmentToken | None:
        """Find one by the digest of its secret, revoked or not; None where no token has it."""
        return self._find(ENROLMENT_TOKENS, enrolment_tokens.c.secret_sha256, secret_sha256)

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


_OF_TOKEN = sa.select(
    sa.or_(
        *(sa.exists().where(*key_conditions(table.c.secret_sha256)) for table in (api_tokens, enrolment_tokens)),
    )
)


class TokenStore(Store):
    """API tokens as rows, with the digest of their secrets."""

    def add_token(self, token: ApiToken) -> None:
        self._insert(API_TOKENS, token)

    def get_token(self, token_id: str) -> ApiToken:
        """Read one token by its id, a revoked one too."""
        return self._one(API_TOKENS, API_TOKENS.select(api_tokens.c.id == token_id), "token", token_id)

    def find_token_by_secret(self, secret_sha256: str) -> ApiToken | None:
        """Find one by the digest of its secret; None where no token has it."""
        return self._find(API_TOKENS, api_tokens.c.secret_sha256, secret_sha256)

    def is_secret_of_token(self, secret_sha256: str) -> bool:
        """Whether an API token or an enrolment token has the secret of this digest, revoked or not."""
        ((is_known,),) = fetch(self._connection, _OF_TOKEN, key_parameters(secret_sha256))
        return bool(is_known)

    def revoke_token(self, token_id: str) -> None:
        """Refuse a token from now on."""
        self.get_token(token_id)
        self._connection.execute(sa.update(api_tokens).where(api_tokens.c.id == token_id).values(revoked_at=now()))

    def touch_tokens(self, used_at: Mapping[str, datetime]) -> None:
        """Set last_used_at of tokens, by their ids, where that is later than what is stored."""
        for token_id, at in used_at.items():
            earlier = sa.or_(api_tokens.c.last_used_at.is_(None), api_tokens.c.last_used_at < at)
            statement = sa.update(api_tokens).where(api_tokens.c.id == token_id, earlier)
            self._connection.execute(statement.values(last_used_at=at))

    def tokens_of(self, ids: Iterable[str]) -> list[ApiToken]:
        """Read those of these ids that are tokens."""
        return self._list_in(API_TOKENS, api_tokens.c.id, ids)

    def all_tokens(self, owner: str | None = None) -> tuple[ApiToken, ...]:
        """Every token, or those of an owner, oldest first."""
        found = owned_by(API_TOKENS.select(), api_tokens.c.principal_id, owner)
        return self._list(API_TOKENS, found.order_by(api_tokens.c.id))

    def lock_bootstrap(self) -> bool:
        """Hold the right to make the first tokens until the transaction ends; True if there are none."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(BOOTSTRAP_LOCK)))
        return self._connection.execute(sa.select(sa.func.count()).select_from(api_tokens)).scalar_one() == 0
