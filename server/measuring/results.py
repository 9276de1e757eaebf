"""Results of measuring jobs: idempotent, fenced, never lost. A late one is kept, but steers nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import (
    CanaryReading,
    LatencyStats,
    Measurement,
    Validity,
    ValidityPolicy,
    compress_blocks,
    usable_blocks,
)
from nas_engine.domain.objective import Metric
from server.artifacts.artifact import check_sha256
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import advance, affected_searches, stop_unwanted
from server.candidates.states import EvaluationSource
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError
from server.core.events import EventStore, EventType, NewEvent
from server.core.ids import IdPrefix, new_id
from server.fleet.device import Device, HardwareProfile
from server.fleet.store import DeviceStore, HardwareStore
from server.jobs.cancellation import cancel_job
from server.jobs.completion import JobEnds
from server.jobs.failures import Failure, FailureType
from server.jobs.job import Job, LeaseRef
from server.jobs.kinds import JobKind
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.results import ResultReceipt, ResultStatus, open_result
from server.jobs.settings import SearchSettings
from server.jobs.states import JobState, LeaseOutcome
from server.measuring.measurement import MeasurementRecord, kind_of
from server.measuring.orders import record_latency, serves
from server.measuring.payloads import MeasurePayload
from server.measuring.store import MeasurementStore


class MeasurementResults:
    """Takes results in from agents."""

    def __init__(self, uow: UnitOfWork, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._settings = settings or SearchSettings()
        self._ends = JobEnds(self._settings)

    def put_measurement(
        self, device_id: str, lease: LeaseRef, measurement: Measurement, result_digest: str
    ) -> ResultReceipt:
        """Store a measurement and everything that follows from it, in one transaction.

        Args:
            result_digest: sha256 of the result as sent: tells a repeated one from another one for the same lease.
        """
        check_sha256(result_digest)
        try:
            stats = measurement.stats(np.random.default_rng(int(result_digest[:16], 16)))
        except InvalidMeasurementError as error:
            failure = Failure(FailureType.INTERFERED, str(error))
            return self.put_failure(device_id, lease, failure, result_digest)

        def work(tx: Transaction) -> ResultReceipt:
            opened = open_result(tx, device_id, lease, result_digest)
            if isinstance(opened, ResultReceipt):
                return opened
            return self._take(tx, DeviceStore(tx).get(device_id), opened, lease, measurement, stats, result_digest)

        return self._uow.write(work)

    def put_failure(self, device_id: str, lease: LeaseRef, failure: Failure, result_digest: str) -> ResultReceipt:
        """Take in that a job could not be done; see FailureType for what follows."""
        check_sha256(result_digest)

        def work(tx: Transaction) -> ResultReceipt:
            opened = open_result(tx, device_id, lease, result_digest)
            if isinstance(opened, ResultReceipt):
                return opened
            if opened.lease_epoch != lease.lease_epoch or opened.state is not JobState.LEASED:
                JobStore(tx).end_lease(lease, LeaseOutcome.FAILED, failure, result_digest)
                return ResultReceipt(ResultStatus.SUPERSEDED, "the job went on without this lease")
            if failure.type is FailureType.CANCELLED:
                opened = replace(opened, cancel_requested=True)
            self._ends.failed(tx, opened, failure, device_id=device_id, digest=result_digest)
            return ResultReceipt(ResultStatus.ACCEPTED)

        return self._uow.write(work)

    def _take(
        self,
        tx: Transaction,
        device: Device,
        job: Job,
        lease: LeaseRef,
        measurement: Measurement,
        stats: LatencyStats,
        digest: str,
    ) -> ResultReceipt:
        if job.kind is not JobKind.MEASURE:
            other = Failure(FailureType.INVALID_RESULT, f"job {job.id} asks for no measurement")
            return self._refuse(tx, job, lease, device, other, digest)
        payload = read_payload(MeasurePayload, job.payload)
        key = measurement.hardware_key
        if (key.dtype.value, key.batch) != (payload.dtype, payload.batch):
            reason = (
                f"measured as {key.dtype.value} with batch {key.batch}, not as {payload.dtype} with {payload.batch}"
            )
            return self._refuse(tx, job, lease, device, Failure(FailureType.INVALID_RESULT, reason), digest)
        # The lease may have died without another one: then nobody else has the job, and the result is welcome.
        current = job.lease_epoch == lease.lease_epoch and job.state in (JobState.LEASED, JobState.QUEUED)
        record = self._record(tx, device, job, lease, payload, measurement, stats, digest, superseded=not current)
        HardwareStore(tx).put(HardwareProfile(key=key))
        MeasurementStore(tx).add(record, compress_blocks(measurement.blocks))
        EventStore(tx).append(_measurement_event(record))
        if not current:
            JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
            return ResultReceipt(ResultStatus.SUPERSEDED, "the job went on without this lease", record.id)
        if job.cancel_requested:
            JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
            cancel_job(tx, job)
            return ResultReceipt(ResultStatus.ACCEPTED, "the job was cancelled meanwhile", record.id)
        failure = _unusable(record, job, payload)
        if failure is not None:
            self._end_attempt(tx, job, failure, device, digest)
            return ResultReceipt(ResultStatus.ACCEPTED, f"kept, but not used: {failure.message}", record.id)
        self._settle(tx, device, job, record, digest)
        return ResultReceipt(ResultStatus.ACCEPTED, measurement_id=record.id)

    def _settle(self, tx: Transaction, device: Device, job: Job, record: MeasurementRecord, digest: str) -> None:
        """Give the latency to every candidate that waits for it, and open the barriers this opens."""
        self._ends.done(tx, job, {"measurement_id": record.id}, digest)
        searches = affected_searches(tx, job)
        for awaited in EvaluationStore(tx).awaited_under(record.latency_key, record.hardware_key):
            search = searches[awaited.search_id]
            if awaited.metric is Metric.LATENCY_US and serves(search, record):
                candidate = CandidateStore(tx).get(awaited.candidate_id)
                own = candidate.id == job.candidate_id
                if own:
                    candidate = replace(candidate, model_sha256=record.model_sha256)
                source = EvaluationSource.MEASURED if own else EvaluationSource.REUSED
                searches[search.id] = record_latency(tx, search, candidate, record, source, awaited.attempt)
        stop_unwanted(tx, record.latency_key, record.hardware_key)
        for search in searches.values():
            advance(tx, search, self._settings)
        if device.num_failures_in_a_row:
            DeviceStore(tx).save(replace(DeviceStore(tx).lock(device.id), num_failures_in_a_row=0))

    def _end_attempt(self, tx: Transaction, job: Job, failure: Failure, device: Device, digest: str) -> None:
        if job.state is JobState.LEASED:
            self._ends.failed(tx, job, failure, device_id=device.id, digest=digest)
        elif job.lease is not None:  # queued again already: that attempt was counted when the lease died
            JobStore(tx).end_lease(job.lease, LeaseOutcome.FAILED, failure, digest)

    def _refuse(
        self, tx: Transaction, job: Job, lease: LeaseRef, device: Device, failure: Failure, digest: str
    ) -> ResultReceipt:
        if job.lease_epoch == lease.lease_epoch:
            self._end_attempt(tx, job, failure, device, digest)
        return ResultReceipt(ResultStatus.REJECTED, failure.message)

    @staticmethod
    def _record(
        tx: Transaction,
        device: Device,
        job: Job,
        lease: LeaseRef,
        payload: MeasurePayload,
        measurement: Measurement,
        stats: LatencyStats,
        digest: str,
        *,
        superseded: bool,
    ) -> MeasurementRecord:
        identity = measurement.hardware_key.identity
        return MeasurementRecord(
            id=new_id(IdPrefix.MEASUREMENT),
            kind=kind_of(identity.device_class),
            latency_key=payload.latency_key,
            hardware_key=measurement.hardware_key.digest,
            hardware=measurement.hardware_key,
            device_type=device.device_type,
            device_id=device.id,
            job_id=job.id,
            lease_id=lease.lease_id,
            search_id=job.search_id,
            candidate_id=job.candidate_id,
            arch_id=payload.arch_id,
            model_sha256=payload.model_sha256,
            label=payload.label,
            profile=payload.profile,
            stats=stats,
            npu_p50_us=_npu_p50_us(measurement),
            npu_time_source=measurement.npu_time_source,
            load_us=measurement.load_us,
            init_us=measurement.init_us,
            first_run_us=measurement.first_run_us,
            validity=measurement.validity,
            flags=measurement.flags,
            superseded=superseded,
            environment=measurement.environment.to_json(),
            canary_before=_canary_json(measurement.canary_before),
            canary_after=_canary_json(measurement.canary_after),
            output_digest=measurement.output_digest,
            result_digest=digest,
            created_at=tx.now(),
        )


def _unusable(record: MeasurementRecord, job: Job, payload: MeasurePayload) -> Failure | None:
    """Why a measurement may not stand as this job's result; None where it may."""
    if record.hardware_key != payload.hardware_key:
        message = f"measured under hardware key {record.hardware_key}, the job asks for {payload.hardware_key}"
        return Failure(FailureType.INVALID_RESULT, message)
    if ValidityPolicy(payload.validity_policy).accepts(record.flags):
        return None
    reasons = "; ".join(f"{flag.validity.value}: {flag.reason}" for flag in record.flags)
    if any(flag.validity is Validity.DEGRADED_DEVICE for flag in record.flags):
        return Failure(FailureType.DEVICE_DEGRADED, reasons)
    return Failure(FailureType.INTERFERED, f"not valid in attempt {job.attempt}: {reasons}")


def _npu_p50_us(measurement: Measurement) -> float | None:
    npu_ns = [ns for block in usable_blocks(measurement.blocks) for ns in block.npu_ns]
    return float(np.median(np.asarray(npu_ns, dtype=np.int64))) / 1e3 if npu_ns else None


def _canary_json(reading: CanaryReading | None) -> JsonValue:
    if reading is None:
        return None
    return {
        "artifact_sha256": reading.artifact_sha256,
        "median_us": reading.median_us,
        "ratio": reading.ratio,
        "output_digest": reading.output_digest,
    }


def _measurement_event(record: MeasurementRecord) -> NewEvent:
    if record.device_id is None:
        raise InvalidValueError(f"measurement {record.id} comes from no device")
    return NewEvent(
        type=EventType.MEASUREMENT,
        search_id=record.search_id,
        device_id=record.device_id,
        payload={
            "measurement_id": record.id,
            "candidate_id": record.candidate_id,
            "device_type": record.device_type,
            "kind": record.kind.value,
            "p50_us": record.stats.p50_us,
            "min_us": record.stats.min_us,
            "cv": record.stats.cv,
            "validity": record.validity.value,
            "superseded": record.superseded,
        },
    )
