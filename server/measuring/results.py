"""Results of measuring jobs: what was measured, under which key it is filed, whom it steers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import (
    CanaryReading,
    LatencyStats,
    Measurement,
    MeasurementProfile,
    Validity,
    ValidityFlag,
    ValidityPolicy,
    compress_blocks,
    usable_blocks,
)
from nas_engine.domain.measuring.slow_models import too_slow
from nas_engine.domain.measuring.validity import one_a_kind, recomputed_flags, united
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import advance, lock_searches, stop_unwanted
from server.candidates.states import EvaluationSource
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.ids import IdPrefix, new_id
from server.fleet.device import Device
from server.fleet.lease_keys import hardware_key_of_lease
from server.fleet.store import DeviceStore
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.registry import JobKinds
from server.jobs.results import JobResults, ResultReceipt, TakenResult, UnusableResultError
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.measuring.canaries.canaries import pool_key_of
from server.measuring.canaries.canary import IssuedCanary
from server.measuring.canaries.judging import canary_complaint, pool_canaries, pool_verdict, with_ratio
from server.measuring.canaries.store import CanaryStore
from server.measuring.evidence import contradiction, implausibility
from server.measuring.measurement import MeasurementRecord, measurement_kind
from server.measuring.orders import record_latency, serves
from server.measuring.payloads import MeasurePayload
from server.measuring.store import MeasurementStore

WHAT_ACCEPT_FLAGGED_REFUSES = (
    "accept_flagged takes noisy results, not those cut short (partial) or of a device whose canary is off"
)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A measurement with its statistics."""

    measurement: Measurement
    stats: LatencyStats


class MeasurementResults:
    """Takes measurements in: the `ResultHandler` of measuring jobs."""

    kind = JobKind.MEASURE
    wanted = "measurement"

    def __init__(self, uow: UnitOfWork, kinds: JobKinds, settings: SearchSettings | None = None) -> None:
        self._results = JobResults(uow, kinds)
        self._settings = settings or SearchSettings()

    def put(
        self,
        device_id: str,
        lease: LeaseRef,
        digest: str,
        read: Callable[[MeasurePayload], Measurement],
        checked: Job | ResultReceipt | None = None,
    ) -> ResultReceipt:
        """Store a measurement and everything that follows from it; see `JobResults.put`.

        Args:
            read: makes the measurement of what was sent, bounded by what the job asked for.
            checked: what `JobResults.check` answered just now; None asks it.
        """

        def count(job: Job) -> _Counted:
            measurement = read(read_payload(MeasurePayload, job.payload))
            try:
                return _Counted(measurement, measurement.stats(np.random.default_rng(int(digest[:16], 16))))
            except InvalidMeasurementError as error:
                raise UnusableResultError(Failure(FailureType.INTERFERED, str(error))) from error

        return self._results.put(device_id, lease, digest, self, count, checked)

    def complaint(self, tx: Transaction, taken: TakenResult, content: _Counted) -> str:
        """None: what contradicts the job is kept as evidence."""
        return ""

    def store(self, tx: Transaction, taken: TakenResult, content: _Counted) -> MeasurementRecord:
        """File it under what the device is enrolled as, with every flag that its agent raised or the server finds.

        One that contradicts the lease or the enrolment, or that no device could give, is kept as rejected evidence: it
        steers nothing, and no list shows it unless asked for suspect ones.
        """
        payload = read_payload(MeasurePayload, taken.job.payload)
        device, sent = DeviceStore(tx).get_device(taken.device_id), content.measurement
        key = hardware_key_of_lease(device, taken.job, sent.hardware_key, payload)
        absurd = implausibility(tx, device, payload, sent.environment, content.stats.p50_us)
        rejection = "; ".join(filter(None, (contradiction(device, taken.job, payload, key, sent), absurd)))
        measured = replace(sent, hardware_key=key)
        profile = MeasurementProfile.named(payload.profile)
        flags = united(one_a_kind(sent.flags), recomputed_flags(measured, profile, payload.cpu_operators))
        order = CanaryStore(tx).canary_order_of(taken.lease.lease_id)
        canaries = _canary_trouble(tx, device, taken.job, order, sent, profile)
        troubles = (ValidityFlag(Validity.DEGRADED_DEVICE, reason) for reason in (canaries, absurd) if reason)
        judged = _Counted(replace(measured, flags=(*flags, *troubles)), content.stats)
        record = _record(tx, device, taken, payload, judged, rejection, order)
        MeasurementStore(tx).add_measurement(record, compress_blocks(sent.blocks), sent.layers)
        payload_of_event: dict[str, JsonValue] = {
            "measurement_id": record.id,
            "candidate_id": record.candidate_id,
            "device_type": record.device_type,
            "kind": record.kind.value,
            "p50_us": record.stats.p50_us,
            "min_us": record.stats.min_us,
            "cv": record.stats.cv,
            "validity": record.validity.value,
            "superseded": record.superseded,
        }
        event = NewEvent(
            type=EventType.MEASUREMENT,
            search_id=record.search_id,
            device_id=device.id,
            payload=payload_of_event,
        )
        EventStore(tx).append_event(event)
        return record

    def unusable(self, taken: TakenResult, record: MeasurementRecord) -> Failure | None:
        """A rejected record, or flags that the job's policy does not accept."""
        payload = read_payload(MeasurePayload, taken.job.payload)
        if record.rejection:
            return Failure(FailureType.INVALID_RESULT, record.rejection)
        if payload.validity_policy.accepts(record.flags):
            return None
        reasons = "; ".join(f"{flag.validity.value}: {flag.reason}" for flag in record.flags)
        if payload.validity_policy is ValidityPolicy.ACCEPT_FLAGGED:
            reasons += f"; {WHAT_ACCEPT_FLAGGED_REFUSES}"
        if any(flag.validity is Validity.DEGRADED_DEVICE for flag in record.flags):
            return Failure(FailureType.DEVICE_DEGRADED, reasons)
        run_s = record.stats.min_us / 1e6
        if slow := too_slow(run_s, MeasurementProfile.named(payload.profile), payload.validity_policy):
            return Failure(FailureType.UNSUPPORTED, f"{slow} ({reasons})")  # another try would end like this one
        return Failure(FailureType.INTERFERED, f"not valid in attempt {taken.job.attempt}: {reasons}")

    def result(self, record: MeasurementRecord) -> JsonValue:
        """Name the stored measurement, as the job's result."""
        return {"measurement_id": record.id}

    def apply(self, tx: Transaction, taken: TakenResult, record: MeasurementRecord) -> None:
        """Give the latency to every candidate that waits for it, and open the barriers this opens."""
        job, all_awaited = (
            taken.job,
            EvaluationStore(tx).awaited_evaluations_under(record.latency_key, record.hardware_key),
        )
        searches = lock_searches(tx, {job.search_id, *(awaited.search_id for awaited in all_awaited)})
        for awaited in all_awaited:
            search = searches[awaited.search_id]
            board = search.spec.board_of(awaited.metric)
            if board is not None and serves(search, board, record):
                candidate = CandidateStore(tx).get_candidate(awaited.candidate_id)
                own = candidate.id == job.candidate_id
                if own and board.is_own_device:
                    candidate = replace(candidate, model_sha256=record.model_sha256)
                source = EvaluationSource.MEASURED if own else EvaluationSource.REUSED
                searches[search.id] = record_latency(
                    tx, search, candidate, board.metric, record, source, awaited.attempt
                )
        stop_unwanted(tx, record.latency_key, record.hardware_key)
        for search in searches.values():
            advance(tx, search, self._settings)

    def stored_under(self, tx: Transaction, lease: LeaseRef) -> str | None:
        """Id of the measurement that came in under a lease."""
        stored = MeasurementStore(tx).measurement_of_lease(lease.lease_id)
        return None if stored is None else stored.id


