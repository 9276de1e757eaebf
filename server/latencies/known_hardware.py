"""Hardware keys of the database, with the device types that offer them now."""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.measuring.environment import HardwareKey
from server.core.database.transaction import Transaction, UnitOfWork
from server.fleet.store import DeviceStore, HardwareStore


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedHardware:
    """One hardware key.

    Attributes:
        device_types: of registered devices that offer it now.
    """

    hardware_key: str
    hardware: HardwareKey
    device_types: tuple[str, ...]


class KnownHardware:
    """Use case of listing hardware keys."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def all(self, *, device_type: str | None = None, runtime: str | None = None) -> tuple[OfferedHardware, ...]:
        """Every hardware key, by digest; or those that devices of a type offer now, or of one runtime."""

        def look(tx: Transaction) -> tuple[OfferedHardware, ...]:
            store = DeviceStore(tx)
            pools = {
                kind: {key for device in store.devices_of_type(kind) for key in device.capabilities.pool_keys()}
                for kind in store.count_devices_by_type()
            }
            return tuple(
                OfferedHardware(
                    hardware_key=one.hardware_key,
                    hardware=one.key,
                    device_types=tuple(kind for kind, keys in pools.items() if one.pool_key in keys),
                )
                for one in HardwareStore(tx).all_hardware()
                if runtime in (None, one.key.identity.runtime)
            )

        found = self._uow.read(look)
        return tuple(one for one in found if device_type is None or device_type in one.device_types)
