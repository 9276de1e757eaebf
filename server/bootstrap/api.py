"""Composition root of the API process: REST, web pages and the agents' endpoint. Holds no torch.

``hilnas server`` serves it (`server.bootstrap.serving`). Everything is put together here, once, from `Settings`;
nothing below reads the environment or makes an adapter by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import TypeVar

import sqlalchemy as sa
import structlog
from fastapi import FastAPI

from nas_engine.domain.measurement import DeviceClass
from nas_engine.domain.plugins.apart import keep_apart
from server.access.changes.changes import Changes
from server.access.limits.quotas import Quotas
from server.access.sessions import Sessions
from server.access.tokens import EnrolmentTokens, Principals, Tokens
from server.artifacts.artifact import ModelFormat
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.artifacts.model_check import ModelCheck
from server.artifacts.scrub import ArtifactScrubs
from server.bootstrap.agents import agent_services
from server.bootstrap.housekeeping import Housekeeping
from server.bootstrap.http.app import create_app
from server.bootstrap.http.health import artifacts_check, database_check, job_depths
from server.bootstrap.http.system_routes import Probes
from server.bootstrap.job_kinds import all_job_kinds
from server.bootstrap.owners import all_orders, all_owners, all_subjects
from server.bootstrap.references import all_references
from server.bootstrap.schema import open_database
from server.bootstrap.secret_files import secret_key, signing_key
from server.bootstrap.settings import Settings
from server.classifying.queries import Classifications
from server.core.database.transaction import UnitOfWork
from server.core.database.wakeups import Topic, Wakeups
from server.core.events import Events
from server.core.http.event_stream import EventHub, StreamLimits
from server.core.http.metrics import Metrics
from server.core.http.paging import PageTokens
from server.core.http.provide import ApiSettings, Provided
from server.core.idempotency import Idempotency
from server.fleet.devices import Devices
from server.fleet.rpc import AgentServices
from server.fleet.sharing.board_rules import BoardRules
from server.jobs.dispatch import Dispatch
from server.jobs.registry import JobKinds
from server.latencies.answers import LatencyAsking
from server.latencies.known_hardware import KnownHardware
from server.latencies.networks import NetworkReader
from server.latencies.ordering import LatencyOrders
from server.latencies.predictors.predictors import Predictors
from server.latencies.predictors.shelf import PredictorShelf
from server.latency_tables.batches import Batches
from server.latency_tables.cost_reports import CostReports
from server.latency_tables.estimates import EstimateMaths
from server.latency_tables.imported.cost_tables import CostTables
from server.latency_tables.keeper import BatchKeeper
from server.latency_tables.latency_tables import LatencyTables
from server.measuring.canaries.canaries import Canaries, CanarySettings, GoldenModel
from server.measuring.canaries.golden import GOLDEN_KEY, golden_onnx
from server.measuring.orders import SharedMeasurements
from server.measuring.queries import Latencies
from server.searches.admission import Admission
from server.searches.answers.answer import Answers
from server.searches.comparing.comparison import Comparisons
from server.searches.fronts.fronts import FrontMaths, Fronts
from server.searches.searches import Searches
from server.searches.trials.trials import Trials
from server.searches.what_if.what_ifs import WhatIfs
from server.shipping.bundles import EvidenceBundles
from server.shipping.exports import CandidateExports
from server.shipping.layers import LayerTimes
from server.shipping.neighbours import Neighbourhoods
from server.shipping.spare_time import SpareTime
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.result_tables import SpaceTables
from server.studies.studies import RankingStudies
from server.training.deployables import DeployableModels
from server.training.networks.candidate_retraining import CandidateRetraining
from server.training.networks.networks import Networks
from server.training.supernets import Supernets
from server.web.app import install_web

T = TypeVar("T")
_log = structlog.get_logger("hilnas.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiProcess:
    """Everything the process runs, put together but not started."""

    app: FastAPI
    provided: Provided
    uow: UnitOfWork
    agents: AgentServices
    housekeeping: Housekeeping
    wakeups: Wakeups
    engine: sa.Engine

    def get(self, kind: type[T]) -> T:
        """What the routes get when they ask for this class."""
        return self.provided.get(kind)


def build(settings: Settings) -> ApiProcess:
    """Open the database (bringing its schema up to date) and put everything together.

    Raises:
        OSError, sqlalchemy.exc.SQLAlchemyError: the home folder or the database cannot be used.
    """
    keep_apart()
    engine = open_database(settings)
    wakeups = Wakeups(engine)
    uow, kinds = UnitOfWork(engine, wakeups), all_job_kinds()
    provided = _use_cases(settings, engine, wakeups, uow, kinds)

    # Boards run the golden model; emulated and simulated devices would only show their host's noise, or nothing.
    artifacts = provided.get(Artifacts)
    onnx = artifacts.put(golden_onnx(), "application/onnx")
    golden = GoldenModel(sha256=onnx.sha256, size_bytes=onnx.size_bytes, format=ModelFormat.ONNX)
    canary_settings = CanarySettings(device_classes=frozenset({DeviceClass.BOARD}))
    canaries = Canaries(uow, [golden], canary_settings, GOLDEN_KEY)
    agents = agent_services(uow, wakeups, kinds, artifacts, canaries, settings.leases)

    app = create_app(provided)
    install_web(app)
    return ApiProcess(
        app=app,
        provided=provided,
        uow=uow,
        agents=agents,
        housekeeping=Housekeeping(
            provided.get(Dispatch),
            provided.get(Events),
            provided.get(Idempotency),
            provided.get(BatchKeeper),
            provided.get(Sessions),
            provided.get(Quotas),
            provided.get(ArtifactScrubs),
            provided.get(Predictors),
            provided.get(Changes),
            provided.get(WhatIfs),
            SharedMeasurements(uow),
        ),
        wakeups=wakeups,
        engine=engine,
    )


def _use_cases(settings: Settings, engine: sa.Engine, wakeups: Wakeups, uow: UnitOfWork, kinds: JobKinds) -> Provided:
    """Everything that routes ask for, concern by concern."""
    api_settings = ApiSettings(
        version=version("hilnas"),
        auth_required=not settings.insecure_no_auth,
        allowed_hosts=settings.effective_allowed_hosts,
        allowed_origins=settings.allowed_origins,
        max_artifact_bytes=settings.max_artifact_bytes,
        patience=settings.patience,
    )
    tokens = Tokens(uow, settings.enrolment)
    sessions = Sessions(uow, tokens, settings.sessions, settings.quotas)
    dispatch = Dispatch(uow, wakeups, kinds, settings.leases)
    page_tokens = PageTokens(secret_key(settings.home, settings.secret_key.get_secret_value()))
    hub = EventHub(
        lambda: wakeups.token(Topic.EVENTS),
        StreamLimits(max_per_token=settings.quotas.event_streams, setting="HILNAS_QUOTA_EVENT_STREAMS"),
        ended=sessions.ended,
    )
    files = FileByteStore(settings.effective_artifact_dir, min_free_bytes=settings.min_free_bytes)
    probes = Probes((lambda: database_check(engine, settings.min_free_bytes), lambda: artifacts_check(files)))
    health = (Metrics((lambda: job_depths(dispatch),)), probes)
    core = (api_settings, uow, all_references(uow), Events(uow, wakeups), Idempotency(uow), page_tokens, hub, *health)

    artifacts = Artifacts(uow, files)
    scrubs = ArtifactScrubs(uow, files, timedelta(hours=settings.scrub_every_h))
    models = ModelCheck(memory_bytes=settings.model_check_memory_bytes, num_at_once=settings.model_checks)
    access = (
        tokens,
        sessions,
        EnrolmentTokens(uow, settings.enrolment),
        Principals(uow),
        all_owners(uow),
        all_subjects(),
        Changes(uow),
        all_orders(settings.quotas),
    )
    access_and_jobs = (*access, Quotas(uow, settings.quotas), artifacts, scrubs, models, dispatch)

    space_tables = SpaceTables(uow, artifacts)
    spaces, datasets = SpaceCatalog(space_tables), DatasetCatalog.from_file(settings.datasets_file)
    what_is_searched = (spaces, space_tables, datasets)

    tables = LatencyTables(uow, spaces)
    reports = CostReports(uow, tables, spaces, EstimateMaths())
    keeper = BatchKeeper(uow, tables, reports)
    latencies = Latencies(uow)
    boards = (Devices(uow, settings.leases), BoardRules(uow), latencies, Classifications(uow))
    latency_tables = (tables, reports, Batches(uow), keeper, CostTables(artifacts))

    networks_asked = NetworkReader(spaces)
    without_boards = (
        LatencyAsking(uow, networks_asked, PredictorShelf(artifacts, spaces)),
        LatencyOrders(uow, spaces, networks_asked, latencies, artifacts, models),
        KnownHardware(uow),
        Predictors(uow),
    )

    supernets = Supernets(uow, spaces, datasets)
    networks = Networks(uow, spaces, datasets)
    models_to_ship = DeployableModels(uow)
    training = (supernets, networks, CandidateRetraining(uow, networks), models_to_ship)
    searches = Searches(uow, Admission(spaces, datasets, supernets, artifacts), supernets, kinds)
    fronts = Fronts(uow, FrontMaths())
    comparisons = Comparisons(uow, fronts, FrontMaths())
    trials = Trials(uow, dispatch, spaces)
    what_ifs = WhatIfs(uow, spaces, artifacts)
    studies = RankingStudies(uow, spaces, datasets)
    searching = (searches, fronts, comparisons, Answers(uow, fronts), trials, what_ifs, studies)

    bundles = EvidenceBundles(uow, artifacts, models_to_ship, signing_key(settings.home, settings.evidence_key_file))
    neighbourhoods = Neighbourhoods(uow, spaces, tables)
    explaining = (neighbourhoods, SpareTime(uow, spaces, neighbourhoods), LayerTimes(uow, spaces, artifacts))
    shipping = (CandidateExports(uow), bundles, *explaining)

    return Provided(
        *core,
        *access_and_jobs,
        *what_is_searched,
        *boards,
        *latency_tables,
        *without_boards,
        *training,
        *searching,
        *shipping,
    )
