"""Builds the FastAPI application from its context. No state of its own, no imports of adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

import server.api.path_ids  # noqa: F401  (registers the `id` path convertor the routes use)
from server.api.context import ApiContext
from server.api.guards import BodyLimitGuard, BodyLimits, HostAndOriginGuard
from server.api.openapi import install_openapi, operation_id
from server.api.problem_handlers import install_problem_handlers
from server.api.request_context import RequestContextMiddleware
from server.api.routes import (
    artifacts,
    candidates,
    classifications,
    devices,
    events,
    jobs,
    latency_tables,
    measurements,
    models,
    ranking_studies,
    search_presets,
    searches,
    spaces,
    supernets,
    system,
    tokens,
)
from server.service.candidate_retraining import CandidateRetrainingSpec
from server.service.cost_reports import CostReportSpec
from server.service.latency_tables import LatencyTableSpec
from server.service.ranking_spec import RankingStudySpec
from server.service.spec import SearchSpec
from server.service.training_spec import TrainingSpec

_ROUTERS: tuple[APIRouter, ...] = (
    searches.router,
    search_presets.router,
    candidates.router,
    measurements.router,
    classifications.router,
    latency_tables.router,
    devices.router,
    supernets.router,
    models.router,
    ranking_studies.router,
    spaces.router,
    artifacts.router,
    events.router,
    jobs.router,
    tokens.router,
    system.router,
)
_SPECS = (SearchSpec, TrainingSpec, LatencyTableSpec, CostReportSpec, CandidateRetrainingSpec, RankingStudySpec)
_ARTIFACT_PREFIX = "/api/v1/artifacts/"


def create_app(context: ApiContext) -> FastAPI:
    """The application; `context` stays the caller's to close."""
    app = FastAPI(
        title="hilnas",
        version=context.settings.version,
        docs_url=None,  # the interactive pages load scripts from elsewhere; the reference is in docs/
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=_lifespan,
        generate_unique_id_function=operation_id,
    )
    app.state.context = context
    for router in _ROUTERS:
        app.include_router(router)
    install_problem_handlers(app)
    install_openapi(app, _SPECS)
    settings = context.settings
    limits = BodyLimits(settings.max_body_bytes, {_ARTIFACT_PREFIX: settings.max_artifact_bytes})
    # The last one added is the outermost.
    app.add_middleware(BodyLimitGuard, limits=limits)
    app.add_middleware(
        HostAndOriginGuard, allowed_hosts=settings.allowed_hosts, allowed_origins=settings.allowed_origins
    )
    app.add_middleware(RequestContextMiddleware, observer=context.metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: ApiContext = app.state.context
    watcher = asyncio.create_task(context.hub.run())
    try:
        yield
    finally:
        context.hub.stop()
        await watcher
