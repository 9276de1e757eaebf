"""Candidates and fronts on the wire."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from nas_engine.domain.measurement import Validity
from nas_engine.domain.measuring.environment import DeviceClass
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import ON_BOARD, column_for, declarations, searched_names
from nas_engine.domain.text import did_you_mean
from nas_engine.domain.uncertainty import Interval, quantity_text
from nas_engine.settings.base import BOARD_METRIC_PATTERN, OWN_METRIC_PATTERN, OneOf, OneOfMetrics
from server.candidates.candidate import MetricValue
from server.candidates.spec import SearchSpec
from server.candidates.states import CandidateState, EvaluationSource
from server.classifying.schemas import DeviceAccuracyValue
from server.core.http.resources import (
    CountedQuery,
    Id,
    Json,
    Resource,
    Text,
)
from server.measuring.measurement import MeasurementKind
from server.searches.schemas import UsedPluginResource

MetricOfSearch = Annotated[str, OneOfMetrics(lambda: (one.name for one in declarations()), is_checked=False)]
"""A metric in an answer: a registered one, or one that the search's spec declares."""

SearchedMetric = Annotated[str, OneOfMetrics(searched_names, is_checked=False)]
"""The same of those that a search may look for."""


class _Order(OneOf):
    """Annotation of what candidates are sorted by: `seq` or a metric, with a minus for the largest first.

    Which metrics a search declares itself is known where the search is: there the name is looked up.
    """

    def __init__(self) -> None:
        super().__init__(lambda: (f"{sign}{name}" for name in ("seq", *searched_names()) for sign in ("", "-")))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        patterns = [{"pattern": _OWN_ORDER}, {"pattern": _BOARD_ORDER}]
        return {"type": "string", "anyOf": [{"enum": list(self._known())}, *patterns]}

    def _check(self, name: str, info: ValidationInfo) -> str:
        is_looked_up = re.match(_OWN_ORDER, name) or re.match(_BOARD_ORDER, name)
        return name if is_looked_up else super()._check(name, info)


_OWN_NAME, _BOARD_METRIC = OWN_METRIC_PATTERN.strip("^$"), BOARD_METRIC_PATTERN.strip("^$")
_OWN_ORDER, _BOARD_ORDER = f"^-?{_OWN_NAME}$", f"^-?{_BOARD_METRIC}$"


class _Bound:
    """Annotation of a bound, `metric:le:number` or `metric:ge:number`, of any metric that may be searched.

    Which metrics a search declares itself is known where the search is: there the name is looked up.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "maxLength": 300, "pattern": self._pattern(), "examples": ["latency_us:le:8000"]}

    def _check(self, text: str) -> str:
        if len(text) > 300 or not re.match(self._pattern(), text):
            raise ValueError(f"{text[:100]!r} is no bound: {_what_is_wrong(text)}")
        return text

    def _pattern(self) -> str:
        names = "|".join((*map(re.escape, searched_names()), _OWN_NAME, _BOARD_METRIC))
        # So many digits, that every number which matches is finite.
        return rf"^({names}):(ge|le):-?[0-9]{{1,40}}(\.[0-9]{{1,40}})?([eE][+-]?[0-9]{{1,2}})?$"


def _what_is_wrong(text: str) -> str:
    """Which part of a bound is wrong, and what may stand there."""
    name, *rest = text[:300].split(":")
    if len(rest) != 2:
        return "write metric:le:number (at most) or metric:ge:number (at least), such as latency_us:le:8000"
    if name not in searched_names() and not re.fullmatch(f"{_OWN_NAME}|{_BOARD_METRIC}", name):
        return f"there is no metric {name[:100]!r}{did_you_mean(name, searched_names())}"
    if rest[0] not in ("le", "ge"):
        return f"{rest[0][:100]!r} is neither le (at most) nor ge (at least)"
    return f"{rest[1][:100]!r} is no number: write one, such as {name}:{rest[0]}:0.75"


BoundText = Annotated[str, _Bound()]


def bound_of(text: str, spec: SearchSpec) -> tuple[Metric, float | None, float | None]:
    """Metric, lowest and highest value of a `BoundText` on candidates of a search.

    Raises:
        InvalidValueError: the search has no such metric.
    """
    name, operator, number = text.split(":")
    metric, value = spec.searched_metric(name), float(number)
    return (metric, value, None) if operator == "ge" else (metric, None, value)


CandidateOrderText = Annotated[str, _Order()]
EvaluationSourceName = Annotated[
    EvaluationSource,
    WithJsonSchema(
        {"type": "string", "enum": [one.value for one in EvaluationSource if one is not EvaluationSource.GRAPH]}
    ),
]
TABLE_SOURCE = "table"
"""Source of a latency that is a value of the search space, a table of results."""
LatencySourceName = Annotated[str, OneOf(lambda: (*(kind.value for kind in MeasurementKind), TABLE_SOURCE))]


class CandidateListQuery(CountedQuery):
    """Filters and order of a list of candidates."""

    state: list[CandidateState] = Field(default_factory=list)
    """Candidates in any of these states."""

    arch_id: Text | None = None
    """Candidates of this architecture, by its id."""

    generation: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """Candidates of this generation, 0 for the initial sample."""

    find: Text | None = None
    """Words that all stand, whatever their case, in a candidate's id, architecture's id, genotype (as `0,3,1`) or
    state."""

    metric: list[BoundText] = Field(default_factory=list, max_length=10)
    """Known and within bounds, as `metric:le:number` or `metric:ge:number`; all must hold."""

    order_by: CandidateOrderText = "seq"
    """Metric to sort by; `-` is descending, and candidates without the value come last."""


class LatencyValue(Resource):
    """A latency with everything that says how far to trust it."""

    p50_us: float
    """Median of the public call, microseconds."""

    standard_error_us: float | None
    """Standard error of the median, microseconds; null where not known."""

    low_us: float | None = None
    """Lower end of the median's 95 % interval, microseconds, as its samples gave it; null where not known."""

    high_us: float | None = None
    """Upper end of the median's 95 % interval, microseconds, as its samples gave it; null where not known."""

    kind: LatencySourceName
    """Kind of number: where it comes from. Kinds are never mixed in one front, chart or average."""

    device_class: DeviceClass | None
    """Class of the device that gave it; null where it was looked up in a table of results."""

    validity: Validity
    """The worst of its validity flags."""

    flags: list[Validity]
    """Every validity flag raised by the measurement; empty where it is valid."""

    text: str = ""
    """Median with half its 95 % interval and the unit, as people write it: `73.95 ± 0.09 us`."""


