"""Candidates and fronts on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from nas_engine.settings.base import MetricName
from server.candidates.states import CandidateState, EvaluationSource
from server.classifying.schemas import DeviceAccuracyValue
from server.core.http.resources import (
    CountedQuery,
    DeviceClassName,
    Id,
    Json,
    LatencySourceName,
    Resource,
    Text,
    ValidityName,
)

BoundText = Annotated[
    str,
    Field(
        max_length=100,
        pattern=r"^(top1|latency_us|macs|params|peak_activation_bytes):(ge|le):-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$",
        examples=["latency_us:le:8000"],
    ),
]
CandidateOrderText = Literal[
    "seq",
    "-seq",
    "top1",
    "-top1",
    "latency_us",
    "-latency_us",
    "macs",
    "-macs",
    "params",
    "-params",
    "peak_activation_bytes",
    "-peak_activation_bytes",
]


class CandidateListQuery(CountedQuery):
    """Which candidates."""

    state: list[CandidateState] = Field(default_factory=list)
    """Any of these."""

    arch_id: Text | None = None
    """Only this architecture."""

    generation: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """Only this generation."""

    metric: list[BoundText] = Field(default_factory=list, max_length=10)
    """Known and within bounds, as `metric:le:number` or `metric:ge:number`; all must hold."""

    order_by: CandidateOrderText = "seq"
    """`-` is descending; candidates without the value come last."""


class LatencyValue(Resource):
    """A latency with everything that says how far to trust it."""

    p50_us: float
    """Median of the public call, microseconds."""

    standard_error_us: float | None
    """Of the median; null where not known."""

    kind: LatencySourceName
    """Where it comes from; kinds are never mixed in one front, chart or average."""

    device_class: DeviceClassName | None
    """What kind of device gave it; null where it was looked up in a table of results."""

    validity: ValidityName
    """The worst flag."""

    flags: list[ValidityName]
    """Everything that is wrong with it; empty where it is valid."""


class CandidateResource(Resource):
    """One architecture proposed by one search."""

    id: Id
    search_id: Id
    seq: int
    """1 for the first asked in the search."""

    generation: int
    """0 for the initial sample."""

    arch_id: str
    genotype: list[int]
    """As the algorithm asked it: one choice index per gene."""

    architecture: Json
    """The space's own description."""

    state: CandidateState
    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    top1: float | None
    """Fraction of validation images classified correctly; null before it was evaluated."""

    test_top1: float | None
    """Fraction of test images, taken once the search is over for what is on its front; null elsewhere."""

    device_top1: float | None
    """Fraction of test images as the search's device answers them with the model it runs; null where not asked for."""

    device_accuracy: DeviceAccuracyValue | None
    """The same with its uncertainty, and what is lost against the float network."""

    latency: LatencyValue | None
    """Null before it was measured, and where latency is not wanted."""

    macs: int | None
    params: int | None
    peak_activation_bytes: int | None
    latency_key: str | None
    """What its latency is filed under, for every search alike."""

    model_sha256: str | None
    """The measured model: GET /api/v1/artifacts/{sha256}."""

    final_model_sha256: str | None
    """The deployable model with inherited weights, made with test_top1."""

    told_seq: int | None
    """Step of the search in which the algorithm was told; null before."""

    provenance: Json
    """How it came about, as the algorithm tells it."""

    created_at: datetime
    finished_at: datetime | None


class EvaluationResource(Resource):
    """One value of one metric of one candidate."""

    id: Id
    metric: Literal["top1", "test_top1", "device_top1", "latency_us", "macs", "params", "peak_activation_bytes"]
    value: float
    """In the metric's unit."""

    uncertainty: float | None
    """Standard error, same unit; null where not known."""

    validity: ValidityName
    source: EvaluationSource
    kind: LatencySourceName | None
    """Of latencies: what kind of number it is, whatever way it was obtained; null for accuracies."""

    attempt: int
    """1 for the first of this metric; the highest is the current one."""

    supernet_version_id: Id | None
    measurement_id: Id | None
    created_at: datetime


class FrontPointResource(Resource):
    """One member of a front."""

    candidate: CandidateResource
    values: list[float]
    """One per objective, in the front's order and units."""

    uncertainties: list[float | None]
    """Standard errors of the values; null where exact or not known."""


class FrontObjectiveResource(Resource):
    """One axis of a front."""

    metric: MetricName
    unit: str
    goal: str
    """minimize or maximize."""


class FrontResource(Resource):
    """The non-dominated candidates of a search among those with every objective known and every constraint met."""

    search_id: Id
    objectives: list[FrontObjectiveResource]
    dominance: Literal["point", "confident"]
    """How candidates were compared: by their values, or by their 95 % confidence intervals."""

    latency_kind: LatencySourceName | None
    """What every latency of this front is; null where latency is no objective and no constraint."""

    device_class: DeviceClassName | None
    hardware_key: str | None
    num_complete: int
    """Complete candidates it was taken from."""

    num_feasible: int
    """Of these, with every objective known and every constraint met."""

    points: list[FrontPointResource]
    """Sorted by the first objective, best first."""

    dominated: list[FrontPointResource]
    """The other complete candidates, feasible or not, where they were asked for."""

    hypervolume: float | None
    reference_point: list[float] | None
