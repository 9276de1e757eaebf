"""What every settings document is made of: the base class, names, spaces, objectives and constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import (
    LATENCY_US,
    ON_BOARD,
    board_named_by,
    declaration_of,
    searched_names,
    stored_metric,
)
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.field_docs import Documented
from nas_engine.settings.kinds.declared import SettingsError, read_settings

STORED: Mapping[str, bool] = {"stored": True}
"""Context of reading stored documents: names of what is not installed any more are taken as they are."""


class OneOf:
    """Annotation of a text field that takes the names a function gives, and lists them in its schema.

    For names that plug-ins add to; where the names are an enum's values, the field is the enum.
    """

    def __init__(self, names: Callable[[], Iterable[str]], *, is_checked: bool = True) -> None:
        """See class. Answers, which the server alone makes, need no check."""
        self._names, self._is_checked = names, is_checked

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler(source)
        return core_schema.with_info_after_validator_function(self._check, inner) if self._is_checked else inner

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(self._names())}

    def _check(self, name: str, info: ValidationInfo) -> str:
        known = self._known()
        if name not in known and not (info.context or {}).get("stored"):
            raise ValueError(f"unknown name {name!r}: use one of {', '.join(known)}{did_you_mean(name, known)}")
        return name

    def _known(self) -> tuple[str, ...]:
        return tuple(self._names())


def one_of(names: Iterable[str]) -> Any:
    """Make a text field that takes these names alone, which an enum holds beside other things."""
    known = tuple(names)
    return Annotated[str, OneOf(lambda: known)]


OWN_METRIC_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
"""Names that a search spec may declare metrics of its own by."""

BOARD_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"
BOARD_METRIC_PATTERN = rf"^{LATENCY_US.name}{ON_BOARD}{BOARD_NAME}$"
"""Names of the latencies on a search's further boards."""

_own_metrics: ContextVar[frozenset[str]] = ContextVar("own_metrics", default=frozenset())


@contextmanager
def own_metrics(names: Iterable[str]) -> Iterator[None]:
    """Let objectives and constraints that are read inside name these metrics too, which the spec around declares."""
    token = _own_metrics.set(frozenset(names))
    try:
        yield
    finally:
        _own_metrics.reset(token)


class OneOfMetrics(OneOf):
    """`OneOf` for names of metrics: those of the registry, and those that the spec around them declares.

    A name in an answer may be one that any spec declares: it is not checked, and its schema says so.
    """

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        declared = {"pattern": OWN_METRIC_PATTERN, "description": "A metric that the search's spec declares."}
        on_board = {"pattern": BOARD_METRIC_PATTERN, "description": "The latency on one of the spec's `boards`."}
        return {"type": "string", "anyOf": [{"enum": list(self._names())}, declared, on_board]}

    def _check(self, name: str, info: ValidationInfo) -> str:
        board, is_stored = board_named_by(name), (info.context or {}).get("stored")
        if board and name not in self._known() and name.startswith(LATENCY_US.name + ON_BOARD) and not is_stored:
            boards = ", ".join(filter(None, map(board_named_by, self._known()))) or "none"
            raise ValueError(f"{name} is of a board {board!r}, which `boards` does not name; it names: {boards}")
        return super()._check(name, info)

    def _known(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super()._known(), *sorted(_own_metrics.get()))))


MetricName = Annotated[str, OneOfMetrics(searched_names)]


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


Identifier = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


Labels = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$")],
        Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")],
    ],
    Field(max_length=32),
]


Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Misread(list[Any]):
    """What pydantic would read as something else, alone in a list, which it refuses where a plain value belongs."""


def check_form(cls: type[BaseModel], document: Any) -> Any:
    """Hide "5" and true from number fields, 0 and "yes" from truth values: pydantic would take them.

    Returns:
        The document, in which each such value is something that pydantic refuses, at its place and beside all else.
    """
    if not isinstance(document, dict):
        return document
    fields = _kinds_of_fields(cls)
    return {name: _unmistakable(value, fields[name]) if name in fields else value for name, value in document.items()}


@cache
def _kinds_of_fields(cls: type[BaseModel]) -> Mapping[str, Sequence[Any]]:
    """What each field of a model admits: worked out once, since jobs' payloads are read several times each."""
    return {name: _alternatives(field.annotation) for name, field in cls.model_fields.items()}


def _unmistakable(value: Any, kinds: Sequence[Any]) -> Any:
    """What pydantic makes of a value is what was written, or an error: in lists and mappings too, for `check_form`.

    Args:
        kinds: what may stand there, as `_alternatives` gives it.
    """
    if isinstance(value, bool | int | float | str):
        numbers, written = {int, float} & set(kinds), isinstance(value, str)
        if isinstance(value, bool):
            misread = bool not in kinds and bool(numbers)
        elif written:
            words = any(kind is str or (isinstance(kind, type) and issubclass(kind, Enum)) for kind in kinds)
            misread = bool(numbers or bool in kinds) and not words and value not in kinds
        else:
            misread = bool in kinds and not numbers
        return Misread([value]) if misread else value
    for kind in kinds:
        inner = [part for part in get_args(kind) if part is not Ellipsis]
        origin = get_origin(kind)
        if not inner or not isinstance(origin, type):
            continue
        if isinstance(value, dict) and issubclass(origin, Mapping):
            return {name: _unmistakable(one, _alternatives(inner[-1])) for name, one in value.items()}
        if isinstance(value, list | tuple) and issubclass(origin, Sequence):
            places = [_alternatives(one) for one in inner]
            return [_unmistakable(one, places[min(place, len(places) - 1)]) for place, one in enumerate(value)]
    return value


