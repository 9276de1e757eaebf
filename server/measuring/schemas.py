"""Measurements on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from nas_engine.domain.measurement import LatencyStats, Validity
from nas_engine.domain.measuring.environment import DeviceClass, Dtype, HardwareKey
from nas_engine.domain.measuring.samples import BlockStatus
from nas_engine.settings.base import one_of
from server.core.http.resources import CountedQuery, Id, IntervalResource, Json, Moment, Resource, Text
from server.measuring.measurement import MeasurementKind


class MeasurementListQuery(CountedQuery):
    """Filters of a list of measurements."""

    device_type: Text | None = None
    """Measurements by devices of this type."""

    device_id: Text | None = None
    """Measurements by this device, by its id."""

    device_class: DeviceClass | None = None
    """Measurements by devices of this class: boards, emulated or simulated ones."""

    hardware_key: Text | None = None
    """Measurements under this hardware key: only such latencies are comparable."""

    latency_key: Text | None = None
    """Measurements of networks with this structure, input, batch and data type."""

    arch_id: Text | None = None
    """Measurements of this architecture, by its id."""

    space: Text | None = None
    """Measurements of architectures of this search space, by its id."""

    search_id: Text | None = None
    """Measurements made for this search."""

    candidate_id: Text | None = None
    """Measurements made for this candidate."""

    kind: list[MeasurementKind] = Field(default=[MeasurementKind.MEASURED])
    """Kinds of latencies to list; only measured ones unless asked otherwise."""

    validity: list[Validity] = Field(default_factory=list)
    """Validity flags to list; all unless asked otherwise."""

    include_superseded: bool = False
    """Whether to list results too that came in after their job was given to another device."""

    include_suspect: bool = False
    """Whether to list results too that were taken between a device's last good canary and a bad one, or rejected."""

    since: Moment | None = None
    """Measurements stored at this time or later, RFC 3339."""

    until: Moment | None = None
    """Measurements stored before this time, RFC 3339."""


class ValidityFlagResource(Resource):
    """One thing that is wrong with a measurement."""

    validity: Validity
    """Kind of the validity flag."""

    reason: str
    """What was observed that raised the flag."""


class HardwareResource(Resource):
    """Everything that must be equal for two latencies to be comparable."""

    board_model: str
    """Model of the board, as its agent reported it."""

    device_class: DeviceClass
    """Class of the device: board, emulated or simulated."""

    runtime: str
    """Name of the inference runtime on the board."""

    runtime_versions: dict[str, str]
    """Versions of runtime, driver and firmware, by component."""

    clocks_profile: str
    """Name of the clock settings under which the board measures."""

    core_mask: str
    """Accelerator cores that the model runs on."""

    dtype: Dtype
    """Data type that the model computes in."""

    batch: int
    """Number of inputs in one inference."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        return value.to_json() if isinstance(value, HardwareKey) else value


class MeasurementResource(Resource):
    """One latency of one model under one hardware key."""

    id: Id
    """Identifier of the measurement, given by the server."""

    kind: MeasurementKind
    """Kind of latency: measured on a device, simulated or estimated."""

    latency_key: str
    """Digest of structure, input, batch and data type of the model; weights do not matter."""

    hardware_key: str
    """Digest of `hardware`, computed by the server."""

    hardware: HardwareResource
    """Hardware it was measured on, from the device's enrolled record."""

    device_type: str
    """Type of the device, from its enrolled record."""

    device_id: Id | None
    """Device that measured; null for estimates."""

    job_id: Id | None
    """Job that ordered it; null where none did."""

    search_id: Id | None
    """Search it was made for; null for a user's own model."""

    candidate_id: Id | None
    """Candidate it was made for; null for a user's own model."""

    arch_id: str | None
    """Digest of the architecture; null for a user's own model."""

    model_sha256: str | None
    """SHA-256 of the model file that ran; null where none did."""

    label: str
    """Name a user gave to their own model; empty otherwise."""

    profile: str
    """Name of the measuring profile: quick, standard or audit."""

    stats: LatencyStats
    """Statistics of the timed runs, computed by the server from the raw samples."""

    npu_p50_us: float | None
    """Median of the accelerator's own time, microseconds; null where the runtime does not give it."""

    npu_time_source: str | None = None
    """Name of the runtime that gave the accelerator's own time; null where there is no such time, and for measurements
    that were stored before this was kept."""

    load_us: float
    """Time to read the model file on the device, microseconds."""

    init_us: float
    """Time to build the runtime's session for the model, microseconds."""

    first_run_us: float
    """Duration of the first inference, before any warm-up, microseconds."""

    validity: Validity
    """The worst of its validity flags."""

    flags: list[ValidityFlagResource]
    """Every validity flag raised, with its reason; empty where it is valid."""

    superseded: bool
    """Whether it came in after its job had been given to another device; stored, not authoritative."""

    suspect: bool
    """Whether it was taken between a device's last good canary and a bad one, or rejected: it steers nothing."""

    rejection: str = ""
    """How it contradicts its lease or what its device is enrolled as, or why no such device can be that fast, found by
    the server; empty where it may stand. A rejected result is kept as evidence, and is suspect."""

    created_at: datetime
    """Time at which the server stored it, RFC 3339."""


