"""API tokens and the roles they grant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.access.principal import Principal


class Role(StrEnum):
    """What a token may do."""

    VIEWER = "viewer"
    ENGINEER = "engineer"
    AGENT = "agent"
    ADMIN = "admin"

    def grants(self, role: Role) -> bool:
        """Whether it may do what `role` may: admin everything, engineer everything a viewer may."""
        return self in _GRANTED_BY[role]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A bearer token. Only the digest of its secret is stored.

    Attributes:
        id: ``tok_...``.
        prefix: the readable start of the secret (``nas_3fk2...``), so that people can tell tokens apart.
        secret_sha256: hex digest of the whole secret.
        owner: who holds it, and owns what is made with it.
        expires_at: None: never.
    """

    id: str
    name: str
    prefix: str
    secret_sha256: str
    roles: frozenset[Role]
    owner: Principal
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def permits(self, role: Role) -> bool:
        """Whether one of its roles may do what `role` may."""
        return any(held.grants(role) for held in self.roles)

    def usable(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


_GRANTED_BY = {
    Role.VIEWER: frozenset({Role.VIEWER, Role.ENGINEER, Role.ADMIN}),
    Role.ENGINEER: frozenset({Role.ENGINEER, Role.ADMIN}),
    Role.AGENT: frozenset({Role.AGENT, Role.ADMIN}),
    Role.ADMIN: frozenset({Role.ADMIN}),
}
