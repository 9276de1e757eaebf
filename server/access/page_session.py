"""Sessions of the web pages, and how long they last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSession:
    """What a browser's cookie stands for. It can do what its token can, and ends with it.

    Attributes:
        id: sha256 of the cookie's secret, hex; the secret itself is the browser's alone.
        expires_at: moves on while the session is used.
        revoked_at: when it was logged out.
    """

    id: str
    token_id: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSessionSettings:
    """How long sessions last.

    Attributes:
        idle_s: a session that is not used for so long ends.
        max_s: a session ends so long after the login, however much it is used.
    """

    idle_s: float = 12 * 3600.0
    max_s: float = 7 * 86_400.0

    def expiry(self, created_at: datetime, used_at: datetime) -> datetime:
        """When a session ends that was used last at `used_at`."""
        return min(used_at + timedelta(seconds=self.idle_s), created_at + timedelta(seconds=self.max_s))
