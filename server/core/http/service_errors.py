"""Maps the service's error tree, and the engine's, to problem documents."""

from __future__ import annotations

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from server.core import errors
from server.core.http import problem_types as types
from server.core.http.problems import FieldError, Problem, ProblemType


def problem_of(error: errors.ServiceError) -> Problem:
    """The problem that tells a caller about a service error."""
    detail = str(error)
    match error:
        case errors.NotFoundError():
            return Problem(types.NOT_FOUND, detail, members={"kind": error.kind, "id": error.id})
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
        case errors.UnavailableError():
            return Problem(types.UNAVAILABLE, detail, headers={"Retry-After": "2"})
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
