"""Tables of devices and hardware keys, and their stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.domain.measurement import (
    DeviceClass,
    DeviceIdentity,
    Dtype,
    HardwareKey,
)
from server.core.database.keyset import fetch_page
from server.core.database.labels import with_labels
from server.core.database.metadata import metadata
from server.core.database.store import Store
from server.core.database.types import Digest, Id, Json, Label, Timestamp, now
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest
from server.fleet.device import Device, DeviceCapabilities, DeviceQuery, HardwareProfile
from server.fleet.states import DeviceState
from server.jobs.job import JobTarget

hardware = sa.Table(
    "hardware",
    metadata,
    sa.Column("hardware_key", Digest, primary_key=True),
    sa.Column("document", Json, nullable=False),
)


devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False, unique=True),
    sa.Column("device_type", Label, nullable=False, index=True),
    sa.Column("credential_sha256", Digest, nullable=False, unique=True),
    sa.Column("capabilities", Json, nullable=False),
    sa.Column("labels", Json, nullable=False),
    sa.Column("admin_labels", Json, nullable=False),
    sa.Column("state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("agent_version", Label, nullable=False),
    sa.Column("boot_id", Label, nullable=False),
    sa.Column("instance_epoch", sa.BigInteger, nullable=False),
    sa.Column("num_failures_in_a_row", sa.BigInteger, nullable=False),
    sa.Column("enrolled_at", Timestamp, nullable=False),
    sa.Column("last_seen_at", Timestamp, nullable=False),
    sa.Column("reserved_by", Label),
    sa.Column("reserved_until", Timestamp),
    sa.Column("last_canary_at", Timestamp),
    sa.Column("last_canary_ratio", sa.Double),
    sa.Column("version", sa.BigInteger, nullable=False),
)


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


class HardwareStore(Store):
    """Hardware keys as rows: what each digest stands for."""

    def put(self, profile: HardwareProfile) -> None:
        """Remember what a hardware key stands for."""
        self._insert_ignore(hardware, [{"hardware_key": profile.hardware_key, "document": profile.key.to_json()}])

    def get(self, hardware_key: str) -> HardwareProfile:
        """What a hardware key stands for."""
        row = self._one(
            sa.select(hardware).where(hardware.c.hardware_key == hardware_key), "hardware key", hardware_key
        )
        return HardwareProfile(key=HardwareKey.from_json(row.document))

    def all(self) -> tuple[HardwareProfile, ...]:
        """Every hardware key seen, by digest."""
        rows = self._connection.execute(sa.select(hardware).order_by(hardware.c.hardware_key))
        return tuple(HardwareProfile(key=HardwareKey.from_json(row.document)) for row in rows)


class DeviceStore(Store):
    """Devices as rows; capabilities are JSON."""

    def add(self, device: Device) -> None:
        """Store a new device."""
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(devices).values(device_row(device)))
        except IntegrityError as error:
            raise ConflictError(f"a device named {device.name!r} exists already: choose another name") from error
        self._put_labels(device.id, device.all_labels)

    def get(self, device_id: str) -> Device:
        """Read one."""
        return device_from_row(self._one(sa.select(devices).where(devices.c.id == device_id), "device", device_id))

    def lock(self, device_id: str) -> Device:
        """Read one and hold it until the transaction ends."""
        statement = sa.select(devices).where(devices.c.id == device_id).with_for_update()
        return device_from_row(self._one(statement, "device", device_id))

    def by_name(self, name: str) -> Device | None:
        """The device of that name."""
        return self._find(devices.c.name == name)

    def by_credential(self, credential_sha256: str) -> Device | None:
        """The device with this credential."""
        return self._find(devices.c.credential_sha256 == credential_sha256)

    def save(self, device: Device) -> Device:
        """Write a locked device with its version one higher."""
        written = replace(device, version=device.version + 1)
        self._connection.execute(sa.update(devices).where(devices.c.id == device.id).values(device_row(written)))
        self._put_labels(device.id, device.all_labels)
        return written

    def touch(self, device_id: str) -> None:
        """Set last_seen_at to now, without a new version."""
        self._connection.execute(sa.update(devices).where(devices.c.id == device_id).values(last_seen_at=now()))

    def page(self, query: DeviceQuery, page: PageRequest) -> Page[Device]:
        """List, by name."""
        statement = sa.select(devices)
        if query.device_type is not None:
            statement = statement.where(devices.c.device_type == query.device_type)
        if query.states:
            statement = statement.where(devices.c.state.in_([state.value for state in query.states]))
        return fetch_page(
            self._connection,
            with_labels(statement, devices.c.id, query.labels),
            page,
            value_column=devices.c.name,
            id_column=devices.c.id,
            from_row=device_from_row,
        )

    def of_type(self, device_type: str) -> tuple[Device, ...]:
        """Every device of a type that is not retired, by name."""
        return self._all(devices.c.device_type == device_type, devices.c.state != DeviceState.RETIRED.value)

    def types(self) -> Mapping[str, int]:
        """Every device type with its number of devices that are not retired."""
        statement = (
            sa.select(devices.c.device_type, sa.func.count())
            .where(devices.c.state != DeviceState.RETIRED.value)
            .group_by(devices.c.device_type)
            .order_by(devices.c.device_type)
        )
        return {str(device_type): int(number) for device_type, number in self._connection.execute(statement)}

    def num_able(self, target: JobTarget, excluding: str, feature: str = "", *, reserved: bool = True) -> int:
        """Devices, other than `excluding`, that could do a job with this target, know a feature and take jobs."""
        conditions: list[sa.ColumnElement[bool]] = [devices.c.id != excluding]
        if not reserved:
            conditions.append(sa.or_(devices.c.reserved_until.is_(None), devices.c.reserved_until <= now()))
        if target.device_type is not None:
            conditions.append(devices.c.device_type == target.device_type)
        if target.device_id is not None:
            conditions.append(devices.c.id == target.device_id)
        return sum(_able(device, target, feature) for device in self._all(*conditions))

    def _find(self, condition: sa.ColumnElement[bool]) -> Device | None:
        row = self._connection.execute(sa.select(devices).where(condition)).one_or_none()
        return None if row is None else device_from_row(row)

    def _all(self, *conditions: sa.ColumnElement[bool]) -> tuple[Device, ...]:
        rows = self._connection.execute(sa.select(devices).where(*conditions).order_by(devices.c.name))
        return tuple(device_from_row(row) for row in rows)


def _able(device: Device, target: JobTarget, feature: str) -> bool:
    offers = target.pool_key is None or target.pool_key in device.capabilities.pool_keys()
    knows = not feature or feature in device.capabilities.features
    return device.state.takes_jobs and knows and offers and target.labels.items() <= device.all_labels.items()
