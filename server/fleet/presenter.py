"""Devices as resources."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from server.fleet.device import Device
from server.fleet.schemas import DeviceDetail, DeviceResource, DeviceTypeResource
from server.fleet.states import DeviceState
from server.jobs.job import Job
from server.jobs.presenter import job_resource
from server.jobs.settings import LeaseSettings

ONLINE_TIMEOUT = timedelta(seconds=LeaseSettings().device_timeout_s)


def device_resource(device: Device, now: datetime) -> DeviceResource:
    """One device."""
    return DeviceResource(
        id=device.id,
        name=device.name,
        device_type=device.device_type,
        device_class=device.device_class.value,
        state=device.state,
        reason=device.reason,
        online=device.online(now, ONLINE_TIMEOUT),
        labels=dict(device.all_labels),
        capabilities=device.capabilities.to_json(),
        agent_version=device.agent_version,
        num_failures_in_a_row=device.num_failures_in_a_row,
        enrolled_at=device.enrolled_at,
        last_seen_at=device.last_seen_at,
        reserved_by=device.reserved_by if device.reserved(now) else None,
        reserved_until=device.reserved_until if device.reserved(now) else None,
        last_canary_at=device.last_canary_at,
        last_canary_ratio=device.last_canary_ratio,
        version=device.version,
    )


def device_detail(device: Device, now: datetime, jobs: Sequence[Job], utilisation_24h: float) -> DeviceDetail:
    """One device with what it does now."""
    return DeviceDetail(
        **dict(device_resource(device, now)),
        current_jobs=[job_resource(job) for job in jobs],
        utilisation_24h=utilisation_24h,
    )


def device_type_resource(device_type: str, devices: Sequence[Device], now: datetime) -> DeviceTypeResource:
    """One type, from its devices that are not retired."""
    live = [device for device in devices if device.state is not DeviceState.RETIRED]
    online = [device for device in live if device.online(now, ONLINE_TIMEOUT)]
    available = [device for device in online if device.state.takes_jobs and not device.reserved(now)]
    return DeviceTypeResource(
        device_type=device_type,
        device_classes=sorted({device.device_class.value for device in live}),
        num_devices=len(live),
        num_online=len(online),
        num_available=len(available),
    )
