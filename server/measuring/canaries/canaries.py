"""Canaries: when a device runs its golden model, what is expected of it, and what follows from what it gave.

The device's own first run is its baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nas_engine.domain.measurement import CanaryReading, DeviceClass, MeasurementProfile
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError
from server.core.ids import IdPrefix, new_id
from server.fleet.device import DEVICE_TRANSITIONS, Device, DeviceState, pool_key
from server.fleet.lifecycle import move_device
from server.fleet.selection import format_for
from server.fleet.store import DeviceStore
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.measuring.canaries.alarms import CanaryAlarms
from server.measuring.canaries.canary import CanaryRecord, IssuedCanary
from server.measuring.canaries.judging import (
    MAJORITY,
    canary_complaint,
    dispute,
    known_answer,
    pool_canaries,
    pool_verdict,
    with_ratio,
)
from server.measuring.canaries.store import CanaryStore
from server.measuring.orders import LatencyScheduler
from server.measuring.payloads import MeasurePayload
from server.measuring.store import MeasurementStore


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenModel:
    """A model whose speed and outputs are known: an artifact in one format."""

    sha256: str
    size_bytes: int
    format: ModelFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """When canaries run.

    Attributes:
        every_s: longest time between two canaries of a device that measures.
        device_classes: classes that have canaries. Emulated devices have none: their host's own noise is larger than
            what a canary could show.
        tolerance: share by which the speed may be off; None leaves it to the measurement profile (3 %).
    """

    every_s: float = 600.0
    device_classes: frozenset[DeviceClass] = frozenset({DeviceClass.BOARD, DeviceClass.SIMULATED})
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not self.every_s >= 0:
            raise InvalidValueError(f"canaries every {self.every_s} s: it must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """The golden model a device is to run around a measurement.

    Attributes:
        model: the artifact.
        baseline_us: the device's median; None before its first.
        output_digest: what its outputs must hash to; empty where not known.
        tolerance: share the speed may be off; None leaves it to the profile.
    """

    model: GoldenModel
    baseline_us: float | None = None
    output_digest: str = ""
    tolerance: float | None = None


class Canaries:
    """Plans canaries, and takes their readings in.

    Args:
        uow: transactions.
        golden: at most one golden model per format.
        settings: when.
        golden_key: latency key under which workers file golden models in further formats; empty for none.
        searches: for the measurements that are ordered again.
    """

    def __init__(
        self,
        uow: UnitOfWork,
        golden: Sequence[GoldenModel] = (),
        settings: CanarySettings | None = None,
        golden_key: str = "",
        searches: SearchSettings | None = None,
    ) -> None:
        self._uow = uow
        self._golden = {model.format: model for model in golden}
        self._settings = settings or CanarySettings()
        self._golden_key = golden_key
        self._latency = LatencyScheduler(searches or SearchSettings())

    def plan(self, device: Device, job: Job) -> CanaryPlan | None:
        """The canary for a job on a device; None where none is due or there is no golden model in its format.

        One is due after `every_s`, after a failure that blamed the device, while it is DEGRADED, when its agent was
        started anew, and when it runs as something else than before: a new runtime version or another core mask begins
        with its own baseline.
        """
        if device.device_class not in self._settings.device_classes:
            return None
        payload = read_payload(MeasurePayload, job.payload)
        return self._uow.read(lambda tx: self._plan(tx, device, payload, pool_key_of(device, job)))

    def order(self, device: Device, job: Job) -> CanaryPlan | None:
        """Plan the canary for a job that was just leased to a device, and remember it: the result is held to it."""
        plan, lease = self.plan(device, job), job.lease
        if plan is not None and lease is not None:
            order = IssuedCanary(
                lease_id=lease.lease_id,
                artifact_sha256=plan.model.sha256,
                baseline_us=plan.baseline_us,
                output_digest=plan.output_digest,
                tolerance=plan.tolerance,
            )
            self._uow.write(lambda tx: CanaryStore(tx).put_canary_order(order))
        return plan

    def take(
        self,
        device: Device,
        lease: LeaseRef,
        readings: tuple[CanaryReading | None, CanaryReading | None],
        *,
        alarm: str,
        again: bool,
    ) -> None:
        """Take in the canaries of a result that was stored; see `record_under`.

        Args:
            readings: before and after the measurement, as sent.
            alarm: why the device itself says that it is not well; empty where it does not.
            again: the result was taken before; then only an alarm counts, which this server may have died over.
        """

        order = self._uow.read(lambda tx: CanaryStore(tx).canary_order_of(lease.lease_id))
        if order is None and not alarm and readings == (None, None):
            return  # as after nearly every job

        def look(tx: Transaction) -> tuple[Job, bool]:
            stored = MeasurementStore(tx).measurement_of_lease(lease.lease_id)
            trusted = stored is not None and not stored.rejection
            return JobStore(tx).get_job(lease.job_id), trusted

        job, trusted = self._uow.read(look)
        if (unbased := order) is not None and unbased.baseline_us is None:
            order = self._uow.read(lambda tx: _with_baseline(tx, device, job, unbased))
        if order is not None:
            profile = MeasurementProfile.named(read_payload(MeasurePayload, job.payload).profile)
            alarm = "; ".join(filter(None, (alarm, canary_complaint(order, *readings, profile))))
        before, after = readings
        reading = after or before
        # What nobody asked for, or came with a result that contradicts its lease, is no baseline.
        wanted = bool(alarm) or (order is not None and trusted and not again)
        if reading is not None and wanted:
            self.record(device, job.id, reading if order is None else with_ratio(reading, order), alarm=alarm)
        elif alarm and order is not None:
            self._missed(device.id, alarm)

    def proving_kind(self, tx: Transaction, device: Device) -> JobKind | None:
        """Measuring, for a DEGRADED device that has a golden model to show on that it is well; else None."""
        if device.device_class not in self._settings.device_classes:
            return None
        format = format_for(device.capabilities.identity.runtime)
        return None if self._golden.get(format) is None and self._filed(tx, format) is None else JobKind.MEASURE

    def golden_models(self, format: ModelFormat) -> frozenset[str]:
        """Digests of the golden models that a device may be told to run in a format."""
        made = self._uow.read(lambda tx: self._filed(tx, format))
        return frozenset(one.sha256 for one in (self._golden.get(format), made) if one is not None)

    def record(self, device: Device, job_id: str, reading: CanaryReading, *, alarm: str = "") -> int:
        """Store the reading of a canary that ran with a job; see `record_under`.

        Args:
            alarm: why the device is not well; empty where it is.
        """
        job = self._uow.read(lambda tx: JobStore(tx).get_job(job_id))
        return self.record_under(pool_key_of(device, job), device.id, reading, alarm=alarm)

    def record_under(self, pool_key: str, device_id: str, reading: CanaryReading, *, alarm: str = "") -> int:
        """Store a run of the golden model. One that failed marks the device DEGRADED, and everything it measured since
        its last good canary as suspect, which running searches have measured again; one that passed brings a DEGRADED
        device back. A device whose canary differs from those of its pool by more than 3 %, or gives other outputs, is
        quarantined: devices of one hardware key share a pool only while they agree. Where it is one board against one,
        both are: nobody but a person knows which is right.

        Returns:
            How many measurements became suspect.
        """

        def work(tx: Transaction) -> int:
            seen = DeviceStore(tx).get_device(device_id)
            pool = () if alarm else pool_canaries(tx, seen, pool_key, reading.artifact_sha256)
            verdict = pool_verdict(pool, reading.median_us, reading.output_digest)
            reason = alarm or verdict.complaint
            blamed = {device_id: reason} if reason else {}
            for other in verdict.disputed_with:
                blamed[other.device_id] = dispute(other, device_id, reading)
            since = {one: _last_good(tx, one) for one in blamed}
            doubtful = [
                measurement_id
                for one in blamed
                for measurement_id in MeasurementStore(tx).ids_of_measurements_since(one, since[one])
            ]
            alarms = CanaryAlarms(tx, doubtful)
            devices = {one: DeviceStore(tx).lock_device(one) for one in sorted({device_id, *blamed})}
            device = devices[device_id]
            CanaryStore(tx).add_canary(
                CanaryRecord(
                    id=new_id(IdPrefix.CANARY),
                    device_id=device_id,
                    artifact_sha256=reading.artifact_sha256,
                    median_us=reading.median_us,
                    ratio=reading.ratio,
                    passed=not reason,
                    reason=reason,
                    taken_at=tx.now(),
                    pool_key=pool_key,
                    output_digest=reading.output_digest,
                    instance_epoch=device.instance_epoch,
                )
            )
            device = replace(device, last_canary_at=tx.now(), last_canary_ratio=reading.ratio)
            if not reason and device.state is DeviceState.DEGRADED:
                move_device(tx, device, DeviceState.ACTIVE, "the canary is well again")
            else:
                DeviceStore(tx).save_device(device)
            # A device that is slow as such cannot heal: only an engineer lets it back into the pool.
            worse = DeviceState.DEGRADED if alarm else DeviceState.QUARANTINED
            num_suspect = sum(_blame(tx, one, why, worse, since[one]) for one, why in blamed.items())
            if blamed:
                alarms.measure_again(self._latency)
            return num_suspect

        return self._uow.write(work)

    def _missed(self, device_id: str, reason: str) -> None:
        """Take in that a canary was asked for and none came: as bad as one that failed, with nothing to store."""

        def work(tx: Transaction) -> None:
            since = _last_good(tx, device_id)
            alarms = CanaryAlarms(tx, MeasurementStore(tx).ids_of_measurements_since(device_id, since))
            DeviceStore(tx).lock_device(device_id)
            _blame(tx, device_id, reason, DeviceState.DEGRADED, since)
            alarms.measure_again(self._latency)

        self._uow.write(work)

    def _plan(self, tx: Transaction, device: Device, payload: MeasurePayload, pool_key: str) -> CanaryPlan | None:
        model = self._golden.get(payload.model_format) or self._filed(tx, payload.model_format)
        if model is None:
            return None
        last = CanaryStore(tx).last_canary_under(device.id, pool_key, model.sha256, passed=False)
        state = DeviceStore(tx).get_device(device.id)
        well = state.num_failures_in_a_row == 0 and state.state is not DeviceState.DEGRADED
        same = last is not None and last.instance_epoch == device.instance_epoch
        if last is not None and well and same and last.taken_at >= state.identity_since:
            age = tx.now() - last.taken_at
            # A canary of the future was taken before the clock was set back: it says nothing about now.
            if timedelta(0) <= age < timedelta(seconds=self._settings.every_s):
                return None
        good = CanaryStore(tx).last_canary_under(device.id, pool_key, model.sha256, passed=True)
        answer = "" if good is None else known_answer([good])
        return CanaryPlan(
            model=model,
            baseline_us=None if good is None else _baseline_us(good),
            output_digest=answer or known_answer(pool_canaries(tx, device, pool_key, model.sha256), MAJORITY),
            tolerance=self._settings.tolerance,
        )

    def _filed(self, tx: Transaction, format: ModelFormat) -> GoldenModel | None:
        """The golden model that a worker made in a format."""
        if not self._golden_key:
            return None
        export = ArtifactStore(tx).find_export(self._golden_key, format, tuple(WeightsOrigin), None)
        if export is None:
            return None
        size_bytes = ArtifactStore(tx).get_artifact(export.sha256).size_bytes
        return GoldenModel(sha256=export.sha256, size_bytes=size_bytes, format=format)


def _blame(tx: Transaction, device_id: str, reason: str, worse: DeviceState, since: datetime) -> int:
    """Hold a locked device back, unless it is already; gives the number of its measurements that became suspect."""
    current = DeviceStore(tx).get_device(device_id)
    if worse is not current.state and worse in DEVICE_TRANSITIONS[current.state]:
        move_device(tx, current, worse, reason)
    return MeasurementStore(tx).mark_measurements_suspect(device_id, since)


def _baseline_us(good: CanaryRecord) -> float:
    """The first median, which every later record still tells: its own median over its ratio."""
    return good.median_us if good.ratio is None else good.median_us / good.ratio


def _with_baseline(tx: Transaction, device: Device, job: Job, order: IssuedCanary) -> IssuedCanary:
    """An order that went out before there was a baseline, with the one that there is by now: the job before came with
    it while this one was held.
    """
    pool_key = pool_key_of(device, job)
    good = CanaryStore(tx).last_canary_under(device.id, pool_key, order.artifact_sha256, passed=True)
    return order if good is None else replace(order, baseline_us=_baseline_us(good))


def _last_good(tx: Transaction, device_id: str) -> datetime:
    """When a device last had a good canary, else when it enrolled."""
    good = CanaryStore(tx).last_good_canary(device_id)
    return DeviceStore(tx).get_device(device_id).enrolled_at if good is None else good.taken_at


def pool_key_of(device: Device, job: Job) -> str:
    """What the device runs the job as, without the batch: canaries have a batch of their own."""
    if job.target.pool_key is not None:
        return job.target.pool_key
    return pool_key(device.capabilities.identity, read_payload(MeasurePayload, job.payload).dtype)
