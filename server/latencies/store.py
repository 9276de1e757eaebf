"""The set-based queries of the latency question: thousands of pairs in a few statements, by indexes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from nas_engine.domain.measurement import HardwareKey, Validity
from server.core.database.store import Store, chunks
from server.fleet.device import Device, DeviceState
from server.fleet.store import DEVICES, HARDWARE, devices, hardware, reusable_from
from server.latencies.answer import FoundMeasurement
from server.measuring.measurement import MeasurementKind
from server.measuring.store import measurements

_READ = tuple(
    measurements.c[name]
    for name in (
        "id",
        "arch_id",
        "latency_key",
        "device_type",
        "device_class",
        "device_id",
        "hardware_key",
        "profile",
        "p50_us",
        "ci95_low_us",
        "ci95_high_us",
        "validity",
        "created_at",
    )
)


class LatencyStore(Store):
    """Reads what was measured of many networks at once."""

    def newest_by_latency_key(
        self, latency_keys: Collection[str], device_types: Collection[str], *, require_valid: bool
    ) -> list[FoundMeasurement]:
        """The newest measurement of each network under each hardware key, by devices of these types.

        Valid ones come before flagged ones. What is superseded or suspect, and what a board measured that is one by its
        own word alone, is left out, as where searches reuse measurements.
        """
        return self._newest(measurements.c.latency_key, latency_keys, device_types, require_valid)

    def newest_by_arch_id(
        self, arch_ids: Collection[str], device_types: Collection[str], *, require_valid: bool
    ) -> list[FoundMeasurement]:
        """As `newest_by_latency_key`, of architectures by their ids."""
        return self._newest(measurements.c.arch_id, arch_ids, device_types, require_valid)

    def _newest(
        self, column: sa.Column[str], wanted: Collection[str], device_types: Collection[str], require_valid: bool
    ) -> list[FoundMeasurement]:
        m = measurements.c
        of_one = (m.latency_key, m.device_type, m.hardware_key)
        found: list[FoundMeasurement] = []
        for some in chunks(sorted(wanted)):
            conditions = [
                column.in_(some),
                # Not by the column alone: without statistics SQLite would read all that a type ever measured.
                sa.func.coalesce(m.device_type, "").in_(sorted(device_types)),
                m.kind.in_((MeasurementKind.MEASURED, MeasurementKind.SIMULATED)),
                m.superseded.is_(False),
                m.suspect.is_(False),
                reusable_from(m.device_id),
            ]
            if require_valid:
                conditions.append(m.validity == Validity.VALID)
            place = sa.func.row_number().over(partition_by=of_one, order_by=(m.validity != Validity.VALID, m.id.desc()))
            number = sa.func.count().over(partition_by=of_one)
            ranked = sa.select(*_READ, place.label("place"), number.label("number")).where(*conditions).subquery()
            newest = sa.select(ranked).where(ranked.c.place == 1)
            for row in self._connection.execute(newest):
                *values, _, num = row
                names = (one.name for one in _READ)
                found.append(FoundMeasurement(**dict(zip(names, values, strict=True)), num_measurements=num))
        return found

    def hardware_of(self, hardware_keys: Collection[str]) -> Mapping[str, HardwareKey]:
        """What these keys stand for."""
        profiles = self._list_in(HARDWARE, hardware.c.hardware_key, sorted(hardware_keys))
        return {one.hardware_key: one.key for one in profiles}

    def devices_of_types(self, device_types: Collection[str]) -> Mapping[str, list[Device]]:
        """Devices that are not retired, by their type."""
        found = self._list_in(
            DEVICES, devices.c.device_type, sorted(device_types), devices.c.state != DeviceState.RETIRED
        )
        of_type: dict[str, list[Device]] = {one: [] for one in device_types}
        for device in found:
            of_type[device.device_type].append(device)
        return of_type