def _record(
    tx: Transaction,
    device: Device,
    taken: TakenResult,
    payload: MeasurePayload,
    content: _Counted,
    rejection: str,
    order: IssuedCanary | None,
) -> MeasurementRecord:
    measurement, job = content.measurement, taken.job
    key = measurement.hardware_key
    npu_ns = np.concatenate([np.asarray(block.npu_ns, dtype=np.int64) for block in usable_blocks(measurement.blocks)])
    return MeasurementRecord(
        id=new_id(IdPrefix.MEASUREMENT),
        kind=measurement_kind(key.identity.device_class),
        latency_key=payload.latency_key,
        hardware_key=key.digest,
        hardware=key,
        device_type=device.device_type,
        device_id=device.id,
        job_id=job.id,
        lease_id=taken.lease.lease_id,
        search_id=job.search_id,
        candidate_id=job.candidate_id,
        arch_id=payload.arch_id,
        model_sha256=payload.model_sha256,
        label=payload.label,
        profile=payload.profile,
        stats=content.stats,
        npu_p50_us=float(np.median(npu_ns, overwrite_input=True)) / 1e3 if len(npu_ns) else None,
        npu_time_source=measurement.npu_time_source,
        load_us=measurement.load_us,
        init_us=measurement.init_us,
        first_run_us=measurement.first_run_us,
        validity=measurement.validity,
        flags=measurement.flags,
        superseded=not taken.current,
        suspect=bool(rejection),
        rejection=rejection,
        environment=measurement.environment.to_json(),
        canary_before=_canary_json(measurement.canary_before, order),
        canary_after=_canary_json(measurement.canary_after, order),
        output_digest=measurement.output_digest,
        result_digest=taken.digest,
        created_at=tx.now(),
    )


def _canary_trouble(
    tx: Transaction,
    device: Device,
    job: Job,
    order: IssuedCanary | None,
    measurement: Measurement,
    profile: MeasurementProfile,
) -> str:
    """What is wrong with the canaries that were asked for; empty where none were, or nothing is."""
    if order is None:
        return ""
    complaint = canary_complaint(order, measurement.canary_before, measurement.canary_after, profile)
    after = measurement.canary_after
    if complaint or after is None:
        return complaint
    pool = pool_canaries(tx, device, pool_key_of(device, job), order.artifact_sha256)
    return pool_verdict(pool, after.median_us, after.output_digest).complaint


def _canary_json(reading: CanaryReading | None, order: IssuedCanary | None) -> JsonValue:
    if reading is None:
        return None
    reading = reading if order is None else with_ratio(reading, order)
    return {
        "artifact_sha256": reading.artifact_sha256,
        "median_us": reading.median_us,
        "ratio": reading.ratio,
        "output_digest": reading.output_digest,
    }
