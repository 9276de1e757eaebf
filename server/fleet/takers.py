"""Who can take a job now, and what one waits for that nobody can: a board that is away, or one of another setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from nas_engine.domain.measuring.environment import DeviceIdentity
from server.access.principal import Principal
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.fleet.device import DEVICE_TRANSITIONS, Device, DeviceState
from server.fleet.device_spec import DeviceSpec
from server.fleet.lifecycle import move_device
from server.fleet.sharing.sharing import MAX_NAMED, hindrance, refusal_of
from server.fleet.store import DeviceStore, HardwareStore, suits
from server.jobs.failures import MAX_DEVICE_FAILURES, Failure, policy_of
from server.jobs.job import Job, JobTarget, Takers
from server.jobs.queue import JobStore
from server.jobs.registry import Executor
from server.jobs.settings import LeaseSettings

ONLINE_TIMEOUT = timedelta(seconds=LeaseSettings().device_timeout_s)


def takers_of(
    tx: Transaction,
    target: JobTarget,
    owner: Principal | None,
    feature: str = "",
    timeout: timedelta = ONLINE_TIMEOUT,
) -> Takers:
    """Devices that take a job with this target now, and in words what keeps the others from it.

    Args:
        owner: whose job it is: those that never do work of such an owner are left out; None for nobody's.
        feature: optional part of the protocol they must know; empty for none.
        timeout: a device not heard of for longer counts as offline.
    """
    now, devices = tx.now(), DeviceStore(tx).devices_for(target)
    suitable = [device for device in devices if suits(device, target, feature)]
    if closed := refusal_of(suitable, owner, target.device_type):
        return Takers(num=0, waiting_for=closed)
    devices = tuple(device for device in devices if device.may_be_used_by(owner))
    fitting = [device for device in devices if suits(device, target, feature)]
    ready = [device for device in fitting if _takes(device, now, timeout)]
    closed_by = {device.id: why for device in ready if (why := hindrance(tx, device, owner))}
    able = [device for device in ready if device.id not in closed_by]
    others = [device for device in devices if device not in fitting and _takes(device, now, timeout)]
    seen = max((device.last_seen_at for device in fitting), default=None)
    if not able:
        waiting_for = _absence(target, devices, fitting, others, closed_by, now, timeout)
        return Takers(num=0, last_seen_at=seen, waiting_for=waiting_for)
    differing = [one for one in others if target.pool_key and target.pool_key not in one.capabilities.pool_keys()]
    waiting_for = ""
    if differing:
        waiting_for = f"waits for the configuration of {_names(able)}; {_differing(differing, able[0])}"
    return Takers(num=len(able), last_seen_at=seen, waiting_for=waiting_for)


def takers_of_spec(tx: Transaction, wanted: DeviceSpec, hardware_key: str, owner: Principal | None) -> Takers:
    """Devices that measure an owner's work for a device spec that was resolved to this hardware key."""
    pool_key = HardwareStore(tx).get_hardware(hardware_key).pool_key
    target = JobTarget(device_type=wanted.device_type, pool_key=pool_key, labels=wanted.labels)
    return takers_of(tx, target, owner)


def _takes(device: Device, now: datetime, timeout: timedelta) -> bool:
    return device.state.takes_jobs and device.online(now, timeout) and not device.reserved(now)


def _absence(
    target: JobTarget,
    devices: Sequence[Device],
    fitting: Sequence[Device],
    others: Sequence[Device],
    closed_by: Mapping[str, str],
    now: datetime,
    timeout: timedelta,
) -> str:
    """Why nobody takes a job now, and what could be done.

    Args:
        devices: all of the kind that was asked for.
        fitting: those of them that the job could be given, were they there.
        others: those of the rest that are there.
        closed_by: what keeps those from it that would take other jobs now, by their ids.
    """
    kind = "board" if target.device_type is None else f"board of type {target.device_type!r}"
    if not fitting:
        lacking = f"no {kind} has the configuration, the labels and the features that this asks for"
        return f"{lacking}; order again for one of those that are online: {_names(others)}" if others else lacking
    away = [device for device in fitting if not device.online(now, timeout)]
    if len(away) == len(fitting):
        last = max(fitting, key=lambda device: device.last_seen_at)
        if others:
            return f"waits for the configuration of {_names(fitting)}, {_seen(last)}; {_differing(others, last)}"
        if any(device.online(now, timeout) for device in devices):
            return f"waits for the configuration of {_names(fitting)}, {_seen(last)}"
        newest = max(devices, key=lambda device: device.last_seen_at)
        bound = "" if newest in fitting else f"; waits for the configuration of {_names(fitting)}"
        return f"no {kind} is online, {_seen(newest)}{bound}"
    present = [device for device in fitting if device not in away]
    return f"no {kind} takes jobs now: " + "; ".join(
        closed_by.get(device.id) or _hindrance(device) for device in present[:MAX_NAMED]
    )


