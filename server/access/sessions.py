"""Sessions: a login makes one, a logout ends it, and so do disuse and the end of its token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from server.access.limits.quotas import QuotaSettings
from server.access.limits.uses import Uses
from server.access.page_session import PageSession, PageSessionSettings
from server.access.store import SessionStore, TokenStore
from server.access.token import ApiToken
from server.access.tokens import Tokens, digest, new_secret
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import NotAuthenticatedError

KEEP_ENDED = timedelta(days=30)


class Sessions:
    """Use cases of sessions."""

    def __init__(
        self,
        uow: UnitOfWork,
        tokens: Tokens,
        settings: PageSessionSettings | None = None,
        quotas: QuotaSettings | None = None,
    ) -> None:
        self._uow = uow
        self._tokens = tokens
        self.settings = settings or PageSessionSettings()
        self._quotas = quotas or QuotaSettings()
        self._uses = Uses()

    def start(self, token_secret: str) -> str:
        """Log in with a token; returns the session's own secret, which is not stored.

        Raises:
            NotAuthenticatedError: the token is unknown, revoked or expired.
            QuotaExceededError: it has as many sessions as it may.
        """
        token, secret = self._tokens.authenticate(token_secret), new_secret("ses")

        def work(tx: Transaction) -> None:
            now = tx.now()
            self._quotas.check_one_more("open_sessions", SessionStore(tx).num_open_of(token.id))
            expires_at = self.settings.expiry(now, now)
            session = PageSession(id=digest(secret), token_id=token.id, created_at=now, expires_at=expires_at)
            SessionStore(tx).add_session(session)

        self._uow.write(work)
        return secret

    def authenticate(self, secret: str) -> tuple[ApiToken, PageSession]:
        """The session with this secret, and the token it was started with. Using a session makes it last longer.

        Raises:
            NotAuthenticatedError: it is unknown, logged out or over, or its token is revoked or expired.
        """

        def look(tx: Transaction) -> tuple[PageSession | None, ApiToken | None, datetime]:
            session = SessionStore(tx).find_session(digest(secret))
            return session, None if session is None else TokenStore(tx).get_token(session.token_id), tx.now()

        session, token, now = self._uow.read(look)
        if session is None or token is None or not token.usable(now) or not self._usable(session, now):
            raise NotAuthenticatedError("the session has ended: sign in again")
        self._uses.note(session.id, now)
        self._tokens.note_use(token, now)
        return token, replace(session, expires_at=self._expiry(session))

    def end(self, secret: str) -> None:
        """Log out; an unknown secret changes nothing."""
        self._uow.write(lambda tx: SessionStore(tx).revoke_session(digest(secret)))

    def ended(self, credentials: frozenset[str]) -> frozenset[str]:
        """Which of these tokens and sessions, by their ids, are good no longer."""

        def look(tx: Transaction) -> frozenset[str]:
            now = tx.now()
            sessions = {one.id: one for one in SessionStore(tx).sessions_of(credentials)}
            wanted = credentials | {one.token_id for one in sessions.values()}
            usable = {token.id for token in TokenStore(tx).tokens_of(wanted) if token.usable(now)}
            good = {s.id for s in sessions.values() if s.token_id in usable and self._usable(s, now)}
            return credentials - usable - good

        return self._uow.read(look)

    def write_uses(self) -> None:
        """Write down what was used lately; the tokens' uses too."""
        self._tokens.write_uses()
        self._uses.write(lambda noted: self._uow.write(lambda tx: self._prolong(tx, noted)))

    def prune(self) -> None:
        """Forget sessions that ended a month ago."""
        self._uow.write(lambda tx: SessionStore(tx).prune_sessions(tx.now() - KEEP_ENDED))

    def _prolong(self, tx: Transaction, noted: Mapping[str, datetime]) -> None:
        for session in SessionStore(tx).sessions_of(noted):
            expires_at = self.settings.expiry(session.created_at, noted[session.id])
            SessionStore(tx).prolong_session(session.id, max(expires_at, session.expires_at))

    def _expiry(self, session: PageSession) -> datetime:
        used_at = self._uses.latest(session.id, None)
        if used_at is None:
            return session.expires_at
        return max(session.expires_at, self.settings.expiry(session.created_at, used_at))

    def _usable(self, session: PageSession, now: datetime) -> bool:
        return session.revoked_at is None and self._expiry(session) > now
