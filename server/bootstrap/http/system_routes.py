"""Health, metrics, version, and what each problem type means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Path
from starlette.responses import PlainTextResponse, Response

from server.access.auth import Permitted
from server.bootstrap.http.schemas import (
    HealthResource,
    ProblemTypeResource,
    ReadinessCheck,
    ReadinessResource,
    VersionResource,
)
from server.core.http.metrics import CONTENT_TYPE, Metrics
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import INVALID_REQUEST, NOT_FOUND, PROBLEM_TYPES
from server.core.http.problems import Problem
from server.core.http.provide import SettingsDep, provided
from server.core.http.resources import Listing

router = api_router("system", prefix="")
Probe = Callable[[], ReadinessCheck]
"""Looks at one thing the server needs; does not raise."""


@dataclass(frozen=True, slots=True)
class Probes:
    """Every probe of this process."""

    all: tuple[Probe, ...]


ProbesDep = Annotated[Probes, provided(Probes)]
MetricsDep = Annotated[Metrics, provided(Metrics)]
_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": ReadinessResource, "description": "The server cannot do its work now."}
}


@router.get("/healthz")
async def get_health() -> HealthResource:
    """Whether the process is alive. Asks nothing of the database."""
    return HealthResource()


@router.get("/readyz", responses=_NOT_READY)
def get_readiness(probes: ProbesDep, response: Response) -> ReadinessResource:
    """Whether the server can do its work: database reachable, schema current."""
    checks = [probe() for probe in probes.all]
    ready = all(check.ok for check in checks)
    response.status_code = 200 if ready else 503
    response.headers["Cache-Control"] = "no-store"
    return ReadinessResource(status="ready" if ready else "not_ready", checks=checks)


@router.get("/version")
async def get_version(settings: SettingsDep) -> VersionResource:
    """Which server this is."""
    return VersionResource(version=settings.version)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}, **problems(*COMMON)},
)
def get_metrics(metrics: MetricsDep, _: Permitted) -> Response:
    """Counters of this process and depths of the job queues."""
    return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/problems")
async def list_problem_types() -> Listing[ProblemTypeResource]:
    """Every kind of failure this API reports."""
    return Listing(items=[ProblemTypeResource.of(kind, type=kind.uri) for kind in PROBLEM_TYPES.values()])


@router.get("/problems/{slug}", responses=problems(NOT_FOUND, INVALID_REQUEST))
async def get_problem_type(slug: Annotated[str, Path(max_length=100)]) -> ProblemTypeResource:
    """What a problem's `type` means and what to do about it."""
    kind = PROBLEM_TYPES.get(slug)
    if kind is None:
        raise Problem(NOT_FOUND, f"there is no problem type {slug!r}")
    return ProblemTypeResource.of(kind, type=kind.uri)