def _seen(device: Device) -> str:
    return f"last seen {device.last_seen_at:%Y-%m-%d %H:%M:%S} UTC ({device.name})"


def _hindrance(device: Device) -> str:
    if device.state is not DeviceState.ACTIVE:
        return f"{device.name} is {device.state.value}" + (f" ({device.reason})" if device.reason else "")
    return f"{device.name} is reserved by {device.reserved_by} until {device.reserved_until:%Y-%m-%d %H:%M} UTC"


def _names(devices: Sequence[Device]) -> str:
    named = ", ".join(device.name for device in devices[:MAX_NAMED])
    return named if len(devices) <= MAX_NAMED else f"{named} and {len(devices) - MAX_NAMED} more"


def _differing(others: Sequence[Device], than: Device) -> str:
    """In what the boards that are there differ from the one whose configuration was ordered."""
    shown = []
    for other in others[:MAX_NAMED]:
        here, there = _settings(than.capabilities.identity), _settings(other.capabilities.identity)
        found = [f"{name} {there[name]}, not {here[name]}" for name in here if here[name] != there[name]]
        shown.append(f"{other.name} has {' and '.join(found)}" if found else f"{other.name} lacks labels or features")
    return (
        f"online with another: {'; '.join(shown)} (an order for that core mask, or for a label of its own, goes there)"
    )


def _settings(identity: DeviceIdentity) -> dict[str, str]:
    """What makes the hardware keys of boards of one type differ, by the names that device specs have for it."""
    return {
        "core_mask": identity.core_mask,
        "clocks_profile": identity.clocks_profile,
        "runtime": identity.runtime,
        "versions": " ".join(f"{component} {version}" for component, version in identity.runtime_versions),
        "class": identity.device_class.value,
        "board model": identity.board_model,
    }


class DeviceExecutor(Executor):
    """Enrolled devices: one that is blamed by several jobs in a row is quarantined."""

    def __init__(self) -> None:
        super().__init__("device", Topic.DEVICE_JOBS)

    def has_other(self, tx: Transaction, job: Job, feature: str, excluding: str) -> bool:
        """Whether another device could do this one, be it away or reserved now."""
        return any(
            device.id != excluding
            and device.state.takes_jobs
            and suits(device, job.target, feature)
            and device.may_be_used_by(job.owner)
            for device in DeviceStore(tx).devices_for(job.target)
        )

    def takers(self, tx: Transaction, job: Job, feature: str, timeout: timedelta) -> Takers:
        """Devices that are online and take this job."""
        return takers_of(tx, job.target, job.owner, feature, timeout)

    def note_contact(self, tx: Transaction, owner: str) -> None:
        """Set when the device was last heard of to now."""
        DeviceStore(tx).touch_device(owner)

    def note_failure(self, tx: Transaction, owner: str, job: Job, failure: Failure) -> None:
        """Count it against the device, once a job however often it is tried; too many in a row quarantine it."""
        types = [one.failure_type for one in JobStore(tx).lease_history(job.id) if one.device_id == owner]
        if sum(policy_of(type).penalise_device for type in types if type is not None) > 1:
            return
        device = DeviceStore(tx).lock_device(owner)
        count = device.num_failures_in_a_row + 1
        device = replace(device, num_failures_in_a_row=count)
        if count >= MAX_DEVICE_FAILURES and DeviceState.QUARANTINED in DEVICE_TRANSITIONS[device.state]:
            reason = f"{count} failures in a row, last of job {job.id}: {failure.type.value}: {failure.message}"
            move_device(tx, device, DeviceState.QUARANTINED, reason)
        else:
            DeviceStore(tx).save_device(device)

    def note_success(self, tx: Transaction, owner: str) -> None:
        """End its failures in a row."""
        if DeviceStore(tx).get_device(owner).num_failures_in_a_row:
            DeviceStore(tx).save_device(replace(DeviceStore(tx).lock_device(owner), num_failures_in_a_row=0))


DEVICES = DeviceExecutor()
