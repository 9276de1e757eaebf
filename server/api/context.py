"""What the routes work with: the service's use cases, handed over by the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from server.api.event_stream import EventHub
from server.api.metrics import Metrics
from server.api.paging import PageTokens
from server.api.schemas.system import ReadinessCheck
from server.service.artifacts import Artifacts
from server.service.candidate_retraining import CandidateRetraining
from server.service.classifications import Classifications
from server.service.cost_reports import CostReports
from server.service.deployables import DeployableModels
from server.service.devices import Devices
from server.service.dispatch import Dispatch
from server.service.events import Events
from server.service.fronts import Fronts
from server.service.idempotency import Idempotency
from server.service.latencies import Latencies
from server.service.latency_tables import LatencyTables
from server.service.ports.engine import DatasetCatalog, SpaceCatalog
from server.service.ports.models import ModelCheck
from server.service.ports.unit_of_work import UnitOfWork
from server.service.ranking_studies import RankingStudies
from server.service.searches import Searches
from server.service.space_tables import SpaceTables
from server.service.supernets import Supernets
from server.service.tokens import Tokens


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
