"""API tokens and enrolment tokens: made once, shown once, stored as digests."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nas_engine.domain.measuring.environment import DeviceClass
from server.access.changes.change import ChangeAction, SubjectKind
from server.access.changes.changes import Subject, note_own_change
from server.access.enrolment_token import EnrolmentDefaults, EnrolmentToken
from server.access.limits.uses import Uses
from server.access.principal import MAX_WEIGHT, MIN_WEIGHT, NOBODY, Creator, Principal
from server.access.store import EnrolmentTokenStore, PrincipalStore, TokenStore
from server.access.token import ApiToken, Role
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError, NotAuthenticatedError, NotPermittedError
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest

MIN_SECRET_LENGTH = 16
_TOUCH_EVERY = timedelta(minutes=1)
_PREFIX_LENGTH = 12


def new_secret(kind: str) -> str:
    """A fresh secret: ``nas_<kind>_`` and 43 URL-safe characters (256 bits, so a plain digest protects it)."""
    return f"nas_{kind}_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """What is stored in place of a secret: its sha256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BootstrapSecrets:
    """The two secrets made at first start. This is the only time they are known."""

    admin_token: str
    enrolment_token: str


class Tokens:
    """Use cases of API tokens."""

    def __init__(self, uow: UnitOfWork, enrolment: EnrolmentDefaults | None = None) -> None:
        self._uow = uow
        self._enrolment = enrolment or EnrolmentDefaults()
        self._uses = Uses()

    def bootstrap(
        self, *, admin_secret: str | None = None, enrolment_secret: str | None = None
    ) -> BootstrapSecrets | None:
        """At first start make one admin token and one enrolment token; None where there are tokens already. What the
        enrolment token lets in, and how long, is set by `EnrolmentDefaults`.

        Args:
            admin_secret, enrolment_secret: take these instead of fresh ones (from the environment).

        Raises:
            InvalidValueError: a given secret is shorter than 16 characters.
        """
        for given in (admin_secret, enrolment_secret):
            if given is not None and len(given) < MIN_SECRET_LENGTH:
                raise InvalidValueError(f"a given token has {len(given)} characters: use at least {MIN_SECRET_LENGTH}")
        made = BootstrapSecrets(admin_secret or new_secret("adm"), enrolment_secret or new_secret("enr"))

        def work(tx: Transaction) -> BootstrapSecrets | None:
            if not TokenStore(tx).lock_bootstrap():
                return None
            admin = _token(tx, "first admin", made.admin_token, {Role.ADMIN})
            now = tx.now()
            enrolment = EnrolmentToken(
                id=new_id(IdPrefix.ENROLMENT),
                name="first enrolment",
                secret_sha256=digest(made.enrolment_token),
                device_class=self._enrolment.first_class,
                device_type=self._enrolment.first_type,
                max_uses=self._enrolment.first_max_uses,
                created_at=now,
                expires_at=now + self._enrolment.first_lifetime,
                owner=admin.owner,
            )
            EnrolmentTokenStore(tx).add_enrolment_token(enrolment)
            for kind, id, name in (
                (SubjectKind.TOKEN, admin.id, admin.name),
                (SubjectKind.ENROLMENT, enrolment.id, enrolment.name),
            ):
                subject = Subject(name, admin.owner.id)
                note_own_change(tx, ChangeAction.CREATE, kind, id, subject, "the first start makes it")
            return made

        return self._uow.write(work)

    def create(
        self, name: str, roles: Iterable[Role], expires_at: datetime | None = None, *, principal: str | None = None
    ) -> tuple[ApiToken, str]:
        """A new token and its secret, which is not stored.

        Args:
            principal: name of who holds it, made where there is none of that name; None makes one for it alone.

        Raises:
            InvalidValueError: no role, or an expiry in the past.
        """
        granted = frozenset(roles)
        if not granted:
            raise InvalidValueError("a token needs at least one role: viewer, engineer, agent or admin")
        secret = new_secret("api")

        def work(tx: Transaction) -> ApiToken:
            if expires_at is not None and expires_at <= tx.now():
                raise InvalidValueError(f"expiry {expires_at.isoformat()} is not in the future")
            return _token(tx, name, secret, granted, expires_at, principal)

        return self._uow.write(work), secret

    def authenticate(self, secret: str) -> ApiToken:
        """The token with this secret.

        Raises:
            NotAuthenticatedError: unknown, revoked or expired.
        """

        def look(tx: Transaction) -> tuple[ApiToken | None, datetime]:
            return TokenStore(tx).find_token_by_secret(digest(secret)), tx.now()

        token, now = self._uow.read(look)
        if token is None or not token.usable(now):
            raise NotAuthenticatedError("the token is unknown, revoked or expired")
        self.note_use(token, now)
        return token

    def note_use(self, token: ApiToken, now: datetime) -> None:
        """Note in memory that a token was used: whoever only reads must not wait for writers."""
        if token.last_used_at is None or now - token.last_used_at > _TOUCH_EVERY:
            self._uses.note(token.id, now)

    def write_uses(self) -> None:
        """Write down the uses that were noted."""

        def write(noted: Mapping[str, datetime]) -> None:
            self._uow.write(lambda tx: TokenStore(tx).touch_tokens(noted))

        self._uses.write(write)

    def require(self, token: ApiToken, role: Role) -> None:
        """Refuse a token that may not do what `role` may.

        Raises:
            NotPermittedError: names the role that is needed.
        """
        if not token.permits(role):
            held = ", ".join(sorted(r.value for r in token.roles))
            raise NotPermittedError(f"token {token.id} has roles {held}: this needs {role.value}")

    def revoke(self, token_id: str) -> None:
        """Let a token be used no more. Raises NotFoundError."""
        self._uow.write(lambda tx: TokenStore(tx).revoke_token(token_id))

    def get(self, token_id: str) -> ApiToken:
        """One token. Raises NotFoundError."""
        return self._with_use(self._uow.read(lambda tx: TokenStore(tx).get_token(token_id)))

    def all(self, owner: str | None = None) -> tuple[ApiToken, ...]:
        """Every token, or those of a principal (by id or name), oldest first."""
        return tuple(map(self._with_use, self._uow.read(lambda tx: TokenStore(tx).all_tokens(owner))))

    def _with_use(self, token: ApiToken) -> ApiToken:
        return replace(token, last_used_at=self._uses.latest(token.id, token.last_used_at))