def _alternatives(annotation: Any) -> list[Any]:
    """The types that an annotation admits; of a Literal its values."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for one in get_args(annotation) for kind in _alternatives(one)]
    return list(get_args(annotation)) if get_origin(annotation) is Literal else [annotation]


class SpecPart(Documented):
    """Base of every part of a spec: frozen, unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _form = model_validator(mode="before")(check_form)


def later(default: Any, **limits: Any) -> Any:
    """Make a field that came after the first release.

    At its default it is left out of documents, since clients of the first release refuse keys that they do not know,
    and checkpoints that were stored before do not name it.
    """
    return Field(default=default, exclude_if=lambda value: bool(value == default), **limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnInputs:
    """What the settings of an algorithm name that must be there, beside what the search itself names.

    Each attribute is called as the setting is; None where the algorithm wants none.

    Attributes:
        dataset: that it trains on itself.
        batch_size: of that training.
        latency_table: id of the table of measured operators that networks are paid for by.
        cost_table: SHA-256 of an imported table in its place.
    """

    dataset: str | None = None
    batch_size: int | None = None
    latency_table: str | None = None
    cost_table: str | None = None


class ProposingSettings(SpecPart):
    """Base of the settings of whatever proposes candidates; what a search spec checks of each is said by each."""

    kind: str
    """Name of the algorithm."""

    NO_SHIFTING: ClassVar[str] = "it has no survivors that are scored again"
    """Why the supernet cannot be shifted during such a search; empty where it can."""

    def inputs(self) -> OwnInputs:
        """Return what the settings name that must be there: data sets and tables; nothing, of most."""
        return OwnInputs()

    def check_metrics(self, objectives: Sequence[str], wanted: Set[str]) -> None:
        """Refuse objectives, or metrics that the objectives and constraints want, which it cannot serve.

        Raises:
            ValueError: says which, and what to do.
        """


class CheckpointedSettings(ProposingSettings):
    """Base of the settings that a stored checkpoint of a search is compared by."""

    def identity(self) -> dict[str, JsonValue]:
        """Return the document that a checkpoint names; equal settings give the document of the first release."""
        document: dict[str, JsonValue] = self.model_dump(mode="json")
        return document


class SpaceSpec(SpecPart):
    """A search space: its id and its parameters."""

    id: Identifier
    """Registered id of the space, e.g. `spos`; GET /api/v1/search-spaces lists them."""

    parameters: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the space; absent ones take the published values."""


def _fitting(document: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    if "metric" not in info.data or (info.context or {}).get("stored"):  # the metric is what is wrong
        return document
    if document and info.data["metric"] in _own_metrics.get():
        raise ValueError(f"metric {info.data['metric']} is declared by this spec: it has no settings, leave them out")
    try:
        read_settings(declaration_of(stored_metric(info.data["metric"])), document)
    except SettingsError as error:
        faults = [
            InitErrorDetails(
                type=PydanticCustomError("settings", "{said}", {"said": message}), loc=path, input=document
            )
            for path, message in error.faults
        ]
        raise ValidationError.from_exception_data("settings", faults) from error
    return document


MetricSettingsDocument = Annotated[dict[str, Any], AfterValidator(_fitting)]


class ObjectiveSpec(SpecPart):
    """One quantity to optimise."""

    metric: MetricName
    """Metric that is optimised."""

    goal: Goal | None = None
    """Direction of the optimisation; absent: maximize top1, the declared goal of a metric that `external` declares,
    minimize everything else."""

    weight: float = Field(default=1.0, gt=0, le=1000)
    """Factor of this objective in the crowding distance, which sets how dense the front is along it; 1 is neutral."""

    settings: MetricSettingsDocument = later({})
    """Settings of the metric, where it has some: GET /api/v1/metrics has their schema."""

    def objective(self, metric: Metric) -> Objective:
        """Return the objective as a domain value, on the metric that its name means in its spec."""
        return Objective(metric, self.goal or metric.goal, self.weight)


class BoundsSpec(SpecPart):
    """Inclusive bounds on one metric, of whatever; what derives from it says what they are for."""

    NOUN: ClassVar[str] = "bound"
    """What such bounds are called where they are refused."""

    metric: MetricName
    """Metric that is bounded."""

    minimum: float | None = None
    """Smallest admissible value, in the metric's unit; absent: unbounded below."""

    maximum: float | None = None
    """Largest admissible value, in the metric's unit; absent: unbounded above."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError(f"{self.NOUN} on {self.metric} has neither minimum nor maximum: give one")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}: swap them")
        return self


class ConstraintSpec(BoundsSpec):
    """Inclusive bounds on one metric."""

    NOUN: ClassVar[str] = "constraint"

    settings: MetricSettingsDocument = later({})
    """Settings of the metric, where it has some; the same as those of an objective on it."""

    def constraint(self, metric: Metric) -> Constraint:
        """Return the constraint as a domain value, on the metric that its name means in its spec."""
        return Constraint(metric, self.minimum, self.maximum)
