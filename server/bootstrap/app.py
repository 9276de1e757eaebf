"""Builds the FastAPI application from its context. No state of its own, no imports of adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

import server.core.http.path_ids  # noqa: F401  (registers the `id` path convertor the routes use)
from nas_engine.settings.training import TrainingSpec
from server.access import routes as tokens
from server.artifacts import routes as artifacts
from server.bootstrap import event_routes as events
from server.bootstrap import system_routes as system
from server.bootstrap.http_context import ApiContext
from server.candidates.spec import SearchSpec
from server.classifying import routes as classifications
from server.core.http.guards import BodyLimitGuard, BodyLimits, HostAndOriginGuard
from server.core.http.openapi import install_openapi, operation_id
from server.core.http.problem_handlers import install_problem_handlers
from server.core.http.request_context import RequestContextMiddleware
from server.fleet import routes as devices
from server.jobs import routes as jobs
from server.latency_tables import routes as latency_tables
from server.latency_tables.cost_reports import CostReportSpec
from server.latency_tables.latency_tables import LatencyTableSpec
from server.measuring import canary_routes as canaries
from server.measuring import routes as measurements
from server.searches import candidate_routes as candidates
from server.searches import preset_routes as search_presets
from server.searches import routes as searches
from server.spaces import routes as spaces
from server.studies import routes as ranking_studies
from server.studies.spec import RankingStudySpec
from server.training import model_routes as models
from server.training import routes as supernets
from server.training.candidate_retraining import CandidateRetrainingSpec

_ROUTERS: tuple[APIRouter, ...] = (
    searches.router,
    search_presets.router,
    candidates.router,
    measurements.router,
    classifications.router,
    latency_tables.router,
    devices.router,
    canaries.router,
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
