"""Ports for jobs, leases, measurements and devices. Expiry is decided by the database's clock alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from nas_engine.domain.measurement import ValidityPolicy
from server.service.failures import Failure
from server.service.paging import Page, PageRequest
from server.service.states import JobKind, JobPhase, LeaseOutcome, MeasurementKind
from server.service.values.device import (
    CanaryRecord,
    Device,
    DeviceQuery,
    EnrolmentToken,
    HardwareProfile,
)
from server.service.values.job import (
    ClaimRequest,
    Job,
    JobQuery,
    JobTarget,
    LeaseRecord,
    LeaseRef,
    NewJob,
    QueueDepth,
)
from server.service.values.measurement import MeasurementQuery, MeasurementRecord


class JobStore(Protocol):
    """Jobs and their leases. The only writer of lease columns is this store."""

    def add(self, job: NewJob) -> Job:
        """Queue a job; where an unfinished one has its dedupe key, that one is returned instead."""

    def add_many(self, jobs: Sequence[NewJob]) -> tuple[Job, ...]:
        """`add` for each, in order."""

    def get(self, job_id: str) -> Job:
        """Read one."""

    def lock(self, job_id: str) -> Job:
        """Read one and hold it until the transaction ends."""

    def lock_active(self, dedupe_key: str) -> Job | None:
        """The unfinished job with this dedupe key, held so that it cannot finish before this transaction ends."""

    def done_with(self, dedupe_key: str) -> Job | None:
        """The newest DONE job with this dedupe key."""

    def active_under(self, latency_key: str, hardware_key: str) -> tuple[Job, ...]:
        """Unfinished jobs for this pair, by id."""

    def page(self, query: JobQuery, page: PageRequest) -> Page[Job]:
        """List, newest first."""

    def num_ahead(self, job: Job) -> int:
        """Queued and leased jobs of its kind and pool that come before a queued job."""

    def mean_duration_s(self, job: Job) -> float | None:
        """Mean time from first lease to end of the latest done jobs of its kind and pool; None without any."""

    def depths(self) -> tuple[QueueDepth, ...]:
        """Queue depth of every kind."""

    def active_of_search(self, search_id: str) -> tuple[Job, ...]:
        """Unfinished jobs of a search, by id."""

    def active_of_supernet(self, supernet_id: str) -> tuple[Job, ...]:
        """Unfinished jobs of a supernet, by id."""

    def claim(self, request: ClaimRequest) -> Job | None:
        """Lease the first queued job the claimant may do, with a new fence and lease id; None where there is none.

        Order is by priority (highest first), then age. Two claimants never get the same job.
        """

    def claimable_in_s(self, request: ClaimRequest) -> float | None:
        """Seconds until the claimant may do a queued job, 0 for now, None for none; writes and locks nothing."""

    def renew(self, lease: LeaseRef, ttl_s: float, phase: JobPhase | None) -> Job:
        """Push the expiry out, and accept the lease.

        Raises:
            LeaseLostError: the job has a newer lease, is final, or was put back into the queue.
        """

    def guard(self, lease: LeaseRef) -> Job:
        """Lock the job if `lease` is its current one. What every write of a lease holder starts with.

        Raises:
            LeaseLostError: it is not.
        """

    def expired(self, limit: int) -> tuple[Job, ...]:
        """Leased jobs whose lease has died, not locked; oldest expiry first."""

    def num_ahead_of_clock(self, ttl_s: float, delay_s: float) -> int:
        """Unfinished jobs whose lease or back-off ends later than any that is begun now would."""

    def pull_back(self, ttl_s: float, delay_s: float) -> None:
        """Have those leases and back-offs end as if they were begun now."""

    def lock_if_expired(self, job: Job) -> Job | None:
        """Lock a job of `expired` if that very lease is still its current one and dead; None otherwise."""

    def requeue(self, job: Job, delay_s: float, *, count_attempt: bool) -> Job:
        """Put a locked, leased job back into the queue; its old fence can no longer write."""

    def finish(self, job: Job) -> None:
        """Write a locked job's final state, failure, phase and result."""

    def note_failure(self, job: Job, failure: Failure) -> None:
        """Write the last failure of a locked job, whatever its state."""

    def request_cancel(self, job_id: str) -> None:
        """Have the holder told to stop."""

    def assign_to(self, job_id: str, search_id: str, candidate_id: str, priority: int) -> None:
        """Let a job go on for another candidate (its own search was cancelled)."""

    def end_lease(self, lease: LeaseRef, outcome: LeaseOutcome, failure: Failure | None, digest: str | None) -> None:
        """Close the lease's history entry, if it is open still; a digest is noted even where it is closed."""

    def lease_record(self, lease_id: str) -> LeaseRecord | None:
        """One lease by its id."""

    def lease_history(self, job_id: str) -> tuple[LeaseRecord, ...]:
        """Every lease of a job, oldest first."""

    def leases_of(self, owner: str) -> tuple[Job, ...]:
        """Jobs that a worker or device holds now."""

    def exclude(self, job_id: str, owner: str) -> None:
        """Do not give this job to this owner again."""

    def model_failures(self, latency_key: str, hardware_key: str) -> Mapping[str, int]:
        """Leases that ended with a failure blaming the model, per device or worker, for this pair."""

    def busy_s(self, device_id: str, since: datetime) -> float:
        """Seconds for which the device held leases since then."""


