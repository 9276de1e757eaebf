"""A whole service over a test database, with a worker and devices that are played by the test, one call at a time."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    CanaryReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    Measurement,
    SampleBlock,
    ValidityFlag,
)
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.measuring.profile import MAX_RUNS_PER_BLOCK
from nas_engine.settings.algorithms import RandomSearchSettings
from nas_engine.settings.training import TrainingSpec
from server.access.principal import NOBODY, Creator
from server.access.tokens import Tokens
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.bootstrap.job_kinds import all_job_kinds
from server.candidates.boards import OWN_DEVICE
from server.candidates.candidate import Candidate, CandidateQuery, HeldOutAccuracy
from server.candidates.candidate_store import CandidateStore
from server.candidates.payloads import EvaluatePayload
from server.candidates.search import Search
from server.candidates.spec import SearchSpec, parse_search_spec
from server.candidates.states import CandidateState
from server.classifying.queries import Classifications
from server.classifying.results import ClassificationResults
from server.core.paging import PageRequest
from server.fleet.device import Device, DeviceCapabilities, Enrolment
from server.fleet.devices import Devices
from server.fleet.sessions import AgentOrders, AgentReport, AgentSessions, RunningLease
from server.jobs.dispatch import Dispatch
from server.jobs.failures import Failure
from server.jobs.job import Job, JobQuery, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.results import JobResults, ResultReceipt
from server.jobs.settings import LeaseSettings, SearchSettings
from server.jobs.states import JobKind, JobState
from server.measuring.canaries.canaries import Canaries
from server.measuring.conversion import ConversionResults, ConvertedModel
from server.measuring.payloads import MeasurePayload
from server.measuring.queries import Latencies
from server.measuring.results import MeasurementResults
from server.searches.admission import Admission
from server.searches.evaluation_results import EvaluationResults
from server.searches.fronts.fronts import FrontMaths, Fronts
from server.searches.searches import Searches
from server.searches.steps.step import NewCandidate, SearchStepOutcome, StepStatus, StepVerdict
from server.searches.steps.steps import SearchSteps
from server.studies.studies import RankingStudies
from server.training.networks.networks import Networks
from server.training.supernet import Supernet
from server.training.supernets import NewVersion, Supernets
from tests.support.fakes.service import NUM_CHOICES, NUM_GENES, FakeDatasets, FakeSpaces, toy_record
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.enrolment_tokens import token_for

IDENTITY = DeviceIdentity(
    board_model="Test board",
    device_class=DeviceClass.EMULATED,
    runtime="onnxruntime",
    runtime_versions=(("onnxruntime", "1.20"),),
    clocks_profile="unpinned",
    core_mask="any",
)
SPEC: dict[str, Any] = {
    "space": {"id": "toy"},
    "objectives": [{"metric": "latency_us"}, {"metric": "macs", "goal": "maximize"}],
    "budget": {"num_candidates": 6},
    "algorithm": {"kind": "random", "batch_size": 3},
    "device": {"device_type": "testboard"},
    "measurement": {"validity_policy": "accept_flagged", "profile": "quick"},
}
TRAINING: dict[str, Any] = {"space": {"id": "toy"}, "dataset": "digits", "epochs": 1}


class World:
    """Every use case over one database."""

    def __init__(self, database: TestDatabase, store: FileByteStore, leases: LeaseSettings | None = None) -> None:
        self.database, self.uow = database, database.uow
        leases, searches = leases or LeaseSettings(), SearchSettings()
        wakeups = database.wakeups
        self.spaces, self.datasets = FakeSpaces(), FakeDatasets()
        self.tokens = Tokens(self.uow)
        self.devices = Devices(self.uow, leases)
        kinds = all_job_kinds(searches)
        self.dispatch = Dispatch(self.uow, wakeups, kinds, leases)
        self.sessions = AgentSessions(self.uow, wakeups, kinds, leases)
        self.job_results = JobResults(self.uow, kinds)
        self.results = MeasurementResults(self.uow, kinds, searches)
        self.classification_results = ClassificationResults(self.uow, kinds, Artifacts(self.uow, store), searches)
        self.canaries = Canaries(self.uow, searches=searches)
        self.classifications = Classifications(self.uow)
        self.steps = SearchSteps(self.uow, searches)
        self.evaluations = EvaluationResults(self.uow, searches)
        self.conversions = ConversionResults(self.uow, searches)
        self.artifacts = Artifacts(self.uow, store)
        self.supernets = Supernets(self.uow, self.spaces, self.datasets, searches)
        self.networks = Networks(self.uow, self.spaces, self.datasets, searches)
        self.searches = Searches(
            self.uow, Admission(self.spaces, self.datasets, self.supernets), self.supernets, kinds, searches
        )
        self.studies = RankingStudies(self.uow, self.spaces, self.datasets, searches)
        self.fronts = Fronts(self.uow, FrontMaths())
        self.latencies = Latencies(self.uow)
        made = self.tokens.bootstrap()
        assert made is not None
        self.secrets = made
        self.worker = PlayedWorker(self)

    def enrol(
        self,
        name: str = "bench-1",
        identity: DeviceIdentity = IDENTITY,
        device_type: str = "testboard",
        creator: Creator = NOBODY,
        **more: Any,
    ) -> PlayedDevice:
        """A new device, let in with a token of the creator's."""
        capabilities = DeviceCapabilities(identity=identity, dtypes=(Dtype.FP32, Dtype.FP16))
        enrolment = Enrolment(
            name=name,
            device_type=device_type,
            capabilities=capabilities,
            boot_id=f"boot-{name}",
            instance_epoch=1,
            **more,
        )
        token = token_for(self.uow, identity.device_class, enrolment.device_type, creator=creator)
        device, credential = self.devices.enrol(token, enrolment)
        return PlayedDevice(self, device, credential)

    def record_canary(
        self, device_id: str, *, pool_key: str, passed: bool, reason: str = "the canary is off", **reading: Any
    ) -> int:
        """A run of the golden model on a device; returns how many measurements became suspect."""
        alarm = "" if passed else reason
        return self.canaries.record_under(pool_key, device_id, CanaryReading(**reading), alarm=alarm)

    def spec(self, **changes: Any) -> SearchSpec:
        """A spec of the toy space, with some keys changed."""
        return parse_search_spec({**SPEC, **changes})

    def search(self, **changes: Any) -> Search:
        """A new search."""
        return self.searches.create_search(self.spec(**changes))

    def ready_supernet(self) -> Supernet:
        """A supernet that was trained elsewhere."""
        weights = self.artifacts.put(b"weights", "application/octet-stream")
        training = TrainingSpec.model_validate(TRAINING)
        return self.supernets.register(training, NewVersion(weights_sha256=weights.sha256))

    def candidates(self, search: Search) -> tuple[Candidate, ...]:
        """Every candidate of a search, in the order asked."""
        query = CandidateQuery(search_id=search.id)
        return self.uow.read(lambda tx: CandidateStore(tx).page_of_candidates(query, PageRequest(1000))).items

    def states(self, search: Search) -> list[CandidateState]:
        """Their states."""
        return [candidate.state for candidate in self.candidates(search)]


