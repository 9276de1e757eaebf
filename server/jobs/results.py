"""The result protocol of jobs that devices do, written once: fenced, idempotent, answered with a receipt.

The order is the point of it. First comes what costs nothing: is this lease of this device, does its fence hold, was the
very same result taken before? Only what passes is looked into (unpacked, parsed, counted), outside any transaction and
bounded by what the job asked for. Then everything is checked once more under lock and stored, and what follows from it
is committed, in one transaction. What a device says of itself is believed nowhere: who did a job is in the lease.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol, TypeVar

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.json_value import JsonValue
from server.artifacts.artifact import check_sha256
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError, NotFoundError
from server.jobs.completion import cancel_job, complete_job, fail_attempt
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.queue import JobStore
from server.jobs.registry import JobKinds
from server.jobs.states import JobKind, JobState, LeaseOutcome


class ResultStatus(Enum):
    """How the server answered a result."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the very same result was taken before
    SUPERSEDED = "superseded"  # stored, but the job was leased again or is over: not authoritative
    REJECTED = "rejected"  # not stored: sending it again is of no use


@dataclass(frozen=True, slots=True)
class ResultReceipt:
    """Answer to a result. The agent deletes its copy whatever the status.

    Attributes:
        record_id: what was stored of it; None where nothing was.
    """

    status: ResultStatus
    reason: str = ""
    record_id: str | None = None


class UnusableResultError(Exception):
    """The content is well formed and says nothing: the attempt failed for this reason, at no one's fault."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenResult:
    """A result whose lease, fence and job were checked; the job is locked.

    Attributes:
        device_id: who holds or held the lease.
        digest: sha256 of the result as sent.
        current: whether the job still waits for it; a result that came too late is kept and steers nothing.
    """

    device_id: str
    job: Job
    lease: LeaseRef
    digest: str
    current: bool


class Record(Protocol):
    """What is stored of a result."""

    @property
    def id(self) -> str:
        """Names it in the receipt."""


C = TypeVar("C", contravariant=True)
R = TypeVar("R", bound=Record)


class ResultHandler(Protocol[C, R]):
    """What a kind of job makes of its results: measuring and classifying bring one each.

    `C` is the content after parsing, `R` what is stored of it.
    """

    kind: JobKind
    wanted: str
    """Noun of what such a job asks for."""

    def complaint(self, tx: Transaction, taken: TakenResult, content: C) -> str:
        """Explain why this content cannot be this job's, so that nothing of it is stored; empty where it can."""

    def store(self, tx: Transaction, taken: TakenResult, content: C) -> R:
        """Store the content, whether it will be used or not."""

    def unusable(self, taken: TakenResult, record: R) -> Failure | None:
        """Return why the stored record may not stand as the job's result; None where it may."""

    def result(self, record: R) -> JsonValue:
        """Write the job's result: a small document that names the record."""

    def apply(self, tx: Transaction, taken: TakenResult, record: R) -> None:
        """Pass the record on to everything that waits for it; the job is DONE."""

    def stored_under(self, tx: Transaction, lease: LeaseRef) -> str | None:
        """Find the id of the record stored under a lease; None where there is none."""


