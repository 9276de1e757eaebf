"""Searches on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from nas_engine.settings.base import Labels, MetricName
from server.candidates.spec import SearchSpec
from server.candidates.states import DesiredState, SearchState
from server.core.http.resources import Body, CountedQuery, Id, Json, LabelText, Resource, Text


class SearchListQuery(CountedQuery):
    """Which searches."""

    state: list[SearchState] = Field(default_factory=list)
    """Any of these."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """All of these, as `name:value`."""

    space: Text | None = None
    """In this search space."""

    supernet_id: Text | None = None
    """With this supernet."""

    hardware_key: Text | None = None
    """Measuring under this hardware key."""

    order_by: Literal["created_at", "-created_at"] = "-created_at"
    """`-` is newest first."""


class ProgressResource(Resource):
    """How far a search is."""

    generation: int
    """Generations completed."""

    num_candidates: int
    """The budget: architectures to be asked in all."""

    num_asked: int
    """Candidates proposed so far."""

    num_complete: int
    """Of these, complete."""

    num_infeasible: int
    """Of these, refused by converter, board or constraint: the architecture's own fault."""

    num_failed: int
    """Of these, failed for our own reasons."""

    num_in_flight: int
    """Of these, not finished yet."""

    num_reused: int
    """Latencies taken from earlier measurements."""

    front_size: int
    """Feasible non-dominated candidates."""

    hypervolume: float | None
    """Against reference_point, in the objectives' own units; null before the first front."""

    reference_point: list[float] | None
    """One value per objective; fixed for the search, so that hypervolumes compare."""

    report: dict[str, Json]
    """What the algorithm says of itself, by topic: `warm_start`, `predictors`, `picked`, `shifting`, `derived`."""


class SearchResource(Resource):
    """One search."""

    id: Id
    name: str
    state: SearchState
    """What it does now."""

    desired_state: DesiredState
    """What its owner wants of it; the state follows."""

    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    spec: SearchSpec
    """What was asked for, defaults filled in."""

    progress: ProgressResource
    hardware_key: str | None
    """What its latencies are filed under; null where latency is not wanted."""

    supernet_id: Id | None
    supernet_version_id: Id | None
    created_by: Id | None
    """Token that created it; null without authentication."""

    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    version: int
    """Grows with every change; the ETag is made of it."""


class SearchAmendmentBody(Body):
    """Changes to a search under way; absent members stay as they are."""

    num_candidates: int | None = Field(default=None, ge=1, le=1_000_000)
    """New budget; not below what was asked already."""

    priority: int | None = Field(default=None, ge=-100, le=100)
    labels: Labels | None = None


class MetricRangeResource(Resource):
    """What a cheap metric can be in a search space."""

    metric: MetricName
    minimum: float
    maximum: float


class SpecViolationResource(Resource):
    """One thing that is wrong with a spec."""

    pointer: str
    """JSON pointer into the spec."""

    detail: str
    """What is wrong and what is allowed."""

    feasible_minimum: float | None
    """The range a bound may lie in, where there is one."""

    feasible_maximum: float | None


class ValidationReport(Resource):
    """What a spec would do."""

    valid: bool
    """Whether it can be run."""

    violations: list[SpecViolationResource]
    """Everything that is wrong; empty when it is valid."""

    spec: SearchSpec
    """With its defaults filled in."""

    space_size: int | None
    """Number of genotypes; null for an unknown space."""

    metric_ranges: list[MetricRangeResource]
    """Of the space's cheap metrics."""

    hardware_key: str | None
    """What its latencies would be filed under."""

    num_devices: int
    """Devices that can measure for it."""


class CheckpointResource(Resource):
    """The algorithm's state after one step."""

    seq: int
    """1 for the first step."""

    code_version: str
    """Of the worker that wrote it."""

    created_at: datetime


class PresetNeedResource(Resource):
    """A place of a preset's spec that must be filled in before it is launched."""

    pointer: str
    """Of the place in the spec."""

    meaning: str
    """What belongs there."""


class SearchPresetResource(Resource):
    """A paper's search: POST its spec to /api/v1/searches; boards are RK3588 unless another device is put in."""

    name: str
    summary: str
    source: str
    """Where its numbers come from."""

    needs: list[PresetNeedResource]
    spec: SearchSpec
