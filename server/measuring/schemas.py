"""Measurements on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from nas_engine.domain.environment import HardwareKey
from nas_engine.domain.measurement import LatencyStats
from nas_engine.domain.measuring.samples import BlockStatus
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

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        return value.to_json() if isinstance(value, HardwareKey) else value


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
    stats: LatencyStats
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


def _status_name(value: object) -> object:
    return BlockStatus(value).name.lower() if isinstance(value, int) else value


class SampleBlockResource(Resource):
    """Consecutive timed runs."""

    e2e_ns: list[int]
    """One duration per run, nanoseconds."""

    npu_ns: list[int]
    status: Annotated[Literal["clean", "dirty", "discarded"], BeforeValidator(_status_name)]
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