class JobResults:
    """Takes results of leased jobs in."""

    def __init__(self, uow: UnitOfWork, kinds: JobKinds) -> None:
        self._uow = uow
        self._kinds = kinds

    def check(self, device_id: str, lease: LeaseRef, digest: str) -> Job | ResultReceipt:
        """The job whose result this device may hand in under this lease, or the receipt of a result not to be taken.

        Reads and writes nothing else; what it answers can change until the result is taken.
        """
        check_sha256(digest)
        return self._uow.read(lambda tx: _check(tx, device_id, lease, digest))

    def put(
        self,
        device_id: str,
        lease: LeaseRef,
        digest: str,
        handler: ResultHandler[C, R],
        read: Callable[[Job], C],
        checked: Job | ResultReceipt | None = None,
    ) -> ResultReceipt:
        """Take a result and everything that follows from it.

        Args:
            device_id: who sends it; authenticated.
            digest: sha256 of the result as sent: tells a repeated one from another one for the same lease.
            handler: of the kind of result that was sent.
            read: makes the content of what was sent, for this job; raises InvalidMeasurementError, InvalidValueError
                or UnusableResultError. Called only once the lease is known to be this device's.
            checked: what `check` answered just now; None asks it.
        """
        checked = self.check(device_id, lease, digest) if checked is None else checked
        if isinstance(checked, ResultReceipt):
            stored = None
            if checked.status is ResultStatus.DUPLICATE:
                stored = self._uow.read(lambda tx: handler.stored_under(tx, lease))
            return replace(checked, record_id=stored)
        if checked.kind is not handler.kind:
            return self.refuse(device_id, lease, digest, f"job {checked.id} asks for no {handler.wanted}")
        try:
            content = read(checked)
        except (InvalidMeasurementError, InvalidValueError) as error:
            return self.refuse(device_id, lease, digest, str(error))
        except UnusableResultError as error:
            return self.put_failure(device_id, lease, error.failure, digest)
        seen = checked
        return self._uow.write(lambda tx: self._take(tx, device_id, lease, digest, seen, handler, content))

    def put_failure(self, device_id: str, lease: LeaseRef, failure: Failure, digest: str) -> ResultReceipt:
        """Take in that a job could not be done; what follows is the failure's policy."""
        check_sha256(digest)

        def work(tx: Transaction) -> ResultReceipt:
            opened = self._open(tx, device_id, lease, digest)
            if isinstance(opened, ResultReceipt):
                return opened
            ours = opened
            if failure.type is FailureType.CANCELLED:
                ours = replace(opened, job=replace(opened.job, cancel_requested=True))
            if not self._fail(tx, ours, failure):
                return ResultReceipt(ResultStatus.SUPERSEDED, "the job went on without this lease")
            return ResultReceipt(ResultStatus.ACCEPTED)

        return self._uow.write(work)

    def refuse(self, device_id: str, lease: LeaseRef, digest: str, reason: str) -> ResultReceipt:
        """End the attempt that brought a result which cannot be one: malformed, or not of this job."""
        failure = Failure(FailureType.INVALID_RESULT, reason)
        self.put_failure(device_id, lease, failure, digest)
        return ResultReceipt(ResultStatus.REJECTED, failure.message)

    def _take(
        self,
        tx: Transaction,
        device_id: str,
        lease: LeaseRef,
        digest: str,
        seen: Job,
        handler: ResultHandler[C, R],
        content: C,
    ) -> ResultReceipt:
        taken = self._open(tx, device_id, lease, digest, seen)
        if isinstance(taken, ResultReceipt):
            return taken
        complaint = handler.complaint(tx, taken, content)
        if complaint:
            self._fail(tx, taken, Failure(FailureType.INVALID_RESULT, complaint))
            return ResultReceipt(ResultStatus.REJECTED, complaint)
        record = handler.store(tx, taken, content)
        if not taken.current:
            JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
            return ResultReceipt(ResultStatus.SUPERSEDED, "the job went on without this lease", record.id)
        if taken.job.cancel_requested:
            JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
            cancel_job(tx, taken.job)
            return ResultReceipt(ResultStatus.ACCEPTED, "the job was cancelled meanwhile", record.id)
        failure = handler.unusable(taken, record)
        if failure is not None:
            self._fail(tx, taken, failure)
            return ResultReceipt(ResultStatus.ACCEPTED, f"kept, but not used: {failure.message}", record.id)
        complete_job(tx, taken.job, handler.result(record), digest)
        handler.apply(tx, taken, record)
        self._kinds[taken.job.kind].executor.note_success(tx, device_id)
        return ResultReceipt(ResultStatus.ACCEPTED, record_id=record.id)

    def _open(
        self, tx: Transaction, device_id: str, lease: LeaseRef, digest: str, seen: Job | None = None
    ) -> TakenResult | ResultReceipt:
        """The locked job of a result, with what its end concerns; or the receipt of one not to be taken.

        Args:
            seen: the job as `check` found it just now; None looks.
        """
        before = seen or _check(tx, device_id, lease, digest)
        if isinstance(before, ResultReceipt):
            return before
        kind = self._kinds[before.kind]
        kind.executor.note_contact(tx, device_id)
        kind.lock_first(tx, before)
        job = JobStore(tx).lock_job(lease.job_id)
        # Under the lock: somebody may have handed the same result in since.
        if (known := _known(tx, device_id, lease, digest)) is not None:
            return known
        # The lease may have died without another one: then nobody else has the job, and the result is welcome.
        current = job.lease_epoch == lease.lease_epoch and job.state in (JobState.LEASED, JobState.QUEUED)
        return TakenResult(device_id=device_id, job=job, lease=lease, digest=digest, current=current)

    def _fail(self, tx: Transaction, taken: TakenResult, failure: Failure) -> bool:
        """End the attempt; False where it had ended before (queued again, or over), and was counted then."""
        if taken.job.lease_epoch != taken.lease.lease_epoch or taken.job.state is not JobState.LEASED:
            JobStore(tx).end_lease(taken.lease, LeaseOutcome.FAILED, failure, taken.digest)
            return False
        fail_attempt(tx, self._kinds, taken.job, failure, device_id=taken.device_id, digest=taken.digest)
        return True


def _check(tx: Transaction, device_id: str, lease: LeaseRef, digest: str) -> Job | ResultReceipt:
    try:
        job = JobStore(tx).get_job(lease.job_id)
    except NotFoundError as error:
        return ResultReceipt(ResultStatus.REJECTED, str(error))
    return _known(tx, device_id, lease, digest) or job


def _known(tx: Transaction, device_id: str, lease: LeaseRef, digest: str) -> ResultReceipt | None:
    """The receipt of a result that is not to be taken, by what the history says of its lease; None for any other."""
    record = JobStore(tx).lease_record(lease.lease_id)
    known = record is not None and (record.job_id, record.lease_epoch) == (lease.job_id, lease.lease_epoch)
    if record is None or not known or record.device_id != device_id:
        return ResultReceipt(ResultStatus.REJECTED, f"lease {lease.lease_id} is not one of this device")
    if record.result_digest is None:
        return None
    if record.result_digest != digest:
        return ResultReceipt(ResultStatus.REJECTED, f"lease {lease.lease_id} brought another result before")
    return ResultReceipt(ResultStatus.DUPLICATE)
