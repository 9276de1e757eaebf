"""Who calls, and what they may do: bearer tokens, or the session cookie that the web pages make from one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from server.access.principal import NOBODY, Creator
from server.access.quotas import Quotas
from server.access.sessions import Sessions
from server.access.token import ApiToken, Role
from server.access.tokens import Tokens
from server.core.errors import NotAuthenticatedError
from server.core.http.problem_types import FORBIDDEN, UNAUTHENTICATED
from server.core.http.problems import Problem
from server.core.http.provide import ApiSettings, provided, provided_of

SESSION_COOKIE = "hilnas_session"
CSRF_HEADER = "X-Hilnas-Page"
TokensDep = Annotated[Tokens, provided(Tokens)]
SessionsDep = Annotated[Sessions, provided(Sessions)]
QuotasDep = Annotated[Quotas, provided(Quotas)]
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hilnas"'}
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="An API token, `nas_...`. `POST /api/v1/tokens` makes more; the first is made at first start.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        token: None where authentication is switched off: everybody is admin then.
        session_id: of the session whose cookie was sent; None for bearer tokens.
    """

    token: ApiToken | None
    session_id: str | None = None

    @property
    def id(self) -> str:
        """Id of the token; empty without authentication."""
        return "" if self.token is None else self.token.id

    @property
    def credential(self) -> str:
        """Id of what was shown: while that is good, the caller's event streams go on."""
        return self.session_id or self.id

    @property
    def quota_key(self) -> str:
        """By what quotas count: the owner, whichever of its tokens it uses; empty without authentication."""
        return self.id if self.creator.owner is None else self.creator.owner.id

    @property
    def creator(self) -> Creator:
        """What is written down as the creator of things."""
        return NOBODY if self.token is None else Creator(self.token.id, self.token.owner)


def _caller(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    return identify(request, None if credentials is None else credentials.credentials)


def identify(request: Request, bearer: str | None) -> Caller:
    """Who calls: by bearer token, else by the session of the cookie. Counts the request.

    Raises:
        Problem: unauthenticated; or forbidden, where a cookie alone would change something.
        QuotaExceededError: too many requests.
    """
    given = provided_of(request)
    if not given.get(ApiSettings).auth_required:
        return Caller(None)
    secret = request.cookies.get(SESSION_COOKIE) if bearer is None else bearer
    if secret is None:
        detail = "no bearer token was sent: add the header 'Authorization: Bearer nas_...'"
        raise Problem(UNAUTHENTICATED, detail, headers=_CHALLENGE)
    # A header that another site's form cannot send: the cookie alone must not change anything.
    if bearer is None and request.method not in _SAFE_METHODS and CSRF_HEADER not in request.headers:
        raise Problem(FORBIDDEN, f"requests that change something with a session cookie need the header {CSRF_HEADER}")
    try:
        if bearer is None:
            token, session = given.get(Sessions).authenticate(secret)
            caller = Caller(token, session.id)
        else:
            caller = Caller(given.get(Tokens).authenticate(secret))
    except NotAuthenticatedError as error:
        raise Problem(UNAUTHENTICATED, str(error), headers=_CHALLENGE) from error
    given.get(Quotas).count_request(caller.quota_key)
    return caller


def check_priority(caller: Caller, priority: int | None) -> None:
    """Refuse a priority above 0 to whoever is no admin: it would push others' work aside.

    Raises:
        Problem: forbidden.
    """
    if caller.token is not None and priority is not None and priority > 0 and not caller.token.permits(Role.ADMIN):
        raise Problem(FORBIDDEN, f"priority {priority}: above 0 it needs the role admin; 0 and below are everybody's")


def check_role(caller: Caller, role: Role) -> Caller:
    """The caller, if it may do what `role` may.

    Raises:
        Problem: forbidden.
    """
    token = caller.token
    if token is not None and not token.permits(role):
        held = ", ".join(sorted(r.value for r in token.roles))
        raise Problem(FORBIDDEN, f"this needs the role {role.value}; the token's roles are: {held}")
    return caller


def _requires(role: Role) -> Callable[[Caller], Caller]:
    def check(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        return check_role(caller, role)

    return check


Viewer = Annotated[Caller, Depends(_requires(Role.VIEWER))]
Engineer = Annotated[Caller, Depends(_requires(Role.ENGINEER))]
Admin = Annotated[Caller, Depends(_requires(Role.ADMIN))]
