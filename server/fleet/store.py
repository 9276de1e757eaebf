"""Tables of devices and hardware keys, and their stores."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass, HardwareKey
from nas_engine.domain.measuring.environment import without_identity
from server.access.store import OWNER, OWNER_PATH, owned_by, owner_column
from server.core.database.labels import with_labels
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.statements import update_row
from server.core.database.store import Store, where_given
from server.core.database.types import Digest, EnumText, Id, JsonOf, Label, Timestamp
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest
from server.fleet.device import ClassSource, Device, DeviceCapabilities, DeviceQuery, DeviceState, HardwareProfile
from server.fleet.sharing.rules import UseRules
from server.jobs.job import JobTarget

ENVIRONMENT = JsonOf(JsonValue, dump=without_identity, load=without_identity)
"""The column of what a device says of its state around a result; also what older agents sent is kept and shown so."""


hardware = sa.Table(
    "hardware",
    metadata,
    sa.Column("hardware_key", Digest, primary_key=True),
    sa.Column("document", JsonOf(HardwareKey, shared=True), nullable=False),
)


devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False, unique=True),
    sa.Column("device_type", Label, nullable=False, index=True),
    sa.Column("credential_sha256", Digest, nullable=False, unique=True),
    sa.Column("capabilities", JsonOf(DeviceCapabilities, shared=True), nullable=False),
    # Defaults of rows from before these columns; SQLite cannot take them away from a table that others point to.
    sa.Column("class_limit", EnumText(DeviceClass), nullable=False, server_default="emulated"),
    sa.Column("class_source", EnumText(ClassSource), nullable=False, server_default="declared"),
    sa.Column("class_reason", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("enrolment_token_id", Id),
    sa.Column("identity_since", Timestamp, nullable=False, server_default="0"),
    sa.Column("labels", JsonOf(Mapping[str, str]), nullable=False),
    sa.Column("admin_labels", JsonOf(Mapping[str, str]), nullable=False),
    sa.Column("state", EnumText(DeviceState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("agent_version", Label, nullable=False),
    sa.Column("boot_id", Label, nullable=False),
    sa.Column("instance_epoch", sa.BigInteger, nullable=False),
    sa.Column("num_failures_in_a_row", sa.BigInteger, nullable=False),
    sa.Column("enrolled_at", Timestamp, nullable=False),
    sa.Column("last_seen_at", Timestamp, nullable=False),
    sa.Column("left_at", Timestamp),
    sa.Column("reserved_by", Label),
    sa.Column("reserved_until", Timestamp),
    sa.Column("last_canary_at", Timestamp),
    sa.Column("last_canary_ratio", sa.Double),
    sa.Column("version", sa.BigInteger, nullable=False),
    owner_column(),
    sa.Column("rules", JsonOf(UseRules, shared=True)),
)


HARDWARE = Rows(HardwareProfile, hardware, paths={"document": "key"})
DEVICES = Rows(Device, devices, paths=OWNER_PATH, joined=OWNER)


def reusable_from(device_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether what a device measured may be reused: nobody but itself says of a declared board that it is one."""
    unconfirmed = sa.exists().where(
        devices.c.id == device_id,
        devices.c.class_source == ClassSource.DECLARED,
        devices.c.class_limit == DeviceClass.BOARD,
    )
    return ~unconfirmed


def suits(device: Device, target: JobTarget, feature: str = "") -> bool:
    """Whether a device of the right type could do a job: its configuration, its labels, what its agent knows."""
    return (
        (not feature or feature in device.capabilities.features)
        and (target.pool_key is None or target.pool_key in device.capabilities.pool_keys())
        and target.labels.items() <= device.all_labels.items()
    )