class Principals:
    """Use cases of principals: they are made with tokens, and stay."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def page_of_principals(self, page: PageRequest) -> Page[Principal]:
        """List them, oldest first."""
        return self._uow.read(lambda tx: PrincipalStore(tx).page_of_principals(page))

    def get_principal(self, principal_id: str) -> Principal:
        """Read one. Raises NotFoundError."""
        return self._uow.read(lambda tx: PrincipalStore(tx).get_principal(principal_id))

    def weigh(self, principal_id: str, weight: float) -> Principal:
        """Set how much of the measuring is its own while others wait too; jobs that wait already keep their turns.

        Raises:
            NotFoundError: there is no such principal.
            InvalidValueError: the weight is out of bounds.
        """
        if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
            raise InvalidValueError(f"weight {weight:g} is not between {MIN_WEIGHT:g} and {MAX_WEIGHT:g}")
        return self._uow.write(lambda tx: PrincipalStore(tx).weigh_principal(principal_id, weight))


class EnrolmentTokens:
    """Use cases of enrolment tokens, with which boards are let in."""

    def __init__(self, uow: UnitOfWork, defaults: EnrolmentDefaults | None = None) -> None:
        self._uow = uow
        self._defaults = defaults or EnrolmentDefaults()

    def create(
        self,
        name: str,
        *,
        device_class: DeviceClass = DeviceClass.EMULATED,
        device_type: str | None = None,
        max_uses: int | None = None,
        expires_at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        creator: Creator = NOBODY,
    ) -> tuple[EnrolmentToken, str]:
        """A new enrolment token and its secret, which is shown this once.

        Args:
            device_class: the most that devices let in with it may count as.
            device_type: the only type it lets in; None: any that holds no device of a more trusted class.
            max_uses, expires_at: None takes the default.

        Raises:
            InvalidValueError: a token for boards without their type.
        """
        if device_class is DeviceClass.BOARD and device_type is None:
            raise InvalidValueError("a token for boards names their type, such as rk3588: give device_type")
        secret = new_secret("enr")

        def work(tx: Transaction) -> EnrolmentToken:
            now = tx.now()
            token = EnrolmentToken(
                id=new_id(IdPrefix.ENROLMENT),
                name=name,
                secret_sha256=digest(secret),
                device_class=device_class,
                device_type=device_type,
                max_uses=max_uses or self._defaults.max_uses,
                labels=labels or {},
                created_at=now,
                expires_at=expires_at or now + self._defaults.lifetime,
                owner=creator.owner,
            )
            EnrolmentTokenStore(tx).add_enrolment_token(token)
            return token

        return self._uow.write(work), secret

    def all(self, owner: str | None = None) -> tuple[EnrolmentToken, ...]:
        """All of them, or those of an owner (by id or name), oldest first."""
        return self._uow.read(lambda tx: EnrolmentTokenStore(tx).all_enrolment_tokens(owner))

    def revoke(self, token_id: str) -> None:
        """Let no device enrol with it any more. Raises NotFoundError."""
        self._uow.write(lambda tx: EnrolmentTokenStore(tx).revoke_enrolment_token(token_id))


def _token(
    tx: Transaction,
    name: str,
    secret: str,
    roles: Iterable[Role],
    expires_at: datetime | None = None,
    principal: str | None = None,
) -> ApiToken:
    """Store a token, and its principal where that is new."""
    id = new_id(IdPrefix.TOKEN)
    token = ApiToken(
        id=id,
        name=name,
        prefix=secret[:_PREFIX_LENGTH],
        secret_sha256=digest(secret),
        roles=frozenset(roles),
        owner=_principal(tx, principal) if principal is not None else _principal_of_its_own(tx, name, id),
        created_at=tx.now(),
        expires_at=expires_at,
    )
    TokenStore(tx).add_token(token)
    return token


def _principal(tx: Transaction, name: str) -> Principal:
    """The principal of that name, made where there is none."""
    made = Principal(id=new_id(IdPrefix.PRINCIPAL), name=name, created_at=tx.now())
    return PrincipalStore(tx).put_principal(made)


def _principal_of_its_own(tx: Transaction, name: str, token_id: str) -> Principal:
    """A principal named after a token; tokens may share a name, so the second one's principal carries its id too."""
    wanted = Principal(id=new_id(IdPrefix.PRINCIPAL), name=name, created_at=tx.now())
    if PrincipalStore(tx).put_principal(wanted) == wanted:
        return wanted
    return _principal(tx, f"{name[:160]} ({token_id})")
