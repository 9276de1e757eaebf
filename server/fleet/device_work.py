"""What the agents' endpoint needs of a kind of job that devices do. measuring and classifying bring one each."""

from __future__ import annotations

from typing import Protocol

from hilnas.v1 import control_pb2
from server.fleet.device import Device
from server.jobs.job import Job, LeaseRef
from server.jobs.results import ResultReceipt
from server.jobs.states import JobKind


class DeviceWork(Protocol):
    """Messages of one kind of job: what is assigned, and what comes back."""

    kind: JobKind
    outcome: str
    """Field of `ResultEnvelope` that holds its result."""

    def assignment(self, device: Device, job: Job, ttl_s: float) -> control_pb2.Assignment:
        """What the agent is to do.

        Raises:
            InvalidValueError: the job's payload cannot be read.
            NotFoundError: an artifact it needs is gone.
        """

    def artifacts(self, job: Job) -> frozenset[str]:
        """Digests of everything that a device needs for a job of this kind.

        Raises:
            InvalidValueError: the job's payload cannot be read.
        """

    def take(
        self,
        device: Device,
        lease: LeaseRef,
        envelope: control_pb2.ResultEnvelope,
        digest: str,
        checked: Job | ResultReceipt | None = None,
    ) -> ResultReceipt:
        """Take a result in, by the protocol of server/jobs/results.py: the lease first, the content after it.

        Args:
            digest: sha256 of the envelope as sent.
            checked: what the lease's check answered just now; None has it checked.
        """

    def note_failure(self, device: Device, job: Job, failure: control_pb2.Failure) -> None:
        """Take in what the message of a failure tells besides, before the attempt ends. The lease was checked."""
