"""Devices, enrolment tokens and canaries to rows and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, Dtype
from server.db.tables.working import devices
from server.service.states import DeviceState
from server.service.values.device import CanaryRecord, Device, DeviceCapabilities, EnrolmentToken

_CONVERTED = ("capabilities", "labels", "admin_labels", "state")
_SAME = tuple(column.name for column in devices.c if column.name not in _CONVERTED)


def device_row(device: Device) -> dict[str, Any]:
    """A device as a row."""
    return {
        **{name: getattr(device, name) for name in _SAME},
        "capabilities": device.capabilities.to_json(),
        "labels": dict(device.labels),
        "admin_labels": dict(device.admin_labels),
        "state": device.state.value,
    }


def device_from_row(row: sa.Row[Any]) -> Device:
    """A device as a value."""
    return Device(
        **{name: getattr(row, name) for name in _SAME},
        capabilities=_capabilities(row.capabilities),
        labels=row.labels,
        admin_labels=row.admin_labels,
        state=DeviceState(row.state),
    )


def token_from_row(row: sa.Row[Any]) -> EnrolmentToken:
    """An enrolment token as a value."""
    return EnrolmentToken(
        id=row.id,
        name=row.name,
        secret_sha256=row.secret_sha256,
        max_uses=row.max_uses,
        num_uses=row.num_uses,
        labels=row.labels,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def canary_from_row(row: sa.Row[Any]) -> CanaryRecord:
    """A canary run as a value."""
    return CanaryRecord(
        id=row.id,
        device_id=row.device_id,
        artifact_sha256=row.artifact_sha256,
        median_us=row.median_us,
        ratio=row.ratio,
        passed=row.passed,
        reason=row.reason,
        taken_at=row.taken_at,
        pool_key=row.pool_key,
        output_digest=row.output_digest,
        instance_epoch=row.instance_epoch,
    )


def _capabilities(document: Mapping[str, Any]) -> DeviceCapabilities:
    identity = document["identity"]
    return DeviceCapabilities(
        identity=DeviceIdentity(
            board_model=identity["board_model"],
            device_class=DeviceClass(identity["device_class"]),
            runtime=identity["runtime"],
            runtime_versions=tuple(sorted(identity["runtime_versions"].items())),
            clocks_profile=identity["clocks_profile"],
            core_mask=identity["core_mask"],
        ),
        dtypes=tuple(Dtype(dtype) for dtype in document["dtypes"]),
        model_formats=tuple(document["model_formats"]),
        core_masks=tuple(document["core_masks"]),
        max_model_bytes=document["max_model_bytes"],
        memory_bytes=document["memory_bytes"],
        num_cpus=document["num_cpus"],
        can_pin_clocks=document["can_pin_clocks"],
        has_npu_time=document["has_npu_time"],
        has_npu_load=document["has_npu_load"],
        timer_resolution_ns=document["timer_resolution_ns"],
        features=tuple(document["features"]),
    )
