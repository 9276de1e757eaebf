"""Who calls, and what they may do: bearer tokens, or the session cookie that the web pages make from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from nas_engine.domain.json_value import JsonValue, parse_json
from server.access.limits.quotas import Quotas
from server.access.permissions import RULE_OF, Owners, Rule
from server.access.principal import NOBODY, Creator
from server.access.sessions import Sessions
from server.access.token import ApiToken, Role
from server.access.tokens import Tokens
from server.core.errors import NotAuthenticatedError
from server.core.http.problem_types import FORBIDDEN, UNAUTHENTICATED
from server.core.http.problems import Problem
from server.core.http.provide import ApiSettings, provided, provided_of
from server.core.http.requests import JsonDocument, resolve_references, resolved_document

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
    def sees_only(self) -> str | None:
        """Principal whose own things alone are listed where a list is for owners; None: everything, as for admins."""
        return None if self.token is None or self.token.permits(Role.ADMIN) else self.token.owner.id

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


def permit(request: Request, caller: Caller, owners: Owners) -> Caller:
    """The caller, if the policy lets it use the request's route, on the thing that its path names.

    Raises:
        NotFoundError: there is no such thing.
        Problem: forbidden; says whose the thing is and who may.
    """
    rule = RULE_OF[request.scope["route"].name]
    token = caller.token
    if token is None or rule.others is None or token.permits(rule.others):
        return caller
    held = ", ".join(sorted(role.value for role in token.roles))
    if rule.own is None or not token.permits(rule.own):
        needed = rule.others if rule.own is None else rule.own
        detail = f"this needs the role {needed.value}; the token's roles are: {held}"
        raise Problem(FORBIDDEN, detail, members={"may": [*_who_may(rule)]})
    if not rule.subject:
        return caller
    id = request.path_params[rule.subject]
    owner = owners.owner_of(rule.kind, id)
    if owner is not None and owner.id == token.owner.id:
        return caller
    whose = "has no owner" if owner is None else f"belongs to {owner.name!r} ({owner.id})"
    detail = (
        f"{rule.kind.value} {id} {whose}, and this token to {token.owner.name!r}: "
        f"only {' or '.join(_who_may(rule))} may do this"
    )
    members: dict[str, JsonValue] = {"owner": None if owner is None else {"id": owner.id, "name": owner.name}}
    raise Problem(FORBIDDEN, detail, members={**members, "may": [*_who_may(rule)]})


def _who_may(rule: Rule) -> list[str]:
    others = "anybody" if rule.others is None else f"the role {rule.others.value}"
    return [others] if rule.own is None else [f"its owner with the role {rule.own.value}", others]


def _permitted(
    request: Request, caller: Annotated[Caller, Depends(_caller)], owners: Annotated[Owners, provided(Owners)]
) -> Caller:
    resolve_references(request)  # before anything reads the ids of the path and the filters, and for callers alone
    return permit(request, caller, owners)


Permitted = Annotated[Caller, Depends(_permitted)]
"""The caller, once the policy (`server.access.permissions`) has let it use the route."""


def _referring_document(request: Request, document: JsonDocument, _: Permitted) -> JsonValue:
    return resolved_document(request, document)


ReferringDocument = Annotated[JsonValue, Depends(_referring_document)]
"""The request's body as plain JSON, with ids in place of what names them; for callers alone, as in paths."""


async def _labels_fit(request: Request, _: Permitted, quotas: Annotated[Quotas, provided(Quotas)]) -> None:
    body = await request.body()
    if b'"labels"' not in body:
        return
    try:
        level = [parse_json(body)]
    except ValueError:  # the route says what is wrong with it
        return
    while level:
        inner: list[JsonValue] = []
        for value in level:
            if isinstance(value, Mapping):
                if isinstance(labels := value.get("labels"), Mapping):
                    quotas.settings.check_labels({name: str(text) for name, text in labels.items()})
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        level = inner


LABELS_FIT = Depends(_labels_fit)
"""For routers whose bodies carry labels, of whatever: refuses labels of one thing that take more than their quota."""