class MetricValueResource(Resource):
    """Current value of one metric of a candidate."""

    name: str
    """Name of the metric: GET /api/v1/metrics lists those that there are."""

    unit: str
    """Unit of the value; empty for plain numbers."""

    goal: Goal
    """Direction in which values are better, unless a search says otherwise."""

    value: float
    """Value in the metric's unit."""

    uncertainty: float | None
    """Standard error in the metric's unit; null where exact or not known."""

    low: float | None = None
    """Lower end of the 95 % interval in the metric's unit; null where exact or not known."""

    high: float | None = None
    """Upper end of the 95 % interval in the metric's unit; null where exact or not known."""

    validity: Validity
    """Worst validity flag of the measurement behind it; `valid` elsewhere."""

    source: EvaluationSource
    """Way the value was obtained; `graph` is counted from the layer graph."""

    text: str = ""
    """Value with half its 95 % interval and the unit, as people write it: `79.6 ± 0.9 %`."""

    column: str = ""
    """Short words for the metric, above columns and at axes."""

    @property
    def interval(self) -> Interval:
        """The value with its 95 % interval; of servers that do not tell its ends, what its standard error gives."""
        if self.low is None or self.high is None:
            return Interval.of_error(self.value, self.uncertainty)
        return Interval(self.value, self.low, self.high)

    @classmethod
    def of_value(cls, known: MetricValue, interval: Interval) -> MetricValueResource:
        """The resource of a candidate's value and its interval."""
        return cls.of_stored(
            name=known.metric.name,
            unit=known.metric.unit,
            goal=known.metric.goal,
            value=known.value,
            uncertainty=known.uncertainty,
            low=interval.low,
            high=interval.high,
            validity=known.validity,
            source=known.source,
            text=quantity_text(interval, known.metric.unit),
            column=column_for(known.metric),
        )


