"""The search spec: the one documented document a search is made of. Its JSON Schema comes from here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    model_validator,
)

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.measuring.image_set import MAX_IMAGES
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import (
    LATENCY_US,
    TOP1,
    declaration_of,
    is_cheap,
    is_evaluated,
    latency_on,
    searched_names,
    stored_metric,
)
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.algorithms import Nsga2Settings, WarmStartSettings
from nas_engine.settings.base import (
    STORED,
    ConstraintSpec,
    Identifier,
    Labels,
    Name,
    ObjectiveSpec,
    Seed,
    SpaceSpec,
    SpecPart,
    later,
    own_metrics,
)
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.external import ExternalMetricSpec
from nas_engine.settings.kinds.algorithms import AlgorithmSettings
from nas_engine.settings.kinds.declared import read_settings
from nas_engine.settings.shifting import Comparison, ShiftingSettings
from nas_engine.settings.stopping import StopSettings
from nas_engine.settings.training import TrainingSpec
from server.candidates.boards import OWN_DEVICE, Board, BoardName, BoardSpec, MeasurementSpec, check_boards
from server.core.errors import InvalidSpecError, InvalidValueError, SpecViolation, json_pointer
from server.core.spec_documents import parse_spec
from server.fleet.device_spec import DeviceSpec


class FinalSpec(SpecPart):
    """What is evaluated on the Pareto front once the budget is spent."""

    on_device_accuracy: bool = False
    """Whether the search's device classifies test images with the deployable models of the front, so that what its
    arithmetic loses against the float network is seen. Needs a device that executes models, and a supernet."""

    num_images: int | None = Field(default=None, ge=1, le=MAX_IMAGES)
    """Number of test images it classifies, evenly drawn and the same for every model; absent: all."""

    timeout_s: float = Field(default=3600.0, gt=0, le=86_400)
    """Longest time one model may take on the device, fetching the images included, in seconds."""


class BudgetSpec(SpecPart):
    """The number of evaluations after which a search ends."""

    num_candidates: int = Field(ge=1, le=1_000_000)
    """Number of distinct architectures that the algorithm proposes in total; measuring one again does not count."""


def _with_auto(schema: dict[str, Any]) -> None:
    """List what leaves the choice to the server beside the algorithms; a spec that was taken names one of them."""
    schema["oneOf"] = [
        *schema["oneOf"],
        {
            "title": "AutoAlgorithm",
            "type": "object",
            "description": "The server chooses the algorithm; it takes no settings.",
            "properties": {"kind": {"type": "string", "const": "auto"}},
            "required": ["kind"],
            "additionalProperties": False,
        },
    ]


SupernetChoice = Annotated[
    Annotated[Annotated[str, Field(min_length=1, max_length=100)], Tag("id")]
    | Annotated[TrainingSpec, Tag("training")],
    Discriminator(lambda value: "id" if isinstance(value, str) else "training"),
]


class SearchSpec(SpecPart):
    """A search in full. The same spec with the same observations asks the same candidates."""

    name: Name = "search"
    """Name of the search for people, shown in lists."""

    space: SpaceSpec
    """Search space that candidates are drawn from, with its parameters."""

    supernet: SupernetChoice | None = None
    """Supernet that top1 is evaluated with: a trained one (by its id `sup_...`, in requests also by its name or a part
    of the id), or a training spec that makes one.
    Needed where top1 is wanted, unless the space is a table of results that holds it."""

    dataset: Identifier | None = None
    """Name of the data set that accuracy is evaluated on; absent: the supernet's."""

    objectives: tuple[ObjectiveSpec, ...] = Field(min_length=1, max_length=5)
    """Metrics that are optimised, each once."""

    constraints: tuple[ConstraintSpec, ...] = Field(default=(), max_length=16)
    """Bounds that a candidate must meet to be feasible, all of them."""

    external: tuple[ExternalMetricSpec, ...] = later((), max_length=16)
    """Metrics that evaluators outside bring, each of them an objective or a constraint; absent: everything is evaluated
    and measured here."""

    algorithm: AlgorithmSettings = Field(default_factory=Nsga2Settings, json_schema_extra=_with_auto)
    """Search algorithm that proposes candidates, with its settings; absent or `{"kind": "auto"}`: the server chooses by
    the budget, the space and the objectives, and says why in the search's progress, `report.algorithm`."""

    budget: BudgetSpec
    """Number of evaluations after which the search ends."""

    stop: StopSettings = later(StopSettings())
    """Rules by which the search ends sooner; absent: it spends its budget."""

    shifting: ShiftingSettings | None = None
    """Settings by which the supernet's weights move during the search; absent: they stay as they are. Goes with nsga2,
    scarlet_nsga2, spos_evolution and binned_evolution."""

    dominance: Dominance = Dominance.POINT
    """Rule by which one candidate is better than another, for the front and, with nsga2 and scarlet_nsga2, for which
    survive: `point` compares values; `confident` their 95 % confidence intervals (of the median latency, of the
    accuracy), so that noise decides nothing and what cannot be told apart stays."""

    warm_start: WarmStartSettings | None = None
    """Architectures to evaluate first; absent: the algorithm's own initial sample."""

    device: DeviceSpec | None = None
    """Device that latency is measured on, chosen by its type and labels; needed where latency_us is wanted, unless the
    space is a table of results that holds it."""

    boards: Annotated[dict[BoardName, BoardSpec], AfterValidator(check_boards)] = later({}, max_length=8)
    """Further boards that every candidate is measured on, by a name of yours, such as `rk3588`: the metric
    `latency_us@rk3588` is the latency there, wherever a metric is named. A board that no objective and no constraint
    needs is measured beside them, and the search waits for none of it. Absent: `device` alone."""

    measurement: MeasurementSpec = Field(default_factory=MeasurementSpec)
    """Settings of how latency is measured."""

    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    """Settings of how accuracy is evaluated."""

    final: FinalSpec = Field(default_factory=FinalSpec)
    """Settings of what is evaluated on the front after the search."""

    seed: Seed = 0
    """Seed of the algorithm's random numbers."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Priority of the search's jobs; those with a higher one are leased first."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the search by name, for people and filters."""

    @model_validator(mode="wrap")
    @classmethod
    def _declaring(cls, document: Any, handler: ModelWrapValidatorHandler[SearchSpec]) -> SearchSpec:
        """Read objectives and constraints knowing which metrics the spec declares."""
        with own_metrics(_declared_names(document)):
            return handler(document)

    @model_validator(mode="after")
    def _consistent(self) -> SearchSpec:
        names = [objective.metric for objective in self.objectives]
        if len(set(names)) != len(names):
            raise ValueError(f"objectives name a metric twice: {', '.join(names)}")
        wanted = {metric.name for metric in self.metrics()}
        brought = [one.metric for one in self.external]
        if len(set(brought)) != len(brought):
            raise ValueError(f"external names a metric twice: {', '.join(brought)}")
        if unused := [name for name in brought if name not in wanted]:
            raise ValueError(
                f"external metric {', '.join(unused)} is no objective and no constraint: make it one, or leave it out"
            )
        if self.final.on_device_accuracy and (self.device is None or self.supernet is None):
            raise ValueError("final.on_device_accuracy needs a device and a supernet: name both")
        if self.shifting is not None:
            if reason := self.algorithm.NO_SHIFTING:
                raise ValueError(f"shifting does not go with {self.algorithm.kind}: {reason}; take nsga2")
            if TOP1 not in self.metrics():
                raise ValueError("shifting needs top1 as an objective or a constraint")
            if TOP1 in self.external_metrics():
                raise ValueError("shifting needs top1 of its own weights: take top1 out of external")
            if self.shifting.new_head and self.dataset is None:
                raise ValueError("shifting.new_head needs dataset: the one with the new classes")
            if others := [metric.name for metric in self.evaluated_metrics() if metric != TOP1]:
                raise ValueError(f"shifting goes with top1 alone, not with {', '.join(others)}: leave it out")
        self.stop.check_metrics([metric.name for metric in self.metrics()])
        documents: dict[str, Any] = {}
        for part in self._metric_parts():
            if documents.setdefault(part.metric, part.settings) != part.settings:
                raise ValueError(f"settings of metric {part.metric} differ: a search has one value of each metric")
        self.algorithm.check_metrics(names, wanted)
        return self

    def domain_objectives(self) -> tuple[Objective, ...]:
        """The objectives as domain values, in order."""
        return tuple(o.objective(self.metric_named(o.metric)) for o in self.objectives)

    def domain_constraints(self) -> tuple[Constraint, ...]:
        """The constraints as domain values, in order."""
        return tuple(c.constraint(self.metric_named(c.metric)) for c in self.constraints)

    def domain_target(self) -> tuple[Constraint, ...]:
        """The bounds of the stop rule `target` as domain values, in order."""
        return tuple(bound.constraint(self.metric_named(bound.metric)) for bound in self.stop.target)

    @property
    def crosses_versions(self) -> bool:
        """Whether accuracies of several supernet versions are compared, as this spec asks for."""
        return self.shifting is not None and self.shifting.compare is Comparison.IMMEDIATE

    def metrics(self) -> tuple[Metric, ...]:
        """Every metric an objective or a constraint needs, each once."""
        labels = [o.metric for o in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(self.metric_named(label) for label in labels))

    def metric_named(self, name: str) -> Metric:
        """The metric that a name means in this search: one that it declares, else one of the registry."""
        own = next((one for one in self.external if one.metric == name), None)
        return stored_metric(name) if own is None else own.declared()

    def searched_metric(self, name: str) -> Metric:
        """The metric that candidates are filtered and sorted by under a name, whether the spec wants it or not.

        Raises:
            InvalidValueError: no search may look at one of that name, and this one declares none.
        """
        on_boards = (latency_on(board).name for board in self.boards)
        known = (*searched_names(), *(metric.name for metric in self.own_metrics()), *on_boards)
        if name not in known:
            names = ", ".join(dict.fromkeys(known))
            raise InvalidValueError(f"unknown metric {name!r}: use one of {names}{did_you_mean(name, known)}")
        return self.metric_named(name)

    def external_metrics(self) -> tuple[Metric, ...]:
        """Those of `metrics` that evaluators outside bring, in the order of the spec."""
        return tuple(one.declared() for one in self.external)

    def own_metrics(self) -> tuple[Metric, ...]:
        """Those of `external_metrics` that the spec itself declares."""
        return tuple(one.declared() for one in self.external if one.is_own)

    def metric_settings(self) -> dict[str, Any]:
        """The settings of the metrics by name, as their declarations type them."""
        return {
            part.metric: read_settings(declaration_of(stored_metric(part.metric)), part.settings)
            for part in self._metric_parts()
            if self.metric_named(part.metric) not in self.own_metrics()
        }

    def metric_documents(self) -> dict[str, dict[str, Any]]:
        """The settings of the metrics by name, as they were written; only of those that have any."""
        return {part.metric: part.settings for part in self._metric_parts() if part.settings}

    def _metric_parts(self) -> tuple[ObjectiveSpec | ConstraintSpec, ...]:
        return (*self.objectives, *self.constraints)

    def evaluated_metrics(self) -> tuple[Metric, ...]:
        """Those of `metrics` that a worker evaluates with the supernet's weights."""
        outside = self.external_metrics()
        return tuple(metric for metric in self.metrics() if is_evaluated(metric) and metric not in outside)

    def awaited_metrics(self) -> tuple[Metric, ...]:
        """Those of `metrics` that must be evaluated or measured: a candidate is complete when they are there."""
        return tuple(metric for metric in self.metrics() if not is_cheap(metric))

    def awaited_here(self) -> tuple[Metric, ...]:
        """Those of `awaited_metrics` that come from workers, devices or a table of results, and not from outside."""
        outside = self.external_metrics()
        return tuple(metric for metric in self.awaited_metrics() if metric not in outside)

    def all_boards(self) -> tuple[Board, ...]:
        """The boards that the spec names: the one of `device` first, then those of `boards`."""
        own = self.measurement
        first = [] if self.device is None else [(OWN_DEVICE, LATENCY_US, self.device, own)]
        further = [(name, latency_on(name), one.device, one.measurement or own) for name, one in self.boards.items()]
        return tuple(
            Board(name=name, metric=metric, device=device, measurement=measurement)
            for name, metric, device, measurement in (*first, *further)
        )

    def measured_boards(self) -> tuple[Board, ...]:
        """Those of `all_boards` that candidates are measured on; `device` may be there for something else alone."""
        return tuple(one for one in self.all_boards() if not one.is_own_device or LATENCY_US in self.metrics())

    def needed_boards(self) -> tuple[Board, ...]:
        """Those of `measured_boards` that an objective or a constraint needs."""
        wanted = self.metrics()
        return tuple(one for one in self.all_boards() if one.metric in wanted)

    def board_of(self, metric: Metric) -> Board | None:
        """The board whose latencies are filed under a metric; None where it is no latency of this search."""
        return next((one for one in self.all_boards() if one.metric == metric), None)


