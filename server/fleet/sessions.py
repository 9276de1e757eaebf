"""Agent sessions: the agent's whole state comes in, its orders go out. Any replica can answer any call."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic, Wakeups
from server.core.errors import InvalidValueError, LeaseLostError, NotFoundError
from server.fleet.device import (
    LOOK_AHEAD_FEATURE,
    Device,
    DeviceCapabilities,
    DeviceState,
    check_device_text,
    check_labels,
)
from server.fleet.enrolment.trust import believed, lowered_reason
from server.fleet.lifecycle import move_device, note_device
from server.fleet.sharing.sharing import owners_taken, takes_now
from server.fleet.store import DeviceStore
from server.jobs.completion import expire_lease, fail_attempt
from server.jobs.dispatch import LeaseVerdict, claim_held_job, claim_job, give_way, lock_first
from server.jobs.failures import Failure
from server.jobs.job import ClaimRequest, Job, LeaseRef
from server.jobs.queue import JobStore
from server.jobs.registry import JobKinds
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobPhase, LeaseOutcome

_log = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0
"""A waiting agent looks for work this often although nobody wakes it: a job may come from outside the service."""


BEATEN_S = 0.2
"""Pause of a waiting agent whose claim came to nothing."""


class SessionState(Enum):
    """What the server thinks of an agent's session."""

    ACTIVE = "active"
    TAKEN_OVER = "taken_over"  # a newer instance speaks for the device: stop
    DRAINING = "draining"  # finish the current job, take no more
    PAUSED = "paused"  # keep calling, take no more


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLease:
    """A lease the agent works on."""

    lease: LeaseRef
    phase: JobPhase | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnedLease:
    """A lease the agent gives back without a result."""

    lease: LeaseRef
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """An agent's whole state.

    Attributes:
        instance_epoch: count of its starts; a newer instance takes over.
        free_slots: assignments it can take now.
        num_spooled_results: results on its disk that are still to come.
        draining, leaving: it takes nothing more; it says goodbye.
        degraded: its own canary is off, for this reason.
    """

    device_id: str
    boot_id: str
    instance_epoch: int
    agent_version: str
    capabilities: DeviceCapabilities
    labels: Mapping[str, str] = field(default_factory=dict)
    free_slots: int = 0
    running: tuple[RunningLease, ...] = ()
    returned: tuple[ReturnedLease, ...] = ()
    num_spooled_results: int = 0
    draining: bool = False
    leaving: bool = False
    degraded: bool = False
    degraded_reason: str = ""
    canary_ratio: float | None = None

    def __post_init__(self) -> None:
        check_labels(self.labels)
        for what, text in (("boot id", self.boot_id), ("agent version", self.agent_version)):
            if text:
                check_device_text(what, text)
        if self.canary_ratio is not None and not (math.isfinite(self.canary_ratio) and self.canary_ratio > 0):
            raise InvalidValueError(f"canary ratio is {self.canary_ratio}: it must be finite and > 0, or absent")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOrders:
    """What the agent is to do.

    Attributes:
        assignments: jobs newly leased to it, not accepted yet: it must renew within `accept_s`.
        verdicts: one for each running lease it named, and LOST for each one given back that it does not hold.
        message: why the session is not active, or why the device counts for less than its agent says.
    """

    session: SessionState
    assignments: tuple[Job, ...] = ()
    verdicts: tuple[LeaseVerdict, ...] = ()
    message: str = ""

    @property
    def worth_sending(self) -> bool:
        """Whether there is anything to say before the long-poll is over."""
        changed = any(verdict.order is not LeaseOrder.CONTINUE for verdict in self.verdicts)
        return bool(self.assignments) or changed or self.session is not SessionState.ACTIVE


ProvingKind = Callable[[Transaction, Device], JobKind | None]
"""The kind of job with which a DEGRADED device can show that it is well again; None where there is no such check."""


