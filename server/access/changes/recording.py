"""How routes record who changed what: a dependency that every route which is not read-only takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request

from nas_engine.domain.json_value import parse_json
from server.access.auth import Permitted
from server.access.changes.changes import Recorder, Subjects
from server.access.changes.recorded import RECORDED, check_recorded
from server.core.http.provide import UowDep, provided

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


async def _recorder(
    request: Request, caller: Permitted, uow: UowDep, subjects: Annotated[Subjects, provided(Subjects)]
) -> Recorder[Any]:
    recorded = RECORDED.get(str(request.scope["route"].name))
    if recorded is None:
        return Recorder(uow, subjects, None, caller.token)
    path_id = str(request.path_params[recorded.subject]) if recorded.subject else ""
    members = await _members(request) if recorded.names_members else ()
    return Recorder(uow, subjects, recorded, caller.token, path_id, members)


async def _members(request: Request) -> tuple[str, ...]:
    """Names of a body's members; those that the route does not know make it refuse the request."""
    try:
        body = parse_json(await request.body())
    except ValueError:  # the route says what is wrong with it
        return ()
    return tuple(sorted(body)) if isinstance(body, Mapping) else ()


PermittedChange = Annotated[Recorder[Any], Depends(_recorder)]
"""For routes that change something and take no Idempotency-Key: what the policy permits, with its record."""


def check_routes(routes: list[APIRoute]) -> None:
    """Refuse to serve routes that could change something without a record. Raises LookupError."""
    unsafe = [route for route in routes if not (route.methods or set()) <= _SAFE_METHODS]
    having = [route.name for route in unsafe if _recorder in _calls(route.dependant)]
    check_recorded(having, [route.name for route in unsafe])


def _calls(dependant: Dependant) -> Iterator[object]:
    for one in dependant.dependencies:
        yield one.call
        yield from _calls(one)
