"""Orders the latency of a network that no candidate waits for: by a measuring job, and a conversion before it where
there is no file of it yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from server.access.principal import Principal
from server.artifacts.artifact import WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.candidates.boards import MeasurementSpec
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.fleet.device import HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.selection import converter_labels, format_for
from server.fleet.sharing.sharing import serves_better
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.measuring.payloads import ConvertPayload, MeasurePayload, MeasureTarget, OperatorDocument
from server.spaces.architecture import ArchitectureDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOrder:
    """What is to be measured, and how.

    Attributes:
        source: an architecture of a space, or one of the space's operators.
        label: what the measurement is called; empty for an architecture, which has its id.
        purpose: beginning of the jobs' dedupe keys.
        accepts: what else tells this order from others of the same network on the same hardware.
        interactive: whether a person waits for it alone; not one of many that a table, a report or a what-if needs.
    """

    source: ArchitectureDocument | OperatorDocument
    latency_key: str
    arch_id: str | None
    label: str = ""
    device: DeviceSpec
    measurement: MeasurementSpec
    priority: int
    owner: Principal | None
    purpose: str
    accepts: str
    interactive: bool = False


def queue_network(tx: Transaction, order: NetworkOrder, profile: HardwareProfile, max_conversions: int) -> Job:
    """Have the network measured, and made a model file of before where there is none that fits."""
    format = format_for(profile.key.identity.runtime)
    # Latency does not depend on weights: any export under this key will do.
    export = ArtifactStore(tx).find_export(order.latency_key, format, tuple(WeightsOrigin), None)
    device, wanted = order.device, order.measurement
    measure = MeasurePayload(
        model_sha256="" if export is None else export.sha256,  # filled in by the conversion
        model_format=format,
        profile=wanted.profile,
        dtype=device.dtype,
        batch=device.batch,
        latency_key=order.latency_key,
        hardware_key=profile.hardware_key,
        core_mask=profile.key.identity.core_mask,
        validity_policy=wanted.validity_policy,
        timeout_s=wanted.timeout_s,
        arch_id=order.arch_id,
        cpu_operators=() if export is None else export.cpu_operators,
        label=order.label,
        layer_times=wanted.layer_times,
    )
    labels = dict(device.labels)
    target = JobTarget(device_type=device.device_type, pool_key=profile.pool_key, labels=labels)
    dedupe = f"{order.latency_key}:{profile.hardware_key}:{order.accepts}"
    tx.wake(Topic.DEVICE_JOBS)
    tx.wake(Topic.WORKER_JOBS)
    if export is not None and not (device.npu_only and export.cpu_operators):
        job = JobStore(tx).add_job(
            NewJob(
                kind=JobKind.MEASURE,
                payload=measure.to_json(),
                dedupe_key=f"{order.purpose}-measure:{dedupe}",
                priority=order.priority,
                interactive=order.interactive,
                max_attempts=wanted.max_attempts,
                target=target,
                latency_key=order.latency_key,
                hardware_key=profile.hardware_key,
                owner=order.owner,
            )
        )
        return _handed_over(tx, job, target, order.owner)
    measure_target = MeasureTarget(
        device_type=device.device_type,
        pool_key=profile.pool_key,
        labels=labels,
        max_attempts=wanted.max_attempts,
    )
    job = JobStore(tx).add_job(
        NewJob(
            kind=JobKind.CONVERT,
            payload=_conversion(order, measure, measure_target).to_json(),
            dedupe_key=f"{order.purpose}-convert:{dedupe}",
            priority=order.priority,
            interactive=order.interactive,
            target=JobTarget(labels=converter_labels(format)),
            max_attempts=max_conversions,
            latency_key=order.latency_key,
            hardware_key=profile.hardware_key,
            owner=order.owner,
        )
    )
    return _handed_over(tx, job, target, order.owner)


def _handed_over(tx: Transaction, job: Job, target: JobTarget, owner: Principal | None) -> Job:
    """The job, as this owner's where another ordered the same before who gets no board for it now."""
    if not serves_better(tx, job, target, owner):
        return job
    JobStore(tx).hand_job_to(job, owner)
    return replace(job, owner=owner)


def _conversion(order: NetworkOrder, measure: MeasurePayload, target: MeasureTarget) -> ConvertPayload:
    """What makes the model file, with the measurement that follows."""
    source = order.source
    return ConvertPayload(
        architecture=source if isinstance(source, ArchitectureDocument) else None,
        operator=source if isinstance(source, OperatorDocument) else None,
        arch_id=measure.arch_id,
        format=measure.model_format,
        dtype=measure.dtype,
        batch=measure.batch,
        weights=WeightsOrigin.RANDOM,
        npu_only=order.device.npu_only,
        measure=measure,
        measure_target=target,
        latency_key=measure.latency_key,
        hardware_key=measure.hardware_key,
    )
