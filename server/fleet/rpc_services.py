"""What the servicers need of the service: the use cases of agents, as protocols. Tests give a dispatch by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from nas_engine.domain.measurement import Measurement
from nas_engine.domain.measuring.classification import Classification
from server.artifacts.artifact import Artifact
from server.fleet.device import Device, Enrolment
from server.fleet.sessions import AgentOrders, AgentReport, RunningLease
from server.jobs.dispatch import LeaseVerdict
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.results import ResultReceipt
from server.jobs.settings import LeaseSettings
from server.measuring.canaries import CanaryPlan


class Enrolments(Protocol):
    """Devices and their credentials; server.fleet.devices.Devices."""

    def enrol(self, enrolment_secret: str, enrolment: Enrolment, credential: str | None = None) -> tuple[Device, str]:
        """Take a device in."""

    def authenticate(self, credential: str) -> Device:
        """The device with this credential."""

    def record_canary(
        self,
        device_id: str,
        *,
        pool_key: str,
        artifact_sha256: str,
        median_us: float,
        ratio: float | None,
        passed: bool,
        reason: str = "",
        output_digest: str | None = None,
    ) -> int:
        """Store a run of the golden model."""


class Sessions(Protocol):
    """Agent sessions; server.fleet.sessions.AgentSessions."""

    @property
    def settings(self) -> LeaseSettings:
        """How leases live."""

    def sync(self, report: AgentReport, wait_s: float = 0.0) -> AgentOrders:
        """Take the agent's state, give its orders."""

    def renew(self, device_id: str, running: tuple[RunningLease, ...]) -> tuple[LeaseVerdict, ...]:
        """Keep leases alive."""


class Results(Protocol):
    """Takes results in; server.measuring.results.MeasurementResults."""

    def put_measurement(
        self, device_id: str, lease: LeaseRef, measurement: Measurement, result_digest: str
    ) -> ResultReceipt:
        """Store a measurement."""

    def put_failure(self, device_id: str, lease: LeaseRef, failure: Failure, result_digest: str) -> ResultReceipt:
        """Take in that a job could not be done."""


class ClassificationTaker(Protocol):
    """Takes answers to image sets in; server.classifying.results.ClassificationResults."""

    def put(self, device_id: str, lease: LeaseRef, classification: Classification, result_digest: str) -> ResultReceipt:
        """Store answers."""


class ArtifactReader(Protocol):
    """Artifacts by content; server.artifacts.artifacts.Artifacts."""

    def get(self, sha256: str) -> Artifact:
        """What is known of one."""

    def chunks(self, sha256: str, offset: int = 0, chunk_bytes: int = ...) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) pairs to the end."""


class CanaryPlanner(Protocol):
    """Decides whether a job has a canary; server.measuring.canaries.Canaries."""

    def plan(self, device: Device, job: Job) -> CanaryPlan | None:
        """The canary for this job on this device; None for none."""

    def pool_key(self, device: Device, job_id: str) -> str:
        """What a canary that ran with this job is filed under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcServices:
    """Everything the servicers need."""

    enrolments: Enrolments
    sessions: Sessions
    results: Results
    classifications: ClassificationTaker
    artifacts: ArtifactReader
    canaries: CanaryPlanner
