"""The OpenAPI document, in which every failure is documented as the problem document it really is."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from nas_engine.settings.field_docs import Documented
from server.core.http import problem_types as types
from server.core.http.problems import PROBLEM_MEDIA_TYPE, ProblemType

REF = "#/components/schemas/{model}"
COMMON = (
    types.MALFORMED_REQUEST,
    types.UNAUTHENTICATED,
    types.FORBIDDEN,
    types.FOREIGN_ORIGIN,
    types.AMBIGUOUS_REFERENCE,
    types.QUOTA_EXCEEDED,
    types.TOO_MANY_REQUESTS,
    types.UNKNOWN_HOST,
    types.INVALID_REQUEST,
    types.INTERNAL_ERROR,
    types.UNAVAILABLE,
)
"""What any operation under /api/v1 may answer."""

_DESCRIPTION = """\
Search spaces, supernets, searches, candidates, boards and their measurements.

Failures are `application/problem+json` documents (RFC 9457); their `type` is answered by this server. Lists page
with `page_size` and `page_token`. Every POST takes an `Idempotency-Key`. Times are RFC 3339 in UTC, latencies
microseconds, sizes bytes. Measured, simulated and estimated latencies are never mixed unlabelled.
"""
_SLUGS = "x-problems"  # marks a response until the document is finished
_BODIES: dict[str, type[BaseModel]] = {}
"""Models that `json_body` was given, by name: the description has their schemas."""
_UNKNOWN_MEMBERS = ConfigDict(extra="allow")


class FieldErrorDocument(Documented):
    """One wrong place of a request."""

    detail: str
    """Explanation of what is wrong there and what is allowed."""

    pointer: str = Field(default="", examples=["/constraints/0/maximum"])
    """RFC 6901 JSON pointer into the body; absent when the place is not in the body."""

    parameter: str = Field(default="", examples=["page_size"])
    """Name of the query, path or header parameter; absent when the place is in the body."""

    feasible_minimum: float | None = None
    """Least value that is possible, where one is known."""

    feasible_maximum: float | None = None
    """Largest value that is possible, where one is known."""


class ProblemDocument(Documented):
    """A failure (RFC 9457)."""

    model_config = _UNKNOWN_MEMBERS

    type: str = Field(examples=["/problems/invalid-search-spec"])
    """Stable address of what the problem means, relative to the server's root."""

    title: str
    """Title of the problem's type for people, the same for every occurrence."""

    status: int
    """HTTP status that the server answered with."""

    detail: str
    """Explanation of this occurrence: what is wrong, and what to do."""

    instance: str
    """Address of this occurrence, unique to it."""

    request_id: str
    """Id of the request, by which the server's log is searched."""

    errors: list[FieldErrorDocument] = Field(default=[])
    """Wrong places of the request; absent when there are none."""


def problems(*kinds: ProblemType) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route for some problem types, grouped by status."""
    by_status: dict[int, list[ProblemType]] = defaultdict(list)
    for kind in dict.fromkeys(kinds):
        by_status[int(kind.status)].append(kind)
    return {status: {_SLUGS: [kind.slug for kind in group]} for status, group in sorted(by_status.items())}


def json_body(*models: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` for a JSON body that the route reads by itself: a document of one of these models."""
    _BODIES.update((model.__name__, model) for model in models)
    references = [{"$ref": REF.format(model=model.__name__)} for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def operation_id(route: APIRoute) -> str:
    """Operations are called as their functions."""
    return route.name


def api_router(tag: str, *, prefix: str = "/api/v1", dependencies: Sequence[Depends] = ()) -> APIRouter:
    """A router whose operations are described under a tag and called as their functions."""
    return APIRouter(
        prefix=prefix, tags=[tag], dependencies=list(dependencies), generate_unique_id_function=operation_id
    )


def add_routes(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Let the application answer what the routers describe.

    Their routes are taken as they are: `include_router` would build each of them anew, in the time of the first request
    (0.7 s for a hundred of them).
    """
    for router in routers:
        app.router.routes.extend(router.routes)


def install_openapi(app: FastAPI, values: tuple[type[object], ...] = ()) -> None:
    """Make `app` describe itself.

    Args:
        values: values that are documents as they are; the description calls them `...Resource`, as it calls the others.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, values)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, values: tuple[type[object], ...]) -> dict[str, Any]:
    document = get_openapi(
        title="hilnas",
        version=app.version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
        separate_input_output_schemas=False,
    )
    for value in values:
        old, new = value.__name__, f"{value.__name__}Resource"
        named = document["components"]["schemas"]
        named[new] = {**named.pop(old), "title": new}
        text = json.dumps(document).replace(f'"{REF.format(model=old)}"', f'"{REF.format(model=new)}"')
        document = json.loads(text)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    described: tuple[type[BaseModel], ...] = (ProblemDocument, *(_BODIES[name] for name in sorted(_BODIES)))
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in described]
    _, extra = models_json_schema(wanted, ref_template=REF)
    schemas.update(extra["$defs"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["responses"] = _share_problem_responses(document)
    _close_maps(document)
    return document


def _close_maps(node: Any) -> None:
    """Say that names which do not fit a map's pattern are refused; pydantic refuses them, and leaves that out."""
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if isinstance(inner, dict) and isinstance(inner.get("patternProperties"), dict):
            inner.setdefault("additionalProperties", False)
        _close_maps(inner)


def _drop_null_parameters(operation: dict[str, Any]) -> None:
    """A query or header parameter is absent or has a value; it cannot be null, as the types of ours would have it."""
    for parameter in operation.get("parameters", ()):
        options = parameter["schema"].get("anyOf", ())
        values = [option for option in options if option != {"type": "null"}]
        if len(values) == 1 and len(options) == 2:
            del parameter["schema"]["anyOf"]
            parameter["schema"].update(values[0])


def _share_problem_responses(document: dict[str, Any]) -> dict[str, Any]:
    """Replace marked responses by references; returns what they refer to. Whatever has a body may be too large."""
    shared: dict[str, Any] = {}
    operations = (operation for methods in document["paths"].values() for operation in methods.values())
    for operation in operations:
        _drop_null_parameters(operation)
        responses = operation["responses"]
        if "requestBody" in operation:
            responses["413"] = {_SLUGS: [types.CONTENT_TOO_LARGE.slug]}
            responses["408"] = {_SLUGS: [types.REQUEST_TIMEOUT.slug]}
        for status, response in responses.items():
            if _SLUGS in response:
                slugs = response[_SLUGS]
                shared["_".join(slugs)] = {
                    "description": "; ".join(f"`{slug}`: {types.PROBLEM_TYPES[slug].title}" for slug in slugs),
                    "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": REF.format(model="ProblemDocument")}}},
                }
                responses[status] = {"$ref": f"#/components/responses/{'_'.join(slugs)}"}
        operation["responses"] = dict(sorted(responses.items()))
    return dict(sorted(shared.items()))