class CandidateResource(Resource):
    """One architecture proposed by one search."""

    id: Id
    """Identifier of the candidate, `cand_...`, given by the server."""

    short_id: str = ""
    """Short name of it, taken wherever its id is: the end of the search's id, and its number there."""

    search_id: Id
    """Search that proposed it."""

    seq: int
    """Number in the search, 1 for the first asked."""

    generation: int
    """Generation that asked it, 0 for the initial sample."""

    arch_id: str
    """Digest of the canonical architecture, the same in every search."""

    genotype: list[int]
    """The genes as the algorithm asked them: one choice index per gene."""

    architecture: Json
    """The architecture in the search space's own description."""

    state: CandidateState
    """State of its evaluation, from asked to complete, infeasible or failed."""

    is_cancelled: bool = False
    """Whether it ended only because its search was cancelled; its state is `failed` then."""

    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    top1: float | None
    """Fraction of validation images classified correctly, 0 to 1, with the supernet's weights; null before it was
    evaluated."""

    test_top1: float | None
    """Fraction of test images classified correctly, taken once the search is over for members of its front; null
    elsewhere."""

    device_top1: float | None
    """Fraction of test images classified correctly on the search's device with the model it runs; null where not asked
    for."""

    device_accuracy: DeviceAccuracyValue | None
    """Accuracy on the device with its uncertainty, and the loss against the float network; null where not asked for."""

    latency: LatencyValue | None
    """Latency on the search's hardware; null before it was measured, and where latency is not wanted."""

    macs: int | None
    """Multiply-accumulate operations of one inference, counted from the layer graph."""

    params: int | None
    """Number of parameters, counted from the layer graph."""

    peak_activation_bytes: int | None
    """Largest memory of activations alive at once, in bytes, counted from the layer graph."""

    values: list[MetricValueResource] = Field(default_factory=list)
    """Current value of every metric that is known of it, those of plug-ins included."""

    latency_key: str | None
    """Digest its latency is filed under, the same in every search; null where latency is not wanted."""

    model_sha256: str | None
    """SHA-256 of the measured model: GET /api/v1/artifacts/{sha256}."""

    final_model_sha256: str | None
    """SHA-256 of the deployable model with inherited weights, made together with test_top1."""

    told_seq: int | None
    """Step of the search in which the algorithm observed its result; null before."""

    expected_gain: float | None = None
    """Hypervolume that it was expected to add when it was asked, beside those asked before it, as a share (0.01 is one
    hundredth) of what the search had reached against its reference point; predicted from what was known then, never
    measured. null where nothing could be said."""

    expected_gain_reason: str = ""
    """Why nothing could be said of its gain; empty where something was."""

    provenance: Json
    """Operator and parents it came from, as the algorithm reports them."""

    created_at: datetime
    """Time at which it was asked, RFC 3339."""

    finished_at: datetime | None
    """Time at which its evaluation ended, RFC 3339; null before."""

    @property
    def state_text(self) -> str:
        """Its state for people."""
        return "cancelled" if self.is_cancelled else self.state.value

    @property
    def flags_text(self) -> str:
        """The flags of its latency, and of those on further boards the worst of each, for people."""
        own = [] if self.latency is None else [flag.value for flag in self.latency.flags]
        further = [one for one in self.values if ON_BOARD in one.name and one.validity is not Validity.VALID]
        return ", ".join([*own, *(f"{one.validity.value} ({one.name})" for one in further)])


class EvaluationResource(Resource):
    """One value of one metric of one candidate."""

    id: Id
    """Identifier of the evaluation, given by the server."""

    metric: MetricOfSearch
    """Name of the metric evaluated."""

    value: float
    """Value in the metric's own unit."""

    uncertainty: float | None
    """Standard error in the metric's unit; null where not known."""

    text: str = ""
    """Value with half its 95 % interval and the unit, as people write it: `79.6 ± 0.9 %`."""

    validity: Validity
    """Worst validity flag of the measurement behind it; `valid` for accuracies."""

    source: EvaluationSourceName
    """Way the value was obtained: by an evaluation, a measurement, an earlier result or a table of results."""

    kind: LatencySourceName | None
    """Kind of number a latency is, whatever way it was obtained; null for accuracies."""

    attempt: int
    """Number of the attempt, 1 for the first of this metric; the highest is the current one."""

    supernet_version_id: Id | None
    """Version of the supernet's weights it was evaluated with; null where weights play no part."""

    measurement_id: Id | None
    """Measurement that a latency was taken from; null for other values."""

    package: str | None
    """Package that declares the metric, `hilnas` for those that ship, as it was when the value was stored; null for
    values of releases that did not record it."""

    package_version: str | None
    """Version of that package where the value was obtained; null where the package is."""

    plugins: list[UsedPluginResource]
    """What packages other than hilnas brought to this value: its metric, its space, and for evaluations the data set;
    with their versions."""

    runtime_versions: dict[str, str]
    """Versions of the inference engine behind a latency by component, those of a package that brings it among them;
    empty for other values."""

    created_at: datetime
    """Time at which it was stored, RFC 3339."""
