"""Problem documents (RFC 9457): the one shape in which this API reports a failure.

Every failure names a `ProblemType`. Its URI, ``/problems/<slug>``, is stable, and the server answers it with
what the problem means and what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from nas_engine.domain.json_value import JsonValue

PROBLEM_MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of failure.

    Attributes:
        slug: last segment of the type URI; never reused for another meaning.
        status: HTTP status it is answered with.
        title: short and the same for every occurrence.
        remedy: what the caller can do about it.
    """

    slug: str
    status: HTTPStatus
    title: str
    remedy: str

    @property
    def uri(self) -> str:
        """Value of the document's ``type`` member, relative to the server's root."""
        return f"/problems/{self.slug}"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong place in a request.

    Attributes:
        detail: what is wrong there and what is allowed.
        pointer: RFC 6901 JSON pointer into the body, or None when the place is not in the body.
        parameter: name of the query, path or header parameter, or None.
        feasible_minimum, feasible_maximum: the range the value may lie in, where one is known.
    """

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    feasible_minimum: float | None = None
    feasible_maximum: float | None = None


class Problem(Exception):
    """A failure on its way to the caller; the exception handler renders it.

    Attributes:
        type: which kind of failure.
        detail: what is wrong this time, which value it is, and what to do.
        errors: the wrong places of the request.
        headers: response headers that go with it, e.g. Retry-After.
        members: extension members, e.g. the allowed transitions.
    """

    def __init__(
        self,
        type_: ProblemType,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(f"{type_.slug}: {detail}")
        self.type = type_
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.members = dict(members or {})


def problem_document(problem: Problem, request_id: str) -> dict[str, JsonValue]:
    """The JSON document of one occurrence."""
    document: dict[str, JsonValue] = {
        "type": problem.type.uri,
        "title": problem.type.title,
        "status": int(problem.type.status),
        "detail": problem.detail,
        "instance": f"urn:hilnas:request:{request_id}",
        "request_id": request_id,
    }
    if problem.errors:
        document["errors"] = [_field_error(error) for error in problem.errors]
    return {**problem.members, **document}


def _field_error(error: FieldError) -> dict[str, JsonValue]:
    members = {
        "detail": error.detail,
        "pointer": error.pointer,
        "parameter": error.parameter,
        "feasible_minimum": error.feasible_minimum,
        "feasible_maximum": error.feasible_maximum,
    }
    return {name: value for name, value in members.items() if value is not None}