class MeasurementDetail(MeasurementResource):
    """A measurement with the state of the board around it."""

    environment: Json
    """State of the board around the run (clocks, temperatures, load), as its agent reported it."""

    canary_before: Json
    """Reading of the canary model before the measurement; null where none was due."""

    canary_after: Json
    """Reading of the canary model after the measurement; null where none was due."""

    output_digest: str | None
    """SHA-256 of the model's rounded outputs on the job's input, computed by the agent; null where not taken."""


if TYPE_CHECKING:
    StatusName = str
else:
    StatusName = one_of(status.name.lower() for status in BlockStatus)


def _status_name(value: object) -> object:
    return BlockStatus(value).name.lower() if isinstance(value, int) else value


class SampleBlockResource(Resource):
    """Timed runs taken one after another, with the block's status."""

    e2e_ns: Annotated[list[int], BeforeValidator(list)]
    """Duration of each run of the public call, nanoseconds."""

    npu_ns: Annotated[list[int], BeforeValidator(list)]
    """Accelerator's own duration of each run, nanoseconds; empty where the runtime gives none."""

    status: Annotated[StatusName, BeforeValidator(_status_name)]
    """Whether the block counts: clean, dirty (used only where clean ones are few) or discarded."""

    num_involuntary_switches: int | None
    """Number of preemptions of the timing thread in the block; null where not known."""

    cpu_time_ns: int | None
    """Processor time of the timing thread in the block, nanoseconds; null where not known."""


class SamplesResource(Resource):
    """The raw samples of a measurement."""

    measurement_id: Id
    """Measurement that the samples belong to."""

    blocks: list[SampleBlockResource]
    """Blocks of timed runs in the order taken."""


class ProfiledLayerResource(Resource):
    """How long one step of the inference engine takes."""

    name: str
    """Name as the engine has it; where it fuses layers, of one of them."""

    operator: str
    """Operator of the engine."""

    time: IntervalResource
    """Mean time over the profiled runs, microseconds, with its 95 % interval."""


class LayerProfileResource(Resource):
    """How long each layer of a measured model takes, by its runtime's profiler, in runs after the timed ones."""

    measurement_id: Id
    """Measurement that the layers belong to."""

    source: str | None
    """Profiler that told the times; null where layers were not asked for, the runtime has no profiler, or it failed."""

    trouble: str = ""
    """Why there are no times though they were asked for and the runtime has a profiler; empty otherwise."""

    num_runs: int
    """Number of profiled runs."""

    total: IntervalResource | None
    """Time of all layers together, microseconds: more than the latency, since profiling costs time itself."""

    layers: list[ProfiledLayerResource]
    """Steps of the engine in the order they run."""


class CanaryResource(Resource):
    """One run of the golden model on a board."""

    id: Id
    """Identifier of the canary run, given by the server."""

    artifact_sha256: str
    """SHA-256 of the golden model that ran."""

    median_us: float
    """Median duration of the golden model, microseconds."""

    ratio: float | None
    """median_us over the board's baseline; null before there is one."""

    passed: bool
    """Whether the board answered and timed the golden model as it should."""

    reason: str
    """Why it did not pass; empty where it did."""

    taken_at: datetime
    """Time at which the server stored the run, RFC 3339."""
