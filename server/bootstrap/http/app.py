"""Builds the FastAPI application from the use cases it is given. No state of its own, no imports of adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from nas_engine.domain.measurement import LatencyStats
from server.access import routes as tokens
from server.access.changes import routes as changes
from server.access.changes.recording import check_routes
from server.access.permissions import check_policy
from server.artifacts import routes as artifacts
from server.bootstrap.http import event_routes as events
from server.bootstrap.http import system_routes as system
from server.classifying import routes as classifications
from server.classifying.classification import Loss
from server.core.http.event_stream import EventHub
from server.core.http.guards import BodyLimitGuard, BodyLimits, HostAndOriginGuard, NamesInPaths
from server.core.http.metrics import Metrics
from server.core.http.openapi import add_routes, install_openapi
from server.core.http.patience import BodyPatienceGuard
from server.core.http.problem_handlers import install_problem_handlers
from server.core.http.provide import ApiSettings, Provided, install_provided
from server.core.http.request_context import RequestContextMiddleware
from server.fleet import routes as devices
from server.fleet.sharing import routes as board_rules
from server.jobs import routes as jobs
from server.jobs.spent.spent import KindTime
from server.jobs.workers import routes as workers
from server.latencies import routes as latencies
from server.latency_tables import routes as latency_tables
from server.latency_tables.batch import EstimateAgreement
from server.latency_tables.imported import routes as cost_tables
from server.measuring import routes as measurements
from server.measuring.canaries import routes as canaries
from server.plugins import routes as plugins
from server.searches import candidate_routes as candidates
from server.searches import preset_routes as search_presets
from server.searches import routes as searches
from server.searches.amending import routes as amendments
from server.searches.answers import routes as answers
from server.searches.cloning import routes as clones
from server.searches.comparing import routes as search_comparisons
from server.searches.history import routes as search_histories
from server.searches.trials import routes as trials
from server.searches.what_if import routes as what_ifs
from server.shipping import routes as shipping
from server.spaces import routes as spaces
from server.studies import routes as ranking_studies
from server.studies.study import Correlation, RankingResult
from server.training import model_routes as models
from server.training import routes as supernets
from server.training.networks import routes as networks

_ROUTERS: tuple[APIRouter, ...] = (
    searches.router,
    amendments.router,
    clones.router,
    what_ifs.router,
    search_presets.router,
    answers.router,
    search_histories.router,
    search_comparisons.router,
    candidates.router,
    trials.router,
    measurements.router,
    latencies.router,
    classifications.router,
    latency_tables.router,
    cost_tables.router,
    devices.router,
    board_rules.router,
    canaries.router,
    supernets.router,
    networks.router,
    models.router,
    shipping.router,
    ranking_studies.router,
    spaces.router,
    plugins.router,
    artifacts.router,
    events.router,
    changes.router,
    jobs.router,
    workers.router,
    tokens.router,
    system.router,
)
_VALUES = (LatencyStats, Loss, KindTime, EstimateAgreement, Correlation, RankingResult)
HTTP_THREADS = 100
"""Requests that run at a time; more than may wait for the one writer (`MAX_WAITING_WRITERS`): readers find room."""
_ARTIFACT_PREFIX = "/api/v1/artifacts/"


def create_app(provided: Provided) -> FastAPI:
    """The application; what is `provided` stays the caller's to close."""
    settings = provided.get(ApiSettings)
    app = FastAPI(
        title="hilnas",
        version=settings.version,
        docs_url=None,  # the interactive pages load scripts from elsewhere; the reference is in docs/
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=_lifespan,
    )
    install_provided(app, provided)
    add_routes(app, _ROUTERS)
    routes = [route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    check_policy(route.name for route in routes)
    check_routes(routes)
    install_problem_handlers(app)
    install_openapi(app, _VALUES)
    limits = BodyLimits(settings.max_body_bytes, {_ARTIFACT_PREFIX: settings.max_artifact_bytes})
    # The last one added is the outermost.
    app.add_middleware(NamesInPaths)
    app.add_middleware(BodyLimitGuard, limits=limits)
    app.add_middleware(BodyPatienceGuard, patience=settings.patience)
    app.add_middleware(
        HostAndOriginGuard, allowed_hosts=settings.allowed_hosts, allowed_origins=settings.allowed_origins
    )
    app.add_middleware(RequestContextMiddleware, observer=provided.get(Metrics))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    provided: Provided = app.state.provided
    hub = provided.get(EventHub)
    watcher = asyncio.create_task(hub.run())
    anyio.to_thread.current_default_thread_limiter().total_tokens = HTTP_THREADS
    try:
        yield
    finally:
        hub.stop()
        await watcher
