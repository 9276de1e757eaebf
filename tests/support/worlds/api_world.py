"""The API process' own wiring over a real SQLite file, with a worker and a board played by hand.

Nothing is faked below the use cases: searches step, candidates finish and measurements arrive through the
same calls that workers and agents make.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
from starlette.testclient import TestClient

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import (
    ClockReading,
    DeviceClass,
    DeviceIdentity,
    EnvironmentRecord,
    HardwareKey,
    Measurement,
    SampleBlock,
    Validity,
    ValidityFlag,
)
from nas_engine.domain.measuring.profile import MAX_RUNS_PER_BLOCK
from server.access.sessions import Sessions
from server.access.token import Role
from server.access.tokens import Tokens
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.artifacts import Artifacts
from server.bootstrap.api import ApiProcess, build
from server.bootstrap.job_kinds import all_job_kinds
from server.bootstrap.settings import Settings
from server.candidates.boards import OWN_DEVICE
from server.candidates.spec import SearchSpec
from server.fleet.device import Device, DeviceCapabilities, Enrolment
from server.fleet.devices import Devices
from server.fleet.sessions import AgentReport
from server.jobs.dispatch import Dispatch
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.results import JobResults, ResultStatus
from server.jobs.states import JobKind
from server.measuring.conversion import ConversionResults, ConvertedModel
from server.measuring.payloads import ConvertPayload, MeasurePayload
from server.measuring.results import MeasurementResults
from server.searches.steps.step import NewCandidate, SearchStepOutcome, StepStatus
from server.searches.steps.steps import SearchSteps
from server.spaces.catalog import SpaceCatalog
from tests.support.worlds.databases import place_migrated
from tests.support.worlds.enrolment_tokens import token_for
from tests.support.worlds.service_world import put_measurement

ADMIN = "nas_adm_the-admin-token-of-the-tests"
ENROLMENT = "nas_enr_the-enrolment-token-of-the-tests"
SMALL_PARAMETERS: dict[str, JsonValue] = {"input_size": 32, "stage_repeats": [1, 1, 1, 1], "num_classes": 10}
SMALL_SPACE: dict[str, JsonValue] = {"id": "spos", "parameters": SMALL_PARAMETERS}


@dataclass
class World:
    """One API process in this very process, and what happens around it."""

    process: ApiProcess
    dispatch: Dispatch
    steps: SearchSteps
    conversions: ConversionResults
    results: MeasurementResults
    num_results: int = 0

    @classmethod
    def open(cls, home: Path, *, auth: bool = True, **changes: object) -> World:
        """Build everything under a folder; the admin token is `ADMIN`. `changes` are of the settings."""
        settings = Settings.load(
            {
                "home": home,
                "admin_token": ADMIN,
                "enrolment_token": ENROLMENT,
                "insecure_no_auth": not auth,
                "allowed_hosts": ("testserver", "127.0.0.1", "localhost"),
                "min_free_bytes": 0,
                **changes,
            }
        )
        if not settings.database_url:
            place_migrated(home / "hilnas.sqlite3")
        process = build(settings)
        process.get(Tokens).bootstrap(admin_secret=ADMIN, enrolment_secret=ENROLMENT)
        uow = process.uow
        kinds = all_job_kinds()
        dispatch = Dispatch(uow, process.wakeups, kinds)
        return cls(process, dispatch, SearchSteps(uow), ConversionResults(uow), MeasurementResults(uow, kinds))

    @property
    def job_results(self) -> JobResults:
        """Takes in that devices could not do a job."""
        return JobResults(self.process.uow, all_job_kinds())

    def close(self) -> None:
        """Let go of the database."""
        self.process.engine.dispose()

    def client(self, token: str | None = ADMIN) -> httpx2.Client:
        """A client of the application, without a socket."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return TestClient(self.process.app, headers=headers, raise_server_exceptions=False)

    def token(self, role: Role) -> str:
        """A fresh token of one role."""
        return self.process.get(Tokens).create(f"a {role.value}", [role])[1]

    def session(self, token: str = ADMIN) -> str:
        """What the cookie holds after a login with a token."""
        return self.process.get(Sessions).start(token)

    def enrol(
        self,
        name: str = "bench-1",
        device_type: str = "rk3588",
        device_class: DeviceClass = DeviceClass.BOARD,
        enrolment_token: str | None = None,
    ) -> Device:
        """A board that has just enrolled."""
        enrolment = Enrolment(name=name, device_type=device_type, capabilities=capabilities(device_class))
        token = enrolment_token or token_for(self.process.uow, device_class, device_type)
        return self.process.get(Devices).enrol(token, enrolment)[0]

    def step(self, genotypes: Sequence[Sequence[int]] = (), *, last: bool = False) -> None:
        """Do the next search step: tell what is finished, ask these genotypes; `last` completes the search."""
        job = self._claim(JobKind.SEARCH_STEP)
        given = self.steps.load(_lease(job))
        spec = given.search.spec
        asked = []
        for genotype in genotypes:
            record = self.process.get(SpaceCatalog).decode(spec.space.id, spec.space.parameters, tuple(genotype))
            keys = self._latency_keys(spec, record.architecture)
            own = keys.pop(OWN_DEVICE, None)
            asked.append(NewCandidate(genotype=tuple(genotype), record=record, latency_key=own, latency_keys=keys))
        done = sum(one.candidate.state.final for one in given.finished)
        outcome = SearchStepOutcome(
            observed=tuple(one.candidate.id for one in given.finished),
            asked=tuple(asked),
            checkpoint={"step": given.search.checkpoint_seq + 1},
            code_version="test",
            status=StepStatus.COMPLETED if last else StepStatus.CONTINUE,
            generation=given.search.checkpoint_seq,
            front_size=done,
            hypervolume=float(done) if done else None,
            reference_point=tuple(1e9 for _ in spec.objectives) if done else None,
        )
        self.steps.commit(_lease(job), outcome)

    def _latency_keys(self, spec: SearchSpec, architecture: Architecture) -> dict[str, str]:
        spaces, found = self.process.get(SpaceCatalog), {}
        for board in spec.all_boards():
            key = spaces.latency_key(architecture, dtype=board.device.dtype, batch=board.device.batch)
            if key is not None:
                found[board.name] = key
        return found

    def convert_all(self) -> None:
        """Make every model file that is waited for."""
        while (job := self.dispatch.claim("worker-1", (JobKind.CONVERT,))) is not None:
            payload = read_payload(ConvertPayload, job.payload)
            model = self.process.get(Artifacts).put(f"model {payload.latency_key}".encode(), "application/onnx")
            conversion = ConvertedModel(sha256=model.sha256, format=ModelFormat.ONNX, weights=WeightsOrigin.RANDOM)
            self.conversions.record(_lease(job), conversion)

    def measure_all(self, device: Device, p50_us: float = 1000.0, flags: tuple[ValidityFlag, ...] = ()) -> int:
        """Measure everything that waits for this board; each latency is 1 % above the one before."""
        num = 0
        while (job := self._assigned(device)) is not None:
            self.put_result(device, job, p50_us * 1.01**num, flags)
            num += 1
        return num

    def put_result(self, device: Device, job: Job, p50_us: float, flags: tuple[ValidityFlag, ...] = ()) -> None:
        """Report one measurement of a leased job."""
        self.num_results += 1
        payload = read_payload(MeasurePayload, job.payload)
        offered = device.capabilities
        key = HardwareKey(identity=offered.identity, dtype=offered.dtypes[0], batch=payload.batch)
        digest = hashlib.sha256(f"{job.id} {self.num_results}".encode()).hexdigest()
        receipt = put_measurement(self.results, device.id, _lease(job), measurement(key, p50_us, flags), digest)
        assert receipt.status is ResultStatus.ACCEPTED, receipt

    def fail_all(self, device: Device, failure: Failure) -> None:
        """Report of everything that waits for this board that it could not be done."""
        while (job := self._assigned(device)) is not None:
            digest = hashlib.sha256(f"{job.id} {failure}".encode()).hexdigest()
            receipt = self.job_results.put_failure(device.id, _lease(job), failure, digest)
            assert receipt.status is ResultStatus.ACCEPTED, receipt

    def _assigned(self, device: Device) -> Job | None:
        report = AgentReport(
            device_id=device.id,
            boot_id="boot",
            instance_epoch=1,
            agent_version="test",
            capabilities=device.capabilities,
            free_slots=1,
        )
        orders = self.process.agents.sessions.sync(report)
        return orders.assignments[0] if orders.assignments else None

    def _claim(self, kind: JobKind) -> Job:
        job = self.dispatch.claim("worker-1", (kind,))
        assert job is not None, f"no {kind.value} job is waiting"
        return job


