"""The measuring setup of one job: the engine, the board's readings and the lock it times under."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.measuring.protocol import Lock
from device_agent.measuring.telemetry import Telemetry
from device_agent.runtime.base import Runtime
from nas_engine.domain.measurement import DeviceIdentity, EnvironmentRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringSetup:
    """What one job is measured with.

    Attributes:
        runtime: the engine and its clock.
        telemetry: the board's readings.
        lock: held for each timed block.
        identity: the device's part of the hardware key.
        environment: what stays the same between jobs.
    """

    runtime: Runtime
    telemetry: Telemetry
    lock: Lock
    identity: DeviceIdentity
    environment: EnvironmentRecord