@dataclass
class PlayedWorker:
    """A worker without a process: asks genotypes in lexicographic order, converts and evaluates by formula."""

    world: World
    name: str = "worker-1"
    accuracy: Callable[[Genotype], float] = field(default=lambda genotype: 0.5 + sum(genotype) / 100)
    answers: Callable[[HeldOutAccuracy], CorrectAnswers] | None = None

    def run(self, kinds: tuple[JobKind, ...] = (JobKind.SEARCH_STEP, JobKind.EVALUATE, JobKind.CONVERT)) -> int:
        """Do every job there is; returns how many."""
        done = 0
        while (job := self.world.dispatch.claim(self.name, kinds)) is not None:
            self.do(job)
            done += 1
        return done

    def do(self, job: Job) -> None:
        """One leased job."""
        match job.kind:
            case JobKind.SEARCH_STEP:
                self.step(lease_of(job))
            case JobKind.EVALUATE:
                self.evaluate(job)
            case JobKind.CONVERT:
                self.convert(job)
            case _:
                raise AssertionError(f"the played worker does no {job.kind}")

    def step(self, lease: LeaseRef) -> StepVerdict:
        """Tell what is finished and ask the next genotypes."""
        return self.world.steps.commit(lease, self.outcome(lease))

    def outcome(self, lease: LeaseRef) -> SearchStepOutcome:
        """What a step would commit: pure of everything but the stored state."""
        given = self.world.steps.load(lease)
        asked_before = 0
        if given.checkpoint is not None:
            assert isinstance(given.checkpoint.payload, dict)
            asked_before = given.checkpoint.payload["asked"]
        algorithm = given.search.spec.algorithm
        batch = min(algorithm.batch_size if isinstance(algorithm, RandomSearchSettings) else 3, given.num_left)
        genotypes = list(itertools.islice(all_genotypes(), asked_before, asked_before + batch))
        return SearchStepOutcome(
            observed=tuple(f.candidate.id for f in given.finished),
            asked=tuple(self._new(given.search, genotype) for genotype in genotypes),
            checkpoint={"asked": asked_before + batch, "huge": 2**100, "float": 1e20, "zero": -0.0},
            code_version="test",
            status=StepStatus.CONTINUE if genotypes else StepStatus.COMPLETED,
            generation=given.search.checkpoint_seq,
            front_size=len(given.finished),
        )

    def evaluate(self, job: Job) -> None:
        """An accuracy by formula."""
        payload = read_payload(EvaluatePayload, job.payload)
        genotype = tuple(payload.architecture.architecture().choices_value())  # type: ignore[arg-type]
        accuracy = HeldOutAccuracy(top1=self.accuracy(genotype), num_images=100)  # type: ignore[arg-type]
        answers = None if self.answers is None else self.answers(accuracy)
        self.world.evaluations.record(lease_of(job), accuracy, answers=answers)

    def convert(self, job: Job) -> None:
        """A model file with the architecture's own bytes."""
        content = str(job.payload["latency_key"]).encode()
        artifact = self.world.artifacts.put(content, "application/onnx")
        conversion = ConvertedModel(sha256=artifact.sha256, format=ModelFormat.ONNX, weights=WeightsOrigin.RANDOM)
        self.world.conversions.record(lease_of(job), conversion)

    def _new(self, search: Search, genotype: Genotype) -> NewCandidate:
        record = toy_record(genotype)
        keys = {
            board.name: self.world.spaces.latency_key(record.architecture, dtype=Dtype.FP32, batch=board.device.batch)
            for board in search.spec.all_boards()
        }
        own = keys.pop(OWN_DEVICE, None)
        return NewCandidate(
            genotype=genotype, record=record, latency_key=own, latency_keys=keys, provenance={"operator": "listed"}
        )


