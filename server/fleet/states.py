"""States of devices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class DeviceState(Enum):
    """What a device may be given; whether it is reachable follows from when it was last seen."""

    ACTIVE = "active"
    DRAINING = "draining"  # finishes what it has, gets nothing new
    DEGRADED = "degraded"  # its canary is off; gets nothing until it is well again
    QUARANTINED = "quarantined"  # failed too often, or seems cloned; an engineer must resume it
    RETIRED = "retired"

    @property
    def takes_jobs(self) -> bool:
        """Whether a device in this state is given new jobs."""
        return self is DeviceState.ACTIVE


DEVICE_TRANSITIONS: Mapping[DeviceState, frozenset[DeviceState]] = {
    DeviceState.ACTIVE: frozenset(
        {DeviceState.DRAINING, DeviceState.DEGRADED, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.DRAINING: frozenset(
        {DeviceState.ACTIVE, DeviceState.DEGRADED, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.DEGRADED: frozenset(
        {DeviceState.ACTIVE, DeviceState.DRAINING, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.QUARANTINED: frozenset({DeviceState.ACTIVE, DeviceState.RETIRED}),
    DeviceState.RETIRED: frozenset(),
}
