"""Service errors become their problems; Accept headers are read as HTTP says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.requests import Request

from server.core import errors
from server.core.http.problem_handlers import problem_of
from server.core.http.problem_types import INTERNAL_ERROR
from server.core.http.problems import Problem
from server.core.http.requests import CSV, JSON, NDJSON, preferred

_EXAMPLES: dict[type[errors.ServiceError], errors.ServiceError] = {
    errors.NotFoundError: errors.NotFoundError("search", "srch_x"),
    errors.InvalidSpecError: errors.InvalidSpecError([errors.SpecViolation("/a", "no", 1.0, 2.0)]),
    errors.InvalidStateTransitionError: errors.InvalidStateTransitionError("search", "s", "a", "b", ["c"]),
    errors.PreconditionFailedError: errors.PreconditionFailedError("search", "s", 1, 2),
    errors.AmbiguousReferenceError: errors.AmbiguousReferenceError("search", "spos", ["spos.1", "spos.2"]),
    errors.LeaseLostError: errors.LeaseLostError("job_x", 1),
    errors.IdempotencyKeyReusedError: errors.IdempotencyKeyReusedError("k"),
    errors.DigestMismatchError: errors.DigestMismatchError("a", "b"),
    errors.ArtifactTooLargeError: errors.ArtifactTooLargeError(3),
    errors.RangeNotSatisfiableError: errors.RangeNotSatisfiableError(5, 3),
    errors.QuotaExceededError: errors.QuotaExceededError("queued jobs", "HILNAS_QUOTA_QUEUED_JOBS", 3, 4, None),
    errors.ArtifactDamagedError: errors.ArtifactDamagedError("a" * 64, "its bytes are lost"),
}


def _leaves(kind: type[errors.ServiceError]) -> Iterator[type[errors.ServiceError]]:
    children = kind.__subclasses__()
    for child in children:
        yield from _leaves(child)
    if not children:
        yield kind


@pytest.mark.parametrize("kind", list(_leaves(errors.ServiceError)), ids=lambda kind: kind.__name__)
def test_every_service_error_has_a_problem_of_its_own(kind: type[errors.ServiceError]) -> None:
    problem = problem_of(_EXAMPLES[kind] if kind in _EXAMPLES else kind("why"))
    assert problem.type is not INTERNAL_ERROR
    assert problem.detail


def test_a_spec_problem_carries_the_feasible_range() -> None:
    (error,) = problem_of(_EXAMPLES[errors.InvalidSpecError]).errors
    assert (error.pointer, error.feasible_minimum, error.feasible_maximum) == ("/a", 1.0, 2.0)


def _request(accept: str | None) -> Request:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("application/*", JSON),
        ("application/x-ndjson, application/json;q=0.5", NDJSON),
        ("text/html, */*;q=0.1", JSON),
        ("application/json;q=0, text/csv;q=0.2", CSV),
        ("text/csv;q=nonsense, application/json", JSON),
    ],
)
def test_the_best_offered_media_type_is_chosen(accept: str | None, expected: str) -> None:
    assert preferred(_request(accept), JSON, CSV, NDJSON) == expected


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", ""])
def test_nothing_acceptable_is_said(accept: str) -> None:
    with pytest.raises(Problem, match="not-acceptable"):
        preferred(_request(accept), JSON, CSV, NDJSON)