class MeasurementStore(Protocol):
    """Measurements with their raw samples, and the hardware keys they are filed under."""

    def add(self, record: MeasurementRecord, samples: bytes | None) -> None:
        """Store one with its raw samples (compressed blocks; None for estimates)."""

    def get(self, measurement_id: str) -> MeasurementRecord:
        """Read one."""

    def of_lease(self, lease_id: str) -> MeasurementRecord | None:
        """What one lease brought."""

    def samples(self, measurement_id: str) -> bytes | None:
        """Raw samples as they came; None for estimates."""

    def page(self, query: MeasurementQuery, page: PageRequest) -> Page[MeasurementRecord]:
        """List, newest first."""

    def count(self, query: MeasurementQuery) -> int:
        """How many `page` would list in all."""

    def reusable(
        self,
        latency_key: str,
        hardware_key: str,
        kinds: Sequence[MeasurementKind],
        profiles: Sequence[str],
        policy: ValidityPolicy,
    ) -> MeasurementRecord | None:
        """The newest authoritative, unsuspected one under this pair that the policy accepts; valid ones first."""

    def ids_since(self, device_id: str, since: datetime) -> tuple[str, ...]:
        """What a device measured since then and is not suspect yet, oldest first."""

    def mark_suspect(self, device_id: str, since: datetime) -> int:
        """Flag everything a device measured since then; returns how many."""

    def put_hardware(self, profile: HardwareProfile) -> None:
        """Remember what a hardware key stands for."""

    def hardware(self, hardware_key: str) -> HardwareProfile:
        """What a hardware key stands for."""

    def hardware_keys(self) -> tuple[HardwareProfile, ...]:
        """Every hardware key seen, by digest."""


class DeviceStore(Protocol):
    """Devices, enrolment tokens, canaries."""

    def add(self, device: Device) -> None:
        """Store a new device.

        Raises:
            ConflictError: the name is taken.
        """

    def get(self, device_id: str) -> Device:
        """Read one."""

    def lock(self, device_id: str) -> Device:
        """Read one and hold it until the transaction ends."""

    def by_name(self, name: str) -> Device | None:
        """The device of that name."""

    def by_credential(self, credential_sha256: str) -> Device | None:
        """The device with this credential."""

    def save(self, device: Device) -> Device:
        """Write a locked device with its version one higher."""

    def touch(self, device_id: str) -> None:
        """Set last_seen_at to now, without a new version."""

    def page(self, query: DeviceQuery, page: PageRequest) -> Page[Device]:
        """List, by name."""

    def of_type(self, device_type: str) -> tuple[Device, ...]:
        """Every device of a type that is not retired, by name."""

    def types(self) -> Mapping[str, int]:
        """Every device type with its number of devices that are not retired."""

    def num_able(
        self, target: JobTarget, excluding: str, kind: JobKind = JobKind.MEASURE, *, reserved: bool = True
    ) -> int:
        """Devices, other than `excluding`, that could do a job of this kind with this target and take jobs.

        Args:
            target, excluding, kind: which.
            reserved: count those that a person has now as well.
        """

    def add_enrolment_token(self, token: EnrolmentToken) -> None:
        """Store a new one."""

    def enrolment_token(self, secret_sha256: str) -> EnrolmentToken | None:
        """Find one by the digest of its secret, locked."""

    def use_enrolment_token(self, token_id: str) -> None:
        """Count one use."""

    def revoke_enrolment_token(self, token_id: str) -> None:
        """Let no device enrol with it any more."""

    def enrolment_tokens(self) -> tuple[EnrolmentToken, ...]:
        """All of them, oldest first."""

    def add_canary(self, canary: CanaryRecord) -> None:
        """Store one canary run."""

    def canaries(self, device_id: str, page: PageRequest) -> Page[CanaryRecord]:
        """Canary runs of a device, newest first."""

    def last_good_canary(self, device_id: str) -> CanaryRecord | None:
        """The newest that passed."""

    def last_canary_under(
        self, device_id: str, pool_key: str, artifact_sha256: str, *, passed: bool
    ) -> CanaryRecord | None:
        """The newest of this model under this pool key; with `passed`, of those that did."""


WAKES_DEVICES = frozenset({JobKind.MEASURE, JobKind.CLASSIFY})
"""Kinds whose arrival wakes waiting agents; the others wake workers."""
