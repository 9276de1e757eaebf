"""Turns every failure, ours or the framework's, into a problem document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from server.core import errors
from server.core.errors import ServiceError
from server.core.http import problem_types as types
from server.core.http.problems import (
    PROBLEM_MEDIA_TYPE,
    FieldError,
    Problem,
    ProblemType,
    problem_document,
)
from server.core.http.provide import SLASH_OF_A_NAME
from server.core.http.request_context import request_id_of
from server.core.validation_words import words

_MAX_FIELD_ERRORS = 50
_log = structlog.get_logger("hilnas.http")


def install_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer with problem documents only."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


ProblemRenderer = Callable[[Request, Problem], Response | None]
"""Shows a problem in another form, e.g. as a page for people; None leaves it to the document."""


def problem_response(request: Request, problem: Problem) -> Response:
    """Render one problem for one request."""
    renderer: ProblemRenderer | None = getattr(request.app.state, "problem_renderer", None)
    if renderer is not None and (page := renderer(request, problem)) is not None:
        return page
    content = json.dumps(problem_document(problem, request_id_of(request.scope)), allow_nan=False)
    return Response(
        content, status_code=int(problem.type.status), media_type=PROBLEM_MEDIA_TYPE, headers=problem.headers
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(request, error)


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    problem = problem_of(error)
    if problem.type is types.INTERNAL_ERROR:
        _log.error("service error without a problem type", exc_info=error)
    return problem_response(request, problem)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = types.for_status(error.status_code)
    detail, headers = str(error.detail), dict(error.headers or {})
    path = request.url.path.replace(SLASH_OF_A_NAME, "%2F")
    if kind is types.NOT_FOUND:
        detail = f"no resource at {path}"
    elif kind is types.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not a method of {path}"
        # Of every route of the path: the framework names the methods of the first one alone.
        fitting = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
        methods = {method for route in fitting for method in getattr(route, "methods", None) or ()}
        headers["Allow"] = ", ".join(sorted(methods))
    return problem_response(request, Problem(kind, detail, headers=headers))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    field = getattr(request.scope.get("route"), "body_field", None)
    body = None if field is None else field.field_info.annotation
    return problem_response(request, validation_problem(error.errors(), body))


def validation_problem(raw_errors: Sequence[Mapping[str, Any]], body: Any = None) -> Problem:
    """The problem for pydantic's list of errors; a body that is no JSON is malformed, the rest is invalid.

    Args:
        body: type of the body, whose fields are what a mistyped name may have meant.
    """
    for raw in raw_errors:
        if raw["type"] == "json_invalid":
            reason = raw.get("ctx", {}).get("error", "")
            position = raw["loc"][-1] if len(raw["loc"]) > 1 else 0
            return Problem(types.MALFORMED_REQUEST, f"the body is not JSON: {reason} at character {position}")
    errors = tuple(_field_error(raw, body) for raw in raw_errors[:_MAX_FIELD_ERRORS])
    first = errors[0]
    where = first.pointer or first.parameter or "the request"
    more = f" (and {len(raw_errors) - 1} more)" if len(raw_errors) > 1 else ""
    return Problem(types.INVALID_REQUEST, f"{where}: {first.detail}{more}", errors=errors)


def _field_error(raw: Mapping[str, Any], body: Any) -> FieldError:
    place, *path = raw["loc"]
    detail = words({**raw, "loc": path or [place]}, body if place == "body" and path else None)
    if place == "body":
        return FieldError(detail, pointer=errors.json_pointer(tuple(path)))
    return FieldError(detail, parameter=str(path[0]) if path else str(place))


def problem_of(error: errors.ServiceError) -> Problem:
    """The problem that tells a caller about a service error."""
    detail = str(error)
    match error:
        case errors.NotFoundError():
            return Problem(types.NOT_FOUND, detail, members={"kind": error.kind, "id": error.id})
        case errors.AmbiguousReferenceError():
            meant: dict[str, JsonValue] = {"reference": error.reference, "matches": [*error.matches]}
            return Problem(types.AMBIGUOUS_REFERENCE, detail, members={"kind": error.kind, **meant})
        case errors.InvalidSpecError():
            return spec_problem(error, types.INVALID_SEARCH_SPEC)
        case errors.InvalidValueError():
            return Problem(types.INVALID_REQUEST, detail)
        case errors.InvalidStateTransitionError():
            members: dict[str, JsonValue] = {
                "from": error.current,
                "to": error.wanted,
                "allowed": list(error.allowed),
            }
            return Problem(types.INVALID_STATE_TRANSITION, detail, members=members)
        case errors.NotAuthenticatedError():
            return Problem(types.UNAUTHENTICATED, detail, headers={"WWW-Authenticate": "Bearer"})
        case errors.RangeNotSatisfiableError():
            headers = {"Content-Range": f"bytes */{error.size_bytes}"}
            return Problem(types.RANGE_NOT_SATISFIABLE, detail, headers=headers)
        case errors.QuotaExceededError():
            limited: dict[str, JsonValue] = {"limit": error.limit, "setting": error.variable}
            if error.retry_after_s is None:
                return Problem(types.QUOTA_EXCEEDED, detail, members=limited)
            headers = {"Retry-After": str(error.retry_after_s)}
            return Problem(types.TOO_MANY_REQUESTS, detail, headers=headers, members=limited)
        case errors.UnavailableError():
            kind = types.INSUFFICIENT_STORAGE if isinstance(error, errors.StorageFullError) else types.UNAVAILABLE
            return Problem(kind, detail, headers={"Retry-After": str(error.retry_after_s)})
        case _:
            return Problem(_PLAIN.get(type(error), types.INTERNAL_ERROR), detail)


_PLAIN: dict[type[errors.ServiceError], ProblemType] = {
    errors.ConflictError: types.CONFLICT,
    errors.PreconditionFailedError: types.PRECONDITION_FAILED,
    errors.LeaseLostError: types.CONFLICT,
    errors.InvalidModelError: types.INVALID_MODEL,
    errors.NotPermittedError: types.FORBIDDEN,
    errors.IdempotencyKeyReusedError: types.IDEMPOTENCY_KEY_REUSED,
    errors.DigestMismatchError: types.DIGEST_MISMATCH,
    errors.ArtifactDamagedError: types.ARTIFACT_DAMAGED,
    errors.ArtifactTooLargeError: types.CONTENT_TOO_LARGE,
}


def spec_problem(error: errors.InvalidSpecError, kind: ProblemType) -> Problem:
    """The problem for a spec that cannot be run: every violation with its place and the feasible range."""
    found = tuple(
        FieldError(
            violation.message,
            pointer=violation.pointer,
            feasible_minimum=violation.feasible_minimum,
            feasible_maximum=violation.feasible_maximum,
        )
        for violation in error.violations
    )
    return Problem(kind, str(error), errors=found)


def architecture_problem(error: EngineError) -> Problem:
    """The problem for an architecture, genotype or space that the engine refuses."""
    return Problem(types.INVALID_ARCHITECTURE, str(error))
