"""Who calls, and what they may do: bearer tokens, or the session cookie that the web pages make from one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from server.access.principal import NOBODY, Creator
from server.access.token import ApiToken, Role
from server.access.tokens import Tokens
from server.core.errors import NotAuthenticatedError
from server.core.http.problem_types import FORBIDDEN, UNAUTHENTICATED
from server.core.http.problems import Problem
from server.core.http.provide import ApiSettings, SettingsDep, provided

SESSION_COOKIE = "hilnas_session"
CSRF_HEADER = "X-Hilnas-Page"
TokensDep = Annotated[Tokens, provided(Tokens)]
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
    """

    token: ApiToken | None

    @property
    def id(self) -> str:
        """Id of the token; empty without authentication."""
        return "" if self.token is None else self.token.id

    @property
    def creator(self) -> Creator:
        """What is written down as the creator of things."""
        return NOBODY if self.token is None else Creator(self.token.id, self.token.owner)


def _caller(
    request: Request,
    settings: SettingsDep,
    tokens: TokensDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    return identify(request, settings, tokens, None if credentials is None else credentials.credentials)


def identify(request: Request, settings: ApiSettings, tokens: Tokens, bearer: str | None) -> Caller:
    """Who calls: by bearer token, else by session cookie.

    Raises:
        Problem: unauthenticated; or forbidden, where a cookie alone would change something.
    """
    if not settings.auth_required:
        return Caller(None)
    secret = request.cookies.get(SESSION_COOKIE) if bearer is None else bearer
    if secret is None:
        detail = "no bearer token was sent: add the header 'Authorization: Bearer nas_...'"
        raise Problem(UNAUTHENTICATED, detail, headers=_CHALLENGE)
    # A header that another site's form cannot send: the cookie alone must not change anything.
    if bearer is None and request.method not in _SAFE_METHODS and CSRF_HEADER not in request.headers:
        raise Problem(FORBIDDEN, f"requests that change something with a session cookie need the header {CSRF_HEADER}")
    try:
        return Caller(tokens.authenticate(secret))
    except NotAuthenticatedError as error:
        raise Problem(UNAUTHENTICATED, str(error), headers=_CHALLENGE) from error


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
