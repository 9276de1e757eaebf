"""What the routes work with: the use cases, handed over by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from server.access.tokens import Tokens
from server.artifacts.artifacts import Artifacts
from server.artifacts.model_check import ModelCheck
from server.bootstrap.schemas import ReadinessCheck
from server.classifying.queries import Classifications
from server.core.database.transaction import UnitOfWork
from server.core.events import Events
from server.core.http.event_stream import EventHub
from server.core.http.metrics import Metrics
from server.core.http.paging import PageTokens
from server.core.idempotency import Idempotency
from server.fleet.devices import Devices
from server.jobs.dispatch import Dispatch
from server.latency_tables.batches import Batches
from server.latency_tables.cost_reports import CostReports
from server.latency_tables.latency_tables import LatencyTables
from server.measuring.queries import Latencies
from server.searches.fronts import Fronts
from server.searches.searches import Searches
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.result_tables import SpaceTables
from server.studies.studies import RankingStudies
from server.training.candidate_retraining import CandidateRetraining
from server.training.deployables import DeployableModels
from server.training.supernets import Supernets


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """What the API's composition root decides.

    Attributes:
        version: of this server.
        auth_required: False makes every caller an admin; for loopback only.
        allowed_hosts, allowed_origins: see `HostAndOriginGuard`.
        max_body_bytes: of JSON bodies.
        max_artifact_bytes: of uploaded artifacts.
    """

    version: str
    auth_required: bool = True
    allowed_hosts: tuple[str, ...] = ("*",)
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 1 << 20
    max_artifact_bytes: int = 2 << 30


Probe = Callable[[], ReadinessCheck]
"""Looks at one thing the server needs; does not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """Everything the routes need; one per process."""

    settings: ApiSettings
    uow: UnitOfWork
    tokens: Tokens
    idempotency: Idempotency
    events: Events
    artifacts: Artifacts
    searches: Searches
    fronts: Fronts
    latencies: Latencies
    classifications: Classifications
    latency_tables: LatencyTables
    cost_reports: CostReports
    batches: Batches
    devices: Devices
    supernets: Supernets
    candidate_retraining: CandidateRetraining
    deployables: DeployableModels
    ranking_studies: RankingStudies
    dispatch: Dispatch
    models: ModelCheck
    spaces: SpaceCatalog
    space_tables: SpaceTables
    datasets: DatasetCatalog
    page_tokens: PageTokens
    hub: EventHub
    metrics: Metrics
    probes: tuple[Probe, ...] = ()


def _context(request: Request) -> ApiContext:
    return cast(ApiContext, request.app.state.context)


Context = Annotated[ApiContext, Depends(_context)]
