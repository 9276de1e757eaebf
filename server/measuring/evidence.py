"""What may steer: results that agree with their lease and the enrolled device, and records whose origin is traceable.

A result that contradicts what the server knows is kept as rejected evidence; nothing follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.measurement import HardwareKey, Measurement, ValidityPolicy
from nas_engine.domain.measuring.environment import DeviceIdentity, EnvironmentRecord
from nas_engine.domain.measuring.plausibility import absurdity
from nas_engine.domain.measuring.profile import ProfileName
from nas_engine.domain.metrics import MACS
from server.core.database.transaction import Transaction
from server.core.errors import NotFoundError
from server.fleet.device import Device, HardwareProfile
from server.fleet.lease_keys import is_asked_type, key_as_believed
from server.fleet.store import DeviceStore
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.measuring.measurement import MeasurementRecord, measurement_kind
from server.measuring.payloads import MeasurePayload
from server.measuring.store import MeasurementStore
from server.spaces.store import ArchitectureStore

_PARTS = ("board_model", "device_class", "runtime", "runtime_versions", "clocks_profile", "core_mask")


def contradiction(
    device: Device, job: Job, payload: MeasurePayload, leased: HardwareKey, measurement: Measurement
) -> str:
    """Explain how a result contradicts its lease or its device's enrolment; empty where it does not.

    Args:
        leased: the key of the lease, see `hardware_key_of_lease`.
    """
    sent, mask = key_as_believed(device, measurement.hardware_key), measurement.environment.core_mask
    found = _differences(sent.identity, leased.identity)
    if sent.dtype is not leased.dtype:
        found.append(f"it was measured as {sent.dtype.value}, the job asks for {leased.dtype.value}")
    if sent.batch != leased.batch:
        found.append(f"it was measured with batch {sent.batch}, the job asks for batch {leased.batch}")
    if mask is not None and mask != leased.identity.core_mask:
        found.append(f"its environment names core mask {mask[:100]!r}, the lease {leased.identity.core_mask!r}")
    if leased.digest != payload.hardware_key:
        found.append(f"the device is enrolled as hardware key {leased.digest}, the job asks for {payload.hardware_key}")
    if not is_asked_type(device, job):
        found.append(f"the device is of type {device.device_type!r}, the job asks for {job.target.device_type!r}")
    return "; ".join(found)


def _differences(sent: DeviceIdentity, leased: DeviceIdentity) -> list[str]:
    found = []
    for part in _PARTS:
        said, known = getattr(sent, part), getattr(leased, part)
        if said != known:
            said, known = (getattr(value, "value", value) for value in (said, known))
            found.append(f"it says {part} {str(said)[:200]!r}, the lease and the enrolled device {str(known)[:200]!r}")
    return found


def implausibility(
    tx: Transaction, device: Device, payload: MeasurePayload, environment: EnvironmentRecord, p50_us: float
) -> str:
    """Explain why no such device can be that fast; empty where it can."""
    macs = None
    if payload.arch_id is not None:
        known = ArchitectureStore(tx).get_architectures([payload.arch_id]).get(payload.arch_id)
        counted = None if known is None else known.values.get(MACS.name)
        macs = None if counted is None else round(counted) * payload.batch
    resolutions_ns = (environment.timer_resolution_ns or 0, device.capabilities.timer_resolution_ns)
    return absurdity(
        p50_us,
        device_class=device.device_class,
        device_type=device.device_type,
        timer_resolution_ns=max(resolutions_ns),
        macs=macs,
    )


def find_reusable(
    tx: Transaction,
    latency_key: str,
    profile: HardwareProfile,
    device_type: str,
    profiles: Sequence[ProfileName],
    policy: ValidityPolicy,
) -> MeasurementRecord | None:
    """The best earlier measurement of a network on this hardware that a policy accepts and whose origin holds."""
    kinds = (measurement_kind(profile.key.identity.device_class),)
    found = MeasurementStore(tx).reusable_measurements(latency_key, profile.hardware_key, device_type, kinds, profiles)
    return next((one for one in found if policy.accepts(one.flags) and origin_holds(tx, one)), None)


def origin_holds(tx: Transaction, record: MeasurementRecord) -> bool:
    """Whether a record came in under a lease of a job, by the device that held it, which is what the record says."""
    if record.device_id is None or record.job_id is None or record.lease_id is None or record.rejection:
        return False
    lease = JobStore(tx).lease_record(record.lease_id)
    if lease is None or (lease.job_id, lease.device_id) != (record.job_id, record.device_id):
        return False
    try:
        job, device = JobStore(tx).get_job(record.job_id), DeviceStore(tx).get_device(record.device_id)
    except NotFoundError:
        return False
    asked = (job.latency_key, job.hardware_key, job.target.device_type or record.device_type)
    return (
        asked == (record.latency_key, record.hardware_key, record.device_type)
        and device.device_class is record.device_class
        and device.device_type == record.device_type
    )
