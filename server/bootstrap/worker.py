"""Composition root of a worker: the process that trains, evaluates and steps searches. The only one with torch.

``hilnas worker`` runs `main`. Any number of workers share one database and one artifact store.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from importlib.metadata import version

# Before torch is loaded: how often a thread of OpenMP's pool looks for work before it sleeps. With libgomp's own
# 300,000, a training beside one busy process takes three times as long; with none, a training alone twice as long.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import sqlalchemy as sa
import structlog
import torch
from pydantic import ValidationError

from nas_engine.domain.errors import EngineError
from nas_engine.domain.host.host_lock import HostLock
from nas_engine.export.rknn.cache import ConversionCache
from nas_engine.export.rknn.converter import RknnConverter, find_converter, installed_converter
from nas_engine.export.rknn.process import PoolSettings
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.threads import use_threads
from server.artifacts.artifact import ModelFormat
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.bootstrap.job_kinds import all_job_kinds
from server.bootstrap.logs import configure_logging
from server.bootstrap.pulse import Pulse
from server.bootstrap.schema import current_revision, open_database
from server.bootstrap.settings import Settings
from server.bootstrap.watchdog import MIN_LIMIT_S, Watchdog
from server.core.database.transaction import UnitOfWork
from server.core.database.wakeups import Wakeups
from server.core.errors import StorageFullError
from server.fleet.selection import converter_labels
from server.jobs.dispatch import Dispatch
from server.jobs.registry import HEAVY_LANE, Executor, JobKinds
from server.jobs.states import JobKind
from server.jobs.worker.handlers import Handler
from server.jobs.worker.loop import Worker
from server.latencies.predictors.fits import Fits
from server.latencies.worker import FitHandler
from server.latency_tables.latency_tables import LatencyTables
from server.measuring.conversion import ConversionResults
from server.measuring.worker.converting import ConvertHandler
from server.measuring.worker.golden import make_golden_when_needed
from server.measuring.worker.rknn import RknnMaker
from server.searches.admission import Admission
from server.searches.evaluation_results import EvaluationResults
from server.searches.fronts.fronts import FrontMaths, Fronts
from server.searches.searches import Searches
from server.searches.steps.derivations import Derivations
from server.searches.steps.long_jobs import LongJobs
from server.searches.steps.shifts import Shifts
from server.searches.steps.steps import SearchSteps
from server.searches.what_if.what_ifs import WhatIfs
from server.searches.what_if.work import WhatIfWork
from server.searches.worker.carrying_over import WhatIfHandler
from server.searches.worker.deriving.handler import DeriveHandler
from server.searches.worker.evaluating import EvaluateHandler
from server.searches.worker.shifting import ShiftHandler
from server.searches.worker.stepping import StepHandler
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.result_tables import SpaceTables
from server.spaces.worker import WorkerResources
from server.studies.rank_jobs import RankJobs
from server.studies.worker import RankHandler, correlate
from server.training.calibration import CalibrationDatasets
from server.training.networks.networks import Networks
from server.training.supernets import Supernets
from server.training.worker.accuracies import Accuracies
from server.training.worker.supernets import LoadedSupernets
from server.training.worker.training import TrainHandler

_log = structlog.get_logger("hilnas.worker")
ALIVE_FILE = "worker.alive"

LEASES_UNTIL_HUNG = 2.0
"""A worker that cannot run for so many lease times has lost its jobs, and ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """Everything the process runs, put together but not started."""

    worker: Worker
    wakeups: Wakeups
    engine: sa.Engine
    uow: UnitOfWork
    rknn: RknnMaker | None = None