def _lease(job: Job) -> LeaseRef:
    assert job.lease is not None
    return job.lease


def capabilities(device_class: DeviceClass = DeviceClass.BOARD) -> DeviceCapabilities:
    """What the tests' boards can do."""
    identity = DeviceIdentity(
        board_model="Test Board",
        device_class=device_class,
        runtime="onnxruntime",
        runtime_versions=(("onnxruntime", "1.0"),),
        clocks_profile="pinned-max",
        core_mask="any",
    )
    return DeviceCapabilities(identity=identity, max_model_bytes=1 << 30)


def block_around(p50_us: float) -> SampleBlock:
    """A block whose runs lie around a latency, as long as the protocol wants it."""
    middle_ns = int(p50_us * 1000)
    runs_ns = tuple(middle_ns + offset for offset in range(-10, 11))
    wanted = -(-100_000_000 // (len(runs_ns) * middle_ns))
    return SampleBlock(e2e_ns=runs_ns * min(wanted, MAX_RUNS_PER_BLOCK // len(runs_ns)))


def measurement(key: HardwareKey, p50_us: float, flags: tuple[ValidityFlag, ...] = ()) -> Measurement:
    """Ten clean blocks around a latency, on pinned clocks: enough for any but an audit."""
    clocks = (ClockReading(name="npu", requested_khz=1_000_000, effective_khz=1_000_000),)
    return Measurement(
        blocks=(block_around(p50_us),) * 10,
        flags=flags,
        environment=EnvironmentRecord(agent_version="test", protocol_version=1, clocks=clocks),
        hardware_key=key,
        load_us=1.0,
        init_us=2.0,
        first_run_us=3.0,
    )


NOISY = (ValidityFlag(Validity.NOISY, "the interval did not close"),)


def latency_spec(num_candidates: int = 3, **changes: JsonValue) -> dict[str, JsonValue]:
    """A search for latency and MACs on a board; needs no supernet."""
    return {
        "name": "latency against MACs",
        "space": SMALL_SPACE,
        "objectives": [{"metric": "latency_us"}, {"metric": "macs"}],
        "algorithm": {"kind": "random"},
        "budget": {"num_candidates": num_candidates},
        "device": {"device_type": "rk3588"},
        **changes,
    }


def cheap_spec(num_candidates: int = 3, **changes: JsonValue) -> dict[str, JsonValue]:
    """A search over cheap metrics only; needs neither board nor supernet."""
    return {
        "space": SMALL_SPACE,
        "objectives": [{"metric": "macs"}, {"metric": "params", "goal": "maximize"}],
        "algorithm": {"kind": "random"},
        "budget": {"num_candidates": num_candidates},
        **changes,
    }
