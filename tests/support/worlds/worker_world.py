"""A service over a SQLite file with the real worker's handlers, run in-process one job at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_engine.settings.training import TrainingSpec
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.randomness import Randomness, Stream
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.bootstrap import worker as worker_process
from server.bootstrap.job_kinds import all_job_kinds
from server.bootstrap.settings import Settings
from server.candidates.candidate import Candidate, CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.core.event_type import EventType
from server.core.events import Event, EventQuery, EventStore
from server.core.paging import PageRequest
from server.jobs.dispatch import Dispatch
from server.jobs.job import Job
from server.jobs.worker.handlers import failure_of
from server.searches.admission import Admission
from server.searches.fronts.fronts import FrontMaths, Fronts
from server.searches.searches import Searches
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.result_tables import SpaceTables
from server.studies.studies import RankingStudies
from server.training.networks.networks import Networks
from server.training.supernet import Supernet
from server.training.supernets import NewVersion, Supernets
from tests.support.samples.datasets import write_registry
from tests.support.worlds.databases import TestDatabase

TINY_SPACE: dict[str, Any] = {
    "id": "spos",
    "parameters": {
        "num_classes": 3,
        "input_size": 8,
        "input_channels": 1,
        "stem_channels": 4,
        "stem_stride": 1,
        "stage_channels": [8],
        "stage_repeats": [3],
        "tail_channels": 16,
        "dropout": 0.0,
    },
}
TRAINING: dict[str, Any] = {"space": TINY_SPACE, "dataset": "stripes", "iterations": 4, "batch_size": 16}
SPEC: dict[str, Any] = {
    "space": TINY_SPACE,
    "objectives": [{"metric": "macs"}, {"metric": "params", "goal": "maximize"}],
    "budget": {"num_candidates": 12},
}
EVALUATION = {"num_calibration_batches": 1, "batch_size": 40}


class WorkerWorld:
    """Use cases of the server, and the worker's own handlers."""

    def __init__(self, database: TestDatabase, folder: Path) -> None:
        self.database, self.uow = database, database.uow
        self.folder = folder
        settings = Settings(
            home=folder, datasets_file=write_registry(folder, {"stripes": 3, "bands": 2}), worker_device="cpu"
        )
        self.artifacts = Artifacts(self.uow, FileByteStore(settings.effective_artifact_dir))
        self.space_tables = SpaceTables(self.uow, self.artifacts)
        self.spaces = SpaceCatalog(self.space_tables)
        self.datasets = DatasetCatalog.from_file(settings.datasets_file)
        kinds = all_job_kinds()
        self.dispatch = Dispatch(self.uow, database.wakeups, kinds, settings.leases)
        self.supernets = Supernets(self.uow, self.spaces, self.datasets)
        self.networks = Networks(self.uow, self.spaces, self.datasets)
        self.studies = RankingStudies(self.uow, self.spaces, self.datasets)
        admission = Admission(self.spaces, self.datasets, self.supernets, self.artifacts)
        self.searches = Searches(self.uow, admission, self.supernets, kinds)
        self.fronts = Fronts(self.uow, FrontMaths())
        self.settings = settings
        self.handlers = worker_process._handlers(settings, self.uow, kinds, self.artifacts, None)

    def restart(self) -> None:
        """A worker that remembers nothing."""
        self.handlers = worker_process._handlers(self.settings, self.uow, self.dispatch.kinds, self.artifacts, None)

    def search(self, **changes: Any) -> Search:
        """A new search of the tiny space."""
        return self.searches.create_search(parse_search_spec({**SPEC, **changes}))

    def claim(self) -> Job | None:
        """Lease the next job."""
        return self.dispatch.claim("worker")

    def do(self, job: Job) -> None:
        """Do one leased job with its real handler."""
        assert job.lease is not None
        self.handlers[job.kind](job, job.lease, lambda: False)

    def run(self, limit: int = 500) -> int:
        """Do every job there is; errors of handlers are raised here."""
        for done in range(limit):
            job = self.claim()
            if job is None:
                return done
            self.do(job)
        raise AssertionError(f"{limit} jobs were not enough")

    def run_and_report(self, limit: int = 500) -> None:
        """Do every job there is; errors of handlers are reported as the worker's loop reports them."""
        for _ in range(limit):
            job = self.claim()
            if job is None:
                return
            try:
                self.do(job)
            except Exception as error:
                assert job.lease is not None
                self.dispatch.fail(job.lease, failure_of(error))
        raise AssertionError(f"{limit} jobs were not enough")

    def ran(self, **changes: Any) -> Search:
        """A new search, run until there is nothing to do."""
        search = self.search(**changes)
        self.run()
        return self.searches.get_search(search.id)

    def candidates(self, search: Search) -> tuple[Candidate, ...]:
        """Every candidate in the order asked."""
        return self.uow.read(
            lambda tx: CandidateStore(tx).page_of_candidates(CandidateQuery(search_id=search.id), PageRequest(1000))
        ).items

    @staticmethod
    def report(search: Search, topic: str) -> Any:
        """What the algorithm of a search says of one topic."""
        return search.progress.report[topic]

    def generation_events(self, search: Search) -> list[Mapping[str, Any]]:
        """What was told of each step."""
        query = EventQuery(search_id=search.id)
        events: tuple[Event, ...] = self.uow.read(lambda tx: EventStore(tx).events_after(0, query, 1000))
        return [event.payload for event in events if event.type is EventType.GENERATION]

    def ready_supernet(self, **changes: Any) -> Supernet:
        """A supernet with drawn weights, as if trained elsewhere."""
        training = TrainingSpec.model_validate({**TRAINING, **changes})
        space = create_space(training.space.id, training.space.parameters)
        weights = WeightStore.create(space.supernet_graphs(), Randomness(1).torch(Stream.INITIAL_WEIGHTS, 0))
        path = self.folder / "made.safetensors"
        weights.save(path)
        stored = self.artifacts.put(path.read_bytes(), "application/vnd.safetensors")
        return self.supernets.register(training, NewVersion(weights_sha256=stored.sha256))