class AgentSessions:
    """Use cases of device agents.

    Args:
        proving: a DEGRADED device whose agent thinks it is well is given one such job at a time; its canary decides.
            None: only a person brings one back.
    """

    def __init__(
        self,
        uow: UnitOfWork,
        wakeups: Wakeups,
        kinds: JobKinds,
        leases: LeaseSettings | None = None,
        proving: ProvingKind | None = None,
    ) -> None:
        self._uow = uow
        self._proving = proving or (lambda _, __: None)
        self._wakeups = wakeups
        self._leases = leases or LeaseSettings()
        self._kinds = kinds

    @property
    def settings(self) -> LeaseSettings:
        """Durations of leases and of long polls."""
        return self._leases

    def sync(self, report: AgentReport, wait_s: float = 0.0) -> AgentOrders:
        """Take the agent's state, give its orders; waits up to `wait_s` for a job. The caller has authenticated it.

        Raises:
            NotFoundError: there is no such device.
        """
        deadline = time.monotonic() + min(wait_s, self._leases.max_wait_s)
        token = self._wakeups.token(Topic.DEVICE_JOBS)
        orders = self._uow.write(lambda tx: self._sync(tx, report))
        idle = replace(report, returned=())
        while not orders.worth_sending and report.free_slots > 0 and not report.leaving:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            # A waiting agent only reads: the transaction that writes is for when there is something to write.
            pause_s = self._uow.read(lambda tx: self._nothing_for_s(tx, idle))
            if pause_s == 0:
                orders = replace(self._uow.write(lambda tx: self._assign(tx, idle)), verdicts=orders.verdicts)
                if orders.worth_sending:
                    break
                pause_s = BEATEN_S  # another agent was quicker, or holds the job's row right now
            self._wakeups.wait(Topic.DEVICE_JOBS, token, min(left_s, pause_s))
            token = self._wakeups.token(Topic.DEVICE_JOBS)
        return orders

    def renew(self, device_id: str, running: tuple[RunningLease, ...]) -> tuple[LeaseVerdict, ...]:
        """Keep leases alive; the first renewal of a lease accepts it. One verdict per lease named."""

        def work(tx: Transaction) -> tuple[LeaseVerdict, ...]:
            DeviceStore(tx).touch_device(device_id)
            device = DeviceStore(tx).get_device(device_id)
            return tuple(self._verdict(tx, device, one) for one in running)

        return self._uow.write(work)

    def _sync(self, tx: Transaction, report: AgentReport) -> AgentOrders:
        device = DeviceStore(tx).lock_device(report.device_id)
        if report.instance_epoch < device.instance_epoch:
            return AgentOrders(session=SessionState.TAKEN_OVER, message="a newer instance speaks for this device")
        other_host = bool(device.boot_id) and bool(report.boot_id) and device.boot_id != report.boot_id
        same_instance = report.instance_epoch == device.instance_epoch
        doubtful = other_host and same_instance and device.state is not DeviceState.QUARANTINED
        if doubtful and device.online(tx.now(), timedelta(seconds=self._leases.device_timeout_s)):
            # Boot ids are for the log alone: whoever reads of the device must not learn what it identifies itself by.
            _log.warning("device %s: boot ids %s and %s", device.id, device.boot_id, report.boot_id)
            reason = "two hosts speak as this device at the same time: a cloned card? resume it once one is gone"
            move_device(tx, device, DeviceState.QUARANTINED, reason)
            return AgentOrders(session=SessionState.PAUSED, message=reason)
        restarted = report.instance_epoch > device.instance_epoch
        if restarted:
            tx.wake(Topic.DEVICE_JOBS)  # the older instance may still be waiting: it is to hear that it is over
        device = self._note(tx, device, report)
        lost = tuple(verdict for one in report.returned if (verdict := self._return(tx, device, one)) is not None)
        if restarted:
            self._release_forgotten(tx, device, report)
        verdicts = tuple(self._verdict(tx, device, one) for one in report.running)
        if report.returned:  # what was given back may have cost the device its state
            device = DeviceStore(tx).get_device(device.id)
        return replace(self._orders(tx, report, device), verdicts=verdicts + lost)

    def _note(self, tx: Transaction, device: Device, report: AgentReport) -> Device:
        """Write down what changed; an agent that says the same as before only moves last_seen_at.

        What it says can lower the class that its device counts as; only an admin raises it again. Running as
        something else begins anew: another hardware key, and a canary before its first job.
        """
        sent = report.capabilities.identity
        identity = believed(sent, device.class_limit)
        before = device.capabilities
        changed = (identity, report.capabilities.core_masks) != (before.identity, before.core_masks)
        if changed:
            lowered = identity.device_class is not device.class_limit
            reason = lowered_reason(sent, device.class_limit, "what an admin set")
            device = replace(
                device,
                class_limit=identity.device_class,
                class_reason=reason if lowered or reason else device.class_reason,
                identity_since=tx.now(),
            )
            versions = " ".join(f"{component} {version}" for component, version in identity.runtime_versions)
            note_device(
                tx,
                device,
                f"runs as {identity.device_class.value} with {identity.runtime} {versions}, clocks "
                f"{identity.clocks_profile}, cores {', '.join((identity.core_mask, *report.capabilities.core_masks))}",
            )
        reported = replace(
            device,
            boot_id=report.boot_id,
            instance_epoch=report.instance_epoch,
            agent_version=report.agent_version,
            capabilities=replace(report.capabilities, identity=identity),
            labels=dict(report.labels),
            last_canary_ratio=device.last_canary_ratio if report.canary_ratio is None else report.canary_ratio,
            left_at=tx.now() if report.leaving else None,
        )
        DeviceStore(tx).touch_device(device.id)
        reported = (
            replace(DeviceStore(tx).save_device(reported), last_seen_at=tx.now())
            if changed or reported != device
            else device
        )
        if report.degraded and reported.state is DeviceState.ACTIVE:
            return move_device(tx, reported, DeviceState.DEGRADED, report.degraded_reason or "the agent says so")
        return reported

    def _nothing_for_s(self, tx: Transaction, report: AgentReport) -> float:
        """How long `_assign` will have nothing to say to a waiting agent unless somebody wakes it; 0 where it has."""
        device = DeviceStore(tx).get_device(report.device_id)
        if report.instance_epoch < device.instance_epoch:
            return 0.0
        session, _ = self._session(tx, device, report)
        if session is not SessionState.ACTIVE:
            return 0.0
        request = self._request(tx, device)
        claimable_in_s = JobStore(tx).claimable_in_s(request)
        if claimable_in_s != 0 and JobStore(tx).held_job(request) is not None:
            return 0.0
        return LOOK_AGAIN_S if claimable_in_s is None else min(claimable_in_s, LOOK_AGAIN_S)

    def _request(self, tx: Transaction, device: Device) -> ClaimRequest:
        proving = self._proving(tx, device) if device.state is DeviceState.DEGRADED else None
        return ClaimRequest(
            owner=device.id,
            kinds=self._kinds.of_devices(device.capabilities.features) if proving is None else (proving,),
            device_id=device.id,
            device_type=device.device_type,
            pool_keys=device.capabilities.pool_keys(),
            labels=device.all_labels,
            owners=owners_taken(tx, device),
            ttl_s=self._leases.accept_s,
            accepted=False,
        )

    def _assign(self, tx: Transaction, report: AgentReport) -> AgentOrders:
        device = DeviceStore(tx).get_device(report.device_id)
        if report.instance_epoch < device.instance_epoch:
            return AgentOrders(session=SessionState.TAKEN_OVER, message="a newer instance speaks for this device")
        return self._orders(tx, report, device)

    def _orders(self, tx: Transaction, report: AgentReport, device: Device) -> AgentOrders:
        session, message = self._session(tx, device, report)
        if session is not SessionState.ACTIVE or report.draining or report.leaving:
            return AgentOrders(session=session, message=message)
        request = self._request(tx, device)
        assigned: list[Job] = []
        for _ in range(report.free_slots):
            job = claim_job(tx, self._kinds, request)
            if job is None and not report.running:
                job = claim_held_job(tx, self._kinds, request)
            if job is None:
                break
            assigned.append(job)
        return AgentOrders(session=session, assignments=tuple(assigned), message=message)

    def _session(self, tx: Transaction, device: Device, report: AgentReport) -> tuple[SessionState, str]:
        if device.left_at is not None and not report.leaving:
            return SessionState.DRAINING, "the agent has left"  # a poll from before its goodbye: no job for nobody
        if device.state is DeviceState.DRAINING:
            return SessionState.DRAINING, device.reason or "the device is draining"
        degraded = device.state is DeviceState.DEGRADED
        # One job after the other: the canary of the last decides.
        proves = degraded and not report.degraded and self._proving(tx, device) is not None
        if not device.state.takes_jobs and not (proves and not JobStore(tx).jobs_leased_to(device.id)):
            heals = "; a good canary or a person brings it back" if degraded else ""
            return SessionState.PAUSED, f"the device is {device.state.value}: {device.reason}{heals}"
        if device.reserved_until is not None and device.reserved(tx.now()):
            return SessionState.PAUSED, f"the device is reserved by {device.reserved_by} until {device.reserved_until}"
        return SessionState.ACTIVE, device.class_reason

    def _verdict(self, tx: Transaction, device: Device, one: RunningLease) -> LeaseVerdict:
        looks_ahead = _looks_ahead(device)
        held = looks_ahead and one.phase is JobPhase.ASSIGNED
        may_begin = looks_ahead and device.state is DeviceState.ACTIVE and not device.reserved(tx.now())
        try:
            self._close_to(tx, device, one)
            begins = may_begin and not held
            if begins and give_way(tx, self._kinds, one.lease, device.id, lambda: self._request(tx, device)):
                return LeaseVerdict(one.lease, LeaseOrder.LOST, 0.0, "an order of a person goes before this job")
            # Whose it is first: a device must not keep another's lease alive either.
            job = JobStore(tx).lock_job_of_lease(one.lease)
            if job.lease_owner != device.id:
                return LeaseVerdict(one.lease, LeaseOrder.LOST, 0.0, "another device holds this job")
            if held and not job.accepted:
                JobStore(tx).hold_lease(job, self._leases.ttl_s)
            else:
                JobStore(tx).renew_lease(job, self._leases.ttl_s, one.phase)
        except (LeaseLostError, NotFoundError) as error:  # a job may be gone: the database was restored
            return LeaseVerdict(one.lease, LeaseOrder.LOST, 0.0, str(error))
        if job.cancel_requested:
            return LeaseVerdict(one.lease, LeaseOrder.CANCEL, self._leases.ttl_s, "cancelled by a user")
        goes_on = device.state is DeviceState.ACTIVE and not device.reserved(tx.now())
        order = LeaseOrder.CONTINUE if goes_on else LeaseOrder.DRAIN
        return LeaseVerdict(one.lease, order, self._leases.ttl_s, device.reason)

    def _close_to(self, tx: Transaction, device: Device, one: RunningLease) -> None:
        """Put a job back that is about to begin, though the device does not do work of its owner any more: it was
        leased ahead. What has begun goes on.
        """
        if device.rules is None or (one.phase is JobPhase.ASSIGNED and _looks_ahead(device)):
            return
        seen = JobStore(tx).get_job(one.lease.job_id)
        if seen.accepted or seen.lease != one.lease or seen.lease_owner != device.id:
            return
        if takes_now(tx, device, seen.owner):
            return
        lock_first(tx, self._kinds, seen)
        job = JobStore(tx).lock_job_of_lease(one.lease)
        if not job.accepted:
            failure = Failure(FailureType.AGENT_SHUTDOWN, "the board's rules of use kept it from beginning")
            fail_attempt(tx, self._kinds, job, failure, outcome=LeaseOutcome.NACKED, device_id=device.id)

    def _return(self, tx: Transaction, device: Device, one: ReturnedLease) -> LeaseVerdict | None:
        """End the attempt that is given back; LOST where there is none: its lease has passed on, is another device's,
        or went with the database it was in."""
        try:
            lock_first(tx, self._kinds, JobStore(tx).get_job(one.lease.job_id))
            job = JobStore(tx).lock_job_of_lease(one.lease)
        except (LeaseLostError, NotFoundError) as error:
            return LeaseVerdict(one.lease, LeaseOrder.LOST, 0.0, str(error))
        if job.lease_owner != device.id:
            return LeaseVerdict(one.lease, LeaseOrder.LOST, 0.0, "another device holds this job")
        fail_attempt(tx, self._kinds, job, one.failure, outcome=LeaseOutcome.NACKED, device_id=device.id)
        return None

    def _release_forgotten(self, tx: Transaction, device: Device, report: AgentReport) -> None:
        """End the leases that a restart ended: of what was held ahead, and of work that there is no result of."""
        named = {one.lease.lease_id for one in report.running}
        for job in JobStore(tx).jobs_leased_to(device.id):
            sent = job.accepted and report.num_spooled_results > 0
            if job.lease is not None and job.lease_id not in named and not sent:
                lock_first(tx, self._kinds, job)
                expire_lease(tx, self._kinds, JobStore(tx).lock_job_of_lease(job.lease), "the agent was restarted")


def _looks_ahead(device: Device) -> bool:
    return LOOK_AHEAD_FEATURE in device.capabilities.features
