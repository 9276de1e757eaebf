"""A dispatch service by hand, behind the real gRPC servicers: jobs, leases and results in memory, faults on demand."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.measurement import CanaryReading, Measurement
from nas_engine.domain.measuring.classification import Classification
from server.artifacts.artifact import Artifact, ModelFormat
from server.classifying.rpc import ClassifyingRpc
from server.core.errors import NotAuthenticatedError, NotFoundError, UnavailableError
from server.fleet.device import ClassSource, Device, DeviceCapabilities, Enrolment
from server.fleet.rpc import AgentServices
from server.fleet.sessions import AgentOrders, AgentReport, RunningLease, SessionState
from server.jobs.dispatch import LeaseVerdict
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.results import ResultReceipt, ResultStatus
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobPhase, JobState
from server.measuring.canaries.canaries import CanaryPlan
from server.measuring.payloads import ClassifyPayload, MeasurePayload
from server.measuring.rpc import MeasuringRpc

ENROLMENT_TOKEN = "enrolment-token-of-the-tests"
ACCEPT_S = 3.0  # longer than the settings say, which are short so that agents renew often: a busy machine loses none
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class FakeJob:
    """One job and everything that happened to it."""

    payload: MeasurePayload | ClassifyPayload
    id: str
    attempt: int = 0
    lease: LeaseRef | None = None
    order: LeaseOrder = LeaseOrder.CONTINUE
    phases: list[JobPhase] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    classifications: list[Classification] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    returned: list[Failure] = field(default_factory=list)
    superseded: int = 0
    done: bool = False
    accept_until: float = 0.0


@dataclass(slots=True)
class CanaryNote:
    """A recorded canary."""

    passed: bool
    ratio: float | None
    reason: str


class FakeDispatch:
    """Every use case of the servicers in one object; thread-safe."""

    def __init__(self, *, settings: LeaseSettings | None = None) -> None:
        self.settings = settings or LeaseSettings(ttl_s=2.0, accept_s=1.0, max_wait_s=5.0)
        self.changed = threading.Condition()
        self.jobs: dict[str, FakeJob] = {}
        self.devices: dict[str, Device] = {}
        self.credentials: dict[str, str] = {}
        self.content: dict[str, bytes] = {}
        self.reports: list[AgentReport] = []
        self.canaries: list[CanaryNote] = []
        self.plan_for: CanaryPlan | None = None
        self.session = SessionState.ACTIVE
        self.fetches: list[tuple[str, int]] = []
        self.break_after_bytes: list[int] = []
        self.corrupt_fetches = 0
        self.lost: set[str] = set()
        self.chunk_delay_s = 0.0
        self.refuse_results = 0
        self.hide_receipts = 0
        self.hide_enrolments = 0
        self.enrolments: list[str] = []
        self._digests: dict[str, str] = {}
        self._fence = 0

    def services(self) -> AgentServices:
        """For `start_rpc_server`: messages are read and written by the real handlers of each kind of job."""
        work = {JobKind.MEASURE: MeasuringRpc(self, self, self), JobKind.CLASSIFY: ClassifyingRpc(self, self)}
        return AgentServices(devices=self, sessions=self, artifacts=self, results=self, work=work)

    def add_model(self, data: bytes) -> str:
        """Store an artifact; returns its digest."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.content[sha256] = data
        return sha256

    def add_job(
        self, model: bytes, *, profile: str = "quick", model_format: str = "onnx", timeout_s: float = 60.0
    ) -> FakeJob:
        """Queue a measuring job."""
        payload = MeasurePayload(
            model_sha256=self.add_model(model),
            model_format=ModelFormat(model_format),
            profile=profile,  # type: ignore[arg-type]
            dtype="fp32",
            batch=1,
            latency_key="lk",
            hardware_key="hk",
            core_mask="",
            validity_policy="accept_flagged",
            timeout_s=timeout_s,
        )
        return self._queue(payload)

    def add_classify_job(self, model: bytes, images: bytes, num_images: int) -> FakeJob:
        """Queue a classifying job."""
        sha256 = self.add_model(model)
        payload = ClassifyPayload(
            model_sha256=sha256,
            source_sha256=sha256,
            model_format=ModelFormat.ONNX,
            images_sha256=self.add_model(images),
            num_images=num_images,
            dtype="fp32",
            batch=1,
            hardware_key="hk",
            core_mask="",
            timeout_s=60.0,
        )
        return self._queue(payload)

    def _queue(self, payload: MeasurePayload | ClassifyPayload) -> FakeJob:
        with self.changed:
            job = FakeJob(payload, f"job_{len(self.jobs)}")
            self.jobs[job.id] = job
            self.changed.notify_all()
        return job

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Block until something is so; fails the test after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not condition():
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"nothing of the sort within {timeout_s} s: {list(self.jobs.values())}"
                self.changed.wait(min(left_s, 0.05))

    def expire(self, job: FakeJob) -> None:
        """Let a job's lease die, so that it is leased anew."""
        with self.changed:
            job.lease = None
            self.changed.notify_all()

    def take_over(self) -> None:
        """A newer instance speaks for every device from now on."""
        with self.changed:
            self.devices = {i: replace(d, instance_epoch=d.instance_epoch + 1) for i, d in self.devices.items()}
            self.changed.notify_all()

    # Enrolments

    def enrol(self, enrolment_secret: str, enrolment: Enrolment, credential: str | None = None) -> tuple[Device, str]:
        if enrolment_secret != ENROLMENT_TOKEN:
            raise NotAuthenticatedError("the enrolment token is unknown")
        with self.changed:
            known = next((d for d in self.devices.values() if d.name == enrolment.name), None)
            device_id = known.id if known else f"dev_{len(self.devices)}"
            credential = credential or f"credential-{device_id}-{len(self.credentials)}"
            self.devices[device_id] = _device(device_id, enrolment, credential)
            self.credentials[credential] = device_id
            self.enrolments.append(credential)
            self.changed.notify_all()
            if self.hide_enrolments:
                self.hide_enrolments -= 1
                raise UnavailableError("the answer is lost, as the test says")
            return self.devices[device_id], credential

    def authenticate(self, credential: str) -> Device:
        with self.changed:
            if credential not in self.credentials:
                raise NotAuthenticatedError("the credential is unknown")
            return self.devices[self.credentials[credential]]

    def current_jobs(self, device_id: str) -> tuple[Job, ...]:
        """Every device may fetch what any job needs."""
        return tuple(self._job(job, job.lease or LeaseRef(job.id, "", 0)) for job in list(self.jobs.values()))

    def past_jobs(self, device_id: str) -> tuple[Job, ...]:
        return ()

    def golden_models(self, format: ModelFormat) -> frozenset[str]:
        return frozenset(self.content)

    def record(self, device: Device, job_id: str, reading: CanaryReading, *, alarm: str = "") -> int:
        with self.changed:
            self.canaries.append(CanaryNote(not alarm, reading.ratio, alarm))
            self.changed.notify_all()
        return 0

    def take(
        self,
        device: Device,
        lease: LeaseRef,
        readings: tuple[CanaryReading | None, CanaryReading | None],
        *,
        alarm: str,
        again: bool,
    ) -> None:
        found = readings[1] or readings[0]
        if found is not None and not again:
            self.record(device, lease.job_id, found, alarm=alarm)

    # Sessions

    def sync(self, report: AgentReport, wait_s: float = 0.0) -> AgentOrders:
        deadline = time.monotonic() + min(wait_s, self.settings.max_wait_s)
        with self.changed:
            self.reports.append(report)
            device = self.devices[report.device_id]
            if report.instance_epoch < device.instance_epoch:
                return AgentOrders(session=SessionState.TAKEN_OVER, message="newer instance")
            self.devices[report.device_id] = replace(device, instance_epoch=report.instance_epoch)
            for returned in report.returned:
                job = self.jobs[returned.lease.job_id]
                if job.lease == returned.lease:
                    job.returned.append(returned.failure)
                    job.lease = None
            self.changed.notify_all()
            while True:
                if report.instance_epoch < self.devices[report.device_id].instance_epoch:
                    return AgentOrders(session=SessionState.TAKEN_OVER, message="newer instance")
                self._take_back_unaccepted()
                queued = [j for j in self.jobs.values() if not j.done and j.lease is None]
                if self.session is not SessionState.ACTIVE:
                    return AgentOrders(session=self.session, message="as the test says")
                if queued and report.free_slots:
                    return AgentOrders(session=self.session, assignments=(self._lease(queued[0]),))
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return AgentOrders(session=self.session)
                self.changed.wait(min(left_s, 0.05))

    def _take_back_unaccepted(self) -> None:
        """A lease that went out with a poll nobody waits for any more was never accepted."""
        for job in self.jobs.values():
            if job.lease is not None and not job.done and 0 < job.accept_until < time.monotonic():
                job.lease = None

    def _lease(self, job: FakeJob) -> Job:
        job.accept_until = time.monotonic() + ACCEPT_S
        self._fence += 1
        job.attempt += 1
        job.lease = LeaseRef(job.id, f"lease_{self._fence}", self._fence)
        return self._job(job, job.lease)

    def _job(self, job: FakeJob, lease: LeaseRef) -> Job:
        return Job(
            id=job.id,
            kind=JobKind.MEASURE if isinstance(job.payload, MeasurePayload) else JobKind.CLASSIFY,
            state=JobState.LEASED,
            payload=job.payload.to_json(),
            attempt=job.attempt,
            lease_id=lease.lease_id,
            lease_epoch=lease.lease_epoch,
            not_before=_NOW,
            created_at=_NOW,
        )

    def renew(self, device_id: str, running: tuple[RunningLease, ...]) -> tuple[LeaseVerdict, ...]:
        with self.changed:
            verdicts = []
            for one in running:
                job = self.jobs[one.lease.job_id]
                if job.lease == one.lease:
                    job.accept_until = 0.0
                order = job.order if job.lease == one.lease else LeaseOrder.LOST
                if one.phase is not None and (not job.phases or job.phases[-1] is not one.phase):
                    job.phases.append(one.phase)
                verdicts.append(LeaseVerdict(one.lease, order, self.settings.ttl_s))
            self.changed.notify_all()
            return tuple(verdicts)

    # Results

    def check(self, device_id: str, lease: LeaseRef, digest: str) -> Job:
        return self._job(self.jobs[lease.job_id], lease)

    def put(self, device_id: str, lease: LeaseRef, digest: str, read: Callable[[Any], Any]) -> ResultReceipt:
        job = self.jobs[lease.job_id]
        try:
            content = read(job.payload)
        except InvalidMeasurementError as error:
            return self.refuse(device_id, lease, digest, str(error))
        taken = job.measurements if isinstance(content, Measurement) else job.classifications
        return self._put(lease, digest, lambda _: taken.append(content))

    def refuse(self, device_id: str, lease: LeaseRef, digest: str, reason: str) -> ResultReceipt:
        self.put_failure(device_id, lease, Failure(FailureType.INVALID_RESULT, reason), digest)
        return ResultReceipt(ResultStatus.REJECTED, reason)

    def put_failure(self, device_id: str, lease: LeaseRef, failure: Failure, digest: str) -> ResultReceipt:
        return self._put(lease, digest, lambda job: job.failures.append(failure))

    def _put(self, lease: LeaseRef, digest: str, take: Callable[[FakeJob], None]) -> ResultReceipt:
        with self.changed:
            if self.refuse_results:
                self.refuse_results -= 1
                raise UnavailableError("the database is away, as the test says")
            if self._digests.get(lease.lease_id) == digest:
                self.changed.notify_all()
                return ResultReceipt(ResultStatus.DUPLICATE)
            self._digests[lease.lease_id] = digest
            job = self.jobs[lease.job_id]
            if job.lease is not None and job.lease != lease:
                job.superseded += 1
                self.changed.notify_all()
                return ResultReceipt(ResultStatus.SUPERSEDED)
            take(job)
            job.done = True
            self.changed.notify_all()
            if self.hide_receipts:
                self.hide_receipts -= 1
                raise UnavailableError("the answer is lost, as the test says")
            return ResultReceipt(ResultStatus.ACCEPTED)

    # Artifacts and canaries

    def get(self, sha256: str) -> Artifact:
        if sha256 not in self.content:
            raise NotFoundError("artifact", sha256)
        size_bytes = len(self.content[sha256])
        return Artifact(sha256=sha256, size_bytes=size_bytes, media_type="application/octet-stream", created_at=_NOW)

    def stream(self, artifact: Artifact, offset: int = 0) -> Iterator[bytes]:
        sha256, chunk_bytes = artifact.sha256, 65_536
        with self.changed:
            self.fetches.append((sha256, offset))
            if sha256 in self.lost:
                raise NotFoundError("artifact", sha256)
            data = self.content[sha256]
            limit = self.break_after_bytes.pop(0) if self.break_after_bytes else None
            if self.corrupt_fetches:
                self.corrupt_fetches -= 1
                data = data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1 :]
            self.changed.notify_all()
        sent = 0
        for start in range(offset, len(data), chunk_bytes):
            if limit is not None and sent >= limit:
                raise UnavailableError("the stream breaks, as the test says")
            if self.chunk_delay_s:
                time.sleep(self.chunk_delay_s)
            yield data[start : start + chunk_bytes]
            sent += chunk_bytes

    def order(self, device: Device, job: Job) -> CanaryPlan | None:
        return self.plan_for


def _device(device_id: str, enrolment: Enrolment, credential: str) -> Device:
    capabilities: DeviceCapabilities = enrolment.capabilities
    return Device(
        id=device_id,
        name=enrolment.name,
        device_type=enrolment.device_type,
        credential_sha256=hashlib.sha256(credential.encode()).hexdigest(),
        capabilities=capabilities,
        class_limit=capabilities.identity.device_class,
        class_source=ClassSource.ENROLLED,
        identity_since=_NOW,
        labels=enrolment.labels,
        instance_epoch=enrolment.instance_epoch,
        enrolled_at=_NOW,
        last_seen_at=_NOW,
    )
