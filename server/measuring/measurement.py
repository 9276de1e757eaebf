"""Measurements as they are stored and queried."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass, HardwareKey, LatencyStats, Validity, ValidityFlag
from server.core.errors import InvalidValueError


class MeasurementKind(StrEnum):
    """Where a latency comes from. Kinds are never mixed in one front, chart or average."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementRecord:
    """One latency of one model under one hardware key. Raw samples are read apart (`MeasurementStore.samples`).

    Attributes:
        id: ``meas_...``.
        kind: measured, simulated or estimated; never mixed.
        latency_key: structure, input, batch and dtype of the model.
        hardware_key: digest of `hardware`.
        device_type: as the device registered, or as the estimate claims.
        device_id, job_id, lease_id: who measured it; None for estimates.
        search_id, candidate_id, arch_id: what it was measured for; None for a user's own model.
        model_sha256: the artifact that ran.
        label: name a user gave to their own model; empty otherwise.
        profile: quick, standard or audit.
        stats: statistics of the public call's time.
        npu_p50_us: median of the accelerator's own time; None where the runtime does not give it.
        npu_time_source: name of the runtime that `npu_p50_us` was read from; None where there is no such time.
        flags: everything that is wrong with it; `validity` is the worst.
        superseded: came in after its job was leased again or was over; kept, not authoritative.
        suspect: taken between a device's last good canary and a bad one, or rejected; kept as evidence, steers
            nothing.
        rejection: how it contradicts its lease or its device's enrolment, or why no device can be that fast; empty
            where it may stand. What is rejected is suspect.
        result_digest: sha256 of the result as sent.
    """

    id: str
    kind: MeasurementKind
    latency_key: str
    hardware_key: str
    hardware: HardwareKey
    device_type: str
    device_id: str | None = None
    job_id: str | None = None
    lease_id: str | None = None
    search_id: str | None = None
    candidate_id: str | None = None
    arch_id: str | None = None
    model_sha256: str | None = None
    label: str = ""
    profile: str
    stats: LatencyStats
    npu_p50_us: float | None = None
    npu_time_source: str | None = None
    load_us: float = 0.0
    init_us: float = 0.0
    first_run_us: float = 0.0
    validity: Validity
    flags: tuple[ValidityFlag, ...] = ()
    superseded: bool = False
    suspect: bool = False
    rejection: str = ""
    environment: JsonValue = None
    canary_before: JsonValue = None
    canary_after: JsonValue = None
    output_digest: str | None = None
    result_digest: str | None = None
    created_at: datetime

    def __post_init__(self) -> None:
        numbers = [v for v in (self.npu_p50_us, self.load_us, self.init_us, self.first_run_us) if v is not None]
        if not all(math.isfinite(v) for v in numbers) or not (
            math.isfinite(self.stats.p50_us) and self.stats.p50_us > 0
        ):
            raise InvalidValueError(f"measurement {self.id} holds a non-finite time or a p50 that is not above 0")

    @property
    def device_class(self) -> DeviceClass:
        """Board, emulated or simulated."""
        return self.hardware.identity.device_class

    @property
    def standard_error_us(self) -> float:
        """Standard error of the median, from its 95 % interval (normal approximation)."""
        return (self.stats.ci95_high_us - self.stats.ci95_low_us) / (2 * 1.96)

    @property
    def layers_trouble(self) -> str:
        """Why its layers were not timed, though that was asked for and the runtime has a profiler; else empty."""
        trouble = self.environment.get("layers_trouble") if isinstance(self.environment, Mapping) else None
        return trouble if isinstance(trouble, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementQuery:
    """Which measurements to list; None does not filter. Newest first.

    Attributes:
        kinds: defaults to measured ones only: kinds are never mixed unasked.
        validities: any of these; () any.
        include_superseded, include_suspect: off by default.
        since, until: by creation, half open.
    """

    device_type: str | None = None
    device_id: str | None = None
    device_class: DeviceClass | None = None
    hardware_key: str | None = None
    latency_key: str | None = None
    arch_id: str | None = None
    space_id: str | None = None
    search_id: str | None = None
    candidate_id: str | None = None
    kinds: tuple[MeasurementKind, ...] = (MeasurementKind.MEASURED,)
    validities: tuple[Validity, ...] = ()
    include_superseded: bool = False
    include_suspect: bool = False
    since: datetime | None = None
    until: datetime | None = None


def measurement_kind(device_class: DeviceClass) -> MeasurementKind:
    """What kind of number a device of this class gives."""
    return MeasurementKind.SIMULATED if device_class is DeviceClass.SIMULATED else MeasurementKind.MEASURED