def _declared_names(document: object) -> list[str]:
    """Names that the document of a spec, right or wrong, declares metrics by, and those of latencies on its boards."""
    if isinstance(document, SearchSpec):
        return [*(one.metric for one in document.external), *(latency_on(name).name for name in document.boards)]
    external, boards = (document.get(name) if isinstance(document, dict) else None for name in ("external", "boards"))
    listed = external if isinstance(external, list | tuple) else ()
    named = [one.get("metric") if isinstance(one, dict) else getattr(one, "metric", None) for one in listed]
    on_boards = [latency_on(name).name for name in boards if isinstance(name, str)] if isinstance(boards, dict) else []
    return [*(name for name in named if isinstance(name, str)), *on_boards]


_AUTO = {"kind": "auto"}


def parse_search_spec(document: object) -> SearchSpec:
    """A search spec from a JSON document; NSGA-II stands for an algorithm that is yet to be chosen.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    if isinstance(document, dict) and names_no_algorithm(document):
        document = {name: value for name, value in document.items() if name != "algorithm"}
    if (settings := _settings_of_auto(document)) is not None:
        message = "auto takes no settings: name the algorithm that they belong to, or leave them out"
        raise InvalidSpecError([SpecViolation(json_pointer(("algorithm", name)), message) for name in settings])
    if (table := _reported_table(document)) is not None:
        message = f"a report of a latency table is no search: POST /api/v1/latency-tables/{table}/reports"
        raise InvalidSpecError([SpecViolation("/algorithm/kind", message)])
    return parse_spec(SearchSpec, document)


def names_no_algorithm(document: object) -> bool:
    """Whether the choice of the algorithm is left to the server: none is named, or `auto`."""
    return isinstance(document, dict) and document.get("algorithm", _AUTO) == _AUTO


def _settings_of_auto(document: object) -> list[str] | None:
    """The settings that stand beside `auto`, which has none; None for every other algorithm."""
    match document:
        case {"algorithm": {"kind": "auto", **settings}} if settings:
            return [str(name) for name in settings]
        case _:
            return None


def stored_search_spec(document: object) -> SearchSpec:
    """A search spec as it was stored, whether what it names is still installed or not.

    The first release stored reports of latency tables as searches with an algorithm of their own. They are batches of
    a table today; their old rows, which take no steps, are read as searches that sample at random.

    Raises:
        InvalidSpecError: it cannot be read.
    """
    if isinstance(document, dict) and _reported_table(document) is not None:
        document = {**document, "algorithm": {"kind": "random"}}
    return parse_spec(SearchSpec, document, STORED)


def _reported_table(document: object) -> object:
    """The latency table that a search of the first release reports on; None for every other document."""
    match document:
        case {"algorithm": {"kind": "cost_report", **settings}}:
            return settings.get("latency_table", "{table_id}")
        case _:
            return None


def search_spec_schema() -> dict[str, Any]:
    """JSON Schema of the search spec."""
    return SearchSpec.model_json_schema()