@dataclass
class PlayedDevice:
    """A device agent without a process."""

    world: World
    device: Device
    credential: str
    instance_epoch: int = 1
    num_done: int = 0

    @property
    def id(self) -> str:
        """The device's id."""
        return self.device.id

    def report(self, **changes: Any) -> AgentReport:
        """What it says of itself: idle, unless changed."""
        values: dict[str, Any] = {
            "device_id": self.id,
            "boot_id": self.device.boot_id,
            "instance_epoch": self.instance_epoch,
            "agent_version": "1",
            "capabilities": self.device.capabilities,
            "labels": dict(self.device.labels),
            "free_slots": 1,
        }
        return AgentReport(**{**values, **changes})

    def sync(self, **changes: Any) -> AgentOrders:
        """One call of Sync, without waiting."""
        return self.world.sessions.sync(self.report(**changes))

    def take(self) -> Job | None:
        """Ask for a job and accept it; None where there is none."""
        orders = self.sync()
        if not orders.assignments:
            return None
        job = orders.assignments[0]
        self.world.sessions.renew(self.id, (RunningLease(lease=lease_of(job)),))
        return job

    def measure(self, job: Job, latency_us: float | None = None, **more: Any) -> ResultReceipt:
        """Report a latency for a job: by default one that follows from its model."""
        measured = measurement(latency_us or default_latency_us(job), **more)
        return put_measurement(self.world.results, self.id, lease_of(job), measured, result_digest(job, measured))

    def fail(self, job: Job, type: FailureType, message: str = "it broke") -> ResultReceipt:
        """Report that a job could not be done."""
        digest = hashlib.sha256(f"{job.lease_id}{type}".encode()).hexdigest()
        return self.world.job_results.put_failure(self.id, lease_of(job), Failure(type, message), digest)

    def run(self) -> int:
        """Measure everything there is; returns how many jobs."""
        done = 0
        while (job := self.take()) is not None:
            self.measure(job)
            done += 1
        return done