class HardwareStore(Store):
    """Hardware keys as rows: what each digest stands for."""

    def put_hardware(self, profile: HardwareProfile) -> None:
        """Remember what a hardware key stands for."""
        if self._find(HARDWARE, hardware.c.hardware_key, profile.hardware_key) is None:
            self._insert_ignore(hardware, [HARDWARE.row_of(profile)])

    def get_hardware(self, hardware_key: str) -> HardwareProfile:
        """What a hardware key stands for."""
        statement = HARDWARE.select(hardware.c.hardware_key == hardware_key)
        return self._one(HARDWARE, statement, "hardware key", hardware_key)

    def all_hardware(self) -> tuple[HardwareProfile, ...]:
        """Every hardware key seen, by digest."""
        return self._list(HARDWARE, HARDWARE.select().order_by(hardware.c.hardware_key))


class DeviceStore(Store):
    """Devices as rows; capabilities are JSON."""

    def add_device(self, device: Device) -> None:
        """Store a new device; ConflictError where its name is taken."""
        try:
            with self._connection.begin_nested():
                self._insert(DEVICES, device)
        except IntegrityError as error:
            raise ConflictError(f"a device named {device.name!r} exists already: choose another name") from error
        self._put_labels(device.id, device.all_labels)

    def get_device(self, device_id: str) -> Device:
        """Read one device, a retired one too."""
        return self._get(DEVICES, devices.c.id, device_id, "device")

    def lock_device(self, device_id: str) -> Device:
        """Read one and hold it until the transaction ends."""
        return self._get(DEVICES, devices.c.id, device_id, "device", lock=True)

    def find_device_by_name(self, name: str) -> Device | None:
        """Find the device of that name; None where there is none."""
        return self._first(DEVICES, DEVICES.select(devices.c.name == name))

    def find_device_by_credential(self, credential_sha256: str) -> Device | None:
        """Find the device with this credential; None where there is none."""
        return self._find(DEVICES, devices.c.credential_sha256, credential_sha256)

    def save_device(self, device: Device) -> Device:
        """Write a locked device with its version one higher."""
        written = self._save(DEVICES, device)
        self._put_labels(device.id, device.all_labels)
        return written

    def touch_device(self, device_id: str) -> None:
        """Set last_seen_at to now, without a new version."""
        update_row(self._connection, devices.c.id, device_id, {}, {"last_seen_at": 0.0})

    def page_of_devices(self, query: DeviceQuery, page: PageRequest) -> Page[Device]:
        """List the devices that a query matches, by name."""
        c = devices.c
        statement = where_given(DEVICES.select(), {c.device_type: query.device_type, c.state: query.states})
        statement = owned_by(statement, c.owner_id, query.owner)
        return self._page(
            DEVICES, with_labels(statement, c.id, query.labels), page, value_column=c.name, id_column=c.id
        )

    def devices_of_type(self, device_type: str) -> tuple[Device, ...]:
        """Every device of a type that is not retired, by name."""
        return self._all(devices.c.device_type == device_type, devices.c.state != DeviceState.RETIRED)

    def has_rules(self) -> bool:
        """Whether any device has rules of use."""
        statement = sa.select(sa.literal(1)).where(sa.exists().where(devices.c.rules.is_not(None)))
        return self._connection.execute(statement).first() is not None

    def count_devices_by_type(self) -> Mapping[str, int]:
        """Every device type with its number of devices that are not retired."""
        statement = (
            sa.select(devices.c.device_type, sa.func.count())
            .where(devices.c.state != DeviceState.RETIRED)
            .group_by(devices.c.device_type)
            .order_by(devices.c.device_type)
        )
        return {str(device_type): int(number) for device_type, number in self._connection.execute(statement)}

    def devices_for(self, target: JobTarget) -> tuple[Device, ...]:
        """Devices of the type, or the very one, that a job asks for, by name; whatever their configuration."""
        conditions: list[sa.ColumnElement[bool]] = [devices.c.state != DeviceState.RETIRED]
        if target.device_type is not None:
            conditions.append(devices.c.device_type == target.device_type)
        if target.device_id is not None:
            conditions.append(devices.c.id == target.device_id)
        return self._all(*conditions)

    def _all(self, *conditions: sa.ColumnElement[bool]) -> tuple[Device, ...]:
        return self._list(DEVICES, DEVICES.select(*conditions).order_by(devices.c.name))