def build(settings: Settings) -> WorkerProcess:
    """Open the database and put everything together.

    Raises:
        OSError, sqlalchemy.exc.SQLAlchemyError: the home folder or the database cannot be used.
        EngineError: the data set file is not valid.
    """
    engine = open_database(settings)
    wakeups = Wakeups(engine)
    uow = UnitOfWork(engine, wakeups)
    kinds = all_job_kinds()
    dispatch = Dispatch(uow, wakeups, kinds, settings.leases)
    owner = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
    artifacts = Artifacts(uow, FileByteStore(settings.effective_artifact_dir, min_free_bytes=settings.min_free_bytes))
    rknn = _rknn(settings, artifacts)
    worker = Worker(
        dispatch,
        owner[:40],
        _handlers(settings, uow, kinds, artifacts, rknn),
        {} if rknn is None else converter_labels(ModelFormat.RKNN),
        folder=settings.home,
        begin_lane=_threads_of_lanes(settings.worker_threads),
    )
    return WorkerProcess(worker=worker, wakeups=wakeups, engine=engine, uow=uow, rknn=rknn)


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    try:
        settings = Settings.load()
    except ValidationError as error:
        sys.stderr.write(f"hilnas worker: {error}\n")
        return 2
    configure_logging(settings.log_level, as_json=settings.log_json)
    try:
        with ExitStack() as stack:
            process = build(settings)
            stack.callback(process.engine.dispose)
            if process.rknn is not None:
                stack.callback(process.rknn.close)
                stopped = threading.Event()
                stack.callback(stopped.set)
                golden = (process.uow, process.rknn, stopped)
                threading.Thread(target=make_golden_when_needed, args=golden, daemon=True).start()
            process.wakeups.start()
            stack.callback(process.wakeups.close)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: process.worker.stop())
            pulse = Pulse(settings.home / ALIVE_FILE, lambda: current_revision(process.engine))
            pulse.start()
            stack.callback(pulse.stop)
            watchdog = Watchdog(max(MIN_LIMIT_S, LEASES_UNTIL_HUNG * settings.lease_ttl_s))
            watchdog.start()
            stack.callback(watchdog.stop)
            _log.info("worker ready", device=str(_device(settings)), rknn=process.rknn is not None)
            process.worker.run()
    except (OSError, EngineError, StorageFullError) as error:
        sys.stderr.write(f"hilnas worker: {error}\n")
        return 1
    except sa.exc.DBAPIError as error:  # damage that shows only now
        sys.stderr.write(f"hilnas worker: the database cannot be used: {error.orig}; restore a backup\n")
        return 1
    return 0


def _threads_of_lanes(wanted: int | None) -> Callable[[Executor], None]:
    """Every lane computes on one core, and so does this thread, except the one that is there for long-running jobs."""
    heavy = torch.get_num_threads() if wanted is None else wanted
    use_threads(1)
    return lambda lane: use_threads(heavy if lane is HEAVY_LANE else 1)


def _rknn(settings: Settings, artifacts: Artifacts) -> RknnMaker | None:
    """The RKNN converter; None where none is named and none is at the default place.

    Raises:
        ConversionError: the one that is named does not work.
    """
    if settings.rknn_python is None and installed_converter() is None:
        return None
    pool = PoolSettings(command=find_converter(settings.rknn_python), num_processes=settings.rknn_processes)
    return RknnMaker(RknnConverter(pool, ConversionCache(settings.home / "worker" / "rknn")), artifacts)


def _pixel_cache(settings: Settings) -> PixelCache | None:
    if settings.pixel_cache_bytes == 0:
        return None
    folder = settings.home / "worker" / "pixels"
    return PixelCache(folder, settings.pixel_cache_bytes, min_free_bytes=settings.min_free_bytes)


def _handlers(
    settings: Settings, uow: UnitOfWork, kinds: JobKinds, artifacts: Artifacts, rknn: RknnMaker | None
) -> Mapping[JobKind, Handler]:
    spaces = SpaceCatalog(SpaceTables(uow, artifacts))
    datasets = DatasetCatalog.from_file(settings.datasets_file)
    supernets = Supernets(uow, spaces, datasets)
    searches = Searches(uow, Admission(spaces, datasets, supernets), supernets, kinds)
    resources = WorkerResources(
        spaces=spaces,
        datasets=datasets,
        artifacts=artifacts,
        folder=settings.home / "worker",
        device=_device(settings),
        pause=nullcontext if settings.host_lock is None else HostLock(settings.host_lock).working,
        host_lock=settings.host_lock,
        pixels=_pixel_cache(settings),
    )
    loaded, accuracies = LoadedSupernets(supernets, resources), Accuracies(resources)
    code_version = version("hilnas")
    tables = LatencyTables(uow, spaces)
    return {
        JobKind.SEARCH_STEP: StepHandler(
            SearchSteps(uow),
            Fronts(uow, FrontMaths()),
            spaces,
            code_version,
        ),
        JobKind.CONVERT: ConvertHandler(ConversionResults(uow), CalibrationDatasets(uow).images, resources, rknn),
        JobKind.EVALUATE: EvaluateHandler(searches, EvaluationResults(uow), resources, loaded, accuracies),
        JobKind.SHIFT: ShiftHandler(Shifts(uow, LongJobs(uow)), resources, loaded, accuracies),
        JobKind.DERIVE: DeriveHandler(Derivations(uow, LongJobs(uow)), resources, tables),
        JobKind.TRAIN: TrainHandler(supernets, Networks(uow, spaces, datasets), resources, loaded),
        JobKind.RANK: RankHandler(RankJobs(uow, correlate), resources, loaded),
        JobKind.FIT: FitHandler(Fits(uow), spaces, artifacts),
        JobKind.WHAT_IF: WhatIfHandler(
            WhatIfWork(uow, WhatIfs(uow, spaces, artifacts)), Fronts(uow, FrontMaths()), spaces, artifacts
        ),
    }


def _device(settings: Settings) -> torch.device:
    if settings.worker_device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.worker_device)


if __name__ == "__main__":
    raise SystemExit(main())