def lease_of(job: Job) -> LeaseRef:
    """The lease of a leased job."""
    assert job.lease is not None
    return job.lease


def default_latency_us(job: Job) -> float:
    """A latency that depends on the model alone."""
    payload = read_payload(MeasurePayload, job.payload)
    return 100.0 + int(payload.latency_key[:4], 16) / 100


def put_measurement(
    results: MeasurementResults, device_id: str, lease: LeaseRef, measured: Measurement, digest: str
) -> ResultReceipt:
    """Hand a measurement in as it is, without a message to read it from."""
    return results.put(device_id, lease, digest, lambda _: measured)


def result_digest(job: Job, measured: Measurement) -> str:
    """Digest of a result as sent."""
    return hashlib.sha256(f"{job.lease_id}{measured.blocks}{measured.flags}".encode()).hexdigest()


def measurement(
    latency_us: float,
    flags: tuple[ValidityFlag, ...] = (),
    identity: DeviceIdentity = IDENTITY,
    npu_time_source: str | None = None,
) -> Measurement:
    """Ten clean blocks of equal samples, as long as the protocol wants them: enough for any but an audit."""
    latency_ns = round(latency_us * 1000)
    num_runs = min(max(10, math.ceil(100_000_000 / latency_ns)), MAX_RUNS_PER_BLOCK)
    block = SampleBlock(e2e_ns=(latency_ns,) * num_runs)
    return Measurement(
        blocks=(block,) * 10,
        flags=flags,
        environment=EnvironmentRecord(agent_version="1", protocol_version=1),
        hardware_key=HardwareKey(identity=identity, dtype=Dtype.FP32, batch=1),
        load_us=1.0,
        init_us=2.0,
        first_run_us=3.0,
        npu_time_source=npu_time_source,
    )


def all_genotypes() -> itertools.product[tuple[int, ...]]:
    """Every genotype of the toy space, the last gene changing slowest: neighbours differ in latency."""
    reversed_genes = itertools.product(range(NUM_CHOICES), repeat=NUM_GENES)
    return (tuple(reversed(genes)) for genes in reversed_genes)  # type: ignore[return-value]


def run_to_end(world: World, device: PlayedDevice, search: Search, rounds: int = 100) -> Search:
    """Let worker and device work until the search is over."""
    for _ in range(rounds):
        if world.searches.get_search(search.id).state.final:
            break
        if world.worker.run() + device.run() == 0:
            world.dispatch.sweep()
            world.database.skip_backoff()
    return world.searches.get_search(search.id)


def job_states(world: World, search: Search) -> list[tuple[JobKind, JobState]]:
    """Kind and state of a search's jobs, oldest first."""
    page = world.dispatch.page(JobQuery(search_id=search.id), PageRequest(1000))
    return [(job.kind, job.state) for job in reversed(page.items)]
