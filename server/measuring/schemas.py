"""Measurements on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, Field

from server.core.http.resources import CountedQuery, DeviceClassName, Id, Json, KindName, Resource, Text, ValidityName


class MeasurementListQuery(CountedQuery):
    """Which measurements."""

    device_type: Text | None = None
    """On devices of this type."""

    device_id: Text | None = None
    """On this device."""

    device_class: DeviceClassName | None = None
    """From boards, emulated or simulated devices."""

    hardware_key: Text | None = None
    """Under this hardware key: only such latencies are comparable."""

    latency_key: Text | None = None
    """Of networks with this structure, input, batch and arithmetic."""

    arch_id: Text | None = None
    """Of this architecture."""

    space: Text | None = None
    """Of architectures of this search space."""

    search_id: Text | None = None
    """Made for this search."""

    candidate_id: Text | None = None
    """Made for this candidate."""

    kind: list[KindName] = Field(default=["measured"])
    """Any of these; only measured ones unless asked otherwise."""

    validity: list[ValidityName] = Field(default_factory=list)
    """Any of these; all unless asked otherwise."""

    include_superseded: bool = False
    """Also results that came in after their job was given to another device."""

    include_suspect: bool = False
    """Also results taken between a device's last good canary and a bad one."""

    since: AwareDatetime | None = None
    """Stored at this time or later, RFC 3339."""

    until: AwareDatetime | None = None
    """Stored before this time, RFC 3339."""


class LatencyStatsResource(Resource):
    """What the samples say, microseconds."""

    count: int
    """Timed runs."""

    num_blocks: int
    min_us: float
    p10_us: float
    p50_us: float
    mean_us: float
    trimmed_mean_us: float
    p90_us: float | None
    """Null where there are too few samples for a p90 to mean anything."""

    p99_us: float | None
    max_us: float
    stdev_us: float
    cv: float
    """stdev / mean."""

    mad_scaled_us: float
    """Robust estimate of the standard deviation."""

    ci95_low_us: float
    """The 95 % interval of the median."""

    ci95_high_us: float
    num_outliers_mild: int
    num_outliers_severe: int


class ValidityFlagResource(Resource):
    """One thing that is wrong with a measurement."""

    validity: ValidityName
    reason: str


class HardwareResource(Resource):
    """Everything that must be equal for two latencies to be comparable."""

    board_model: str
    device_class: DeviceClassName
    runtime: str
    runtime_versions: dict[str, str]
    clocks_profile: str
    core_mask: str
    dtype: Literal["fp32", "fp16", "w8a8"]
    batch: int


class MeasurementResource(Resource):
    """One latency of one model under one hardware key."""

    id: Id
    kind: KindName
    latency_key: str
    """Structure, input, batch and arithmetic of the model; weights do not matter."""

    hardware_key: str
    """Digest of hardware."""

    hardware: HardwareResource
    device_type: str
    device_id: Id | None
    job_id: Id | None
    search_id: Id | None
    candidate_id: Id | None
    arch_id: str | None
    model_sha256: str | None
    label: str
    """Name a user gave to their own model."""

    profile: str
    stats: LatencyStatsResource
    npu_p50_us: float | None
    """Median of the accelerator's own time; null where the runtime does not give it."""

    npu_time_source: str | None = None
    """Name of the runtime that gave the accelerator's own time; null where there is no such time, and for measurements
    that were stored before this was kept."""

    load_us: float
    init_us: float
    first_run_us: float
    validity: ValidityName
    flags: list[ValidityFlagResource]
    superseded: bool
    """Came in after its job had been given to another device; kept, not authoritative."""

    suspect: bool
    """Taken between a device's last good canary and a bad one."""

    created_at: datetime


class MeasurementDetail(MeasurementResource):
    """A measurement with the state of the board around it."""

    environment: Json
    canary_before: Json
    canary_after: Json
    output_digest: str | None


class SampleBlockResource(Resource):
    """Consecutive timed runs."""

    e2e_ns: list[int]
    """One duration per run, nanoseconds."""

    npu_ns: list[int]
    status: Literal["clean", "dirty", "discarded"]
    num_involuntary_switches: int | None
    cpu_time_ns: int | None


class SamplesResource(Resource):
    """The raw samples of a measurement."""

    measurement_id: Id
    blocks: list[SampleBlockResource]


class CanaryResource(Resource):
    """One run of the golden model on a board."""

    id: Id
    artifact_sha256: str
    median_us: float
    ratio: float | None
    """Over the board's baseline; null before there is one."""

    passed: bool
    reason: str
    taken_at: datetime
