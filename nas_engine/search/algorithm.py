"""The protocol every search algorithm implements, and the values that cross it.

A worker drives any algorithm the same way::

    batch = algorithm.ask(min(budget_left, algorithm.batch_size))
    results = [Observation(genotype=g, objectives=evaluate(g)) for g in batch]
    algorithm.tell(results)
    checkpoint = algorithm.state()          # JSON; load_state() resumes exactly

`batch_size` is the generation barrier: asking and telling whole generations gives searches that a killed and resumed
run repeats exactly. Smaller asks and tells are legal (steady state) and deterministic in the order of the calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import EngineError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.domain.search_space import SearchSpace

if TYPE_CHECKING:
    from nas_engine.cost.prediction.predictor import MetricPredictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known about one candidate once it is evaluated.

    Attributes:
        genotype: as asked.
        objectives: value per metric, in the metric's own unit and direction (never sign-flipped); must hold every
            objective and every constrained metric of the search, unless `violations` says why there is none.
        uncertainty: standard error per metric, same unit; a metric that is absent is taken as exact.
        violations: named faults of the architecture itself (an operator the board refuses, ...) with their relative
            size, > 0. A candidate with violations is infeasible. A lost board or a crash is not told at all.
    """

    genotype: Genotype
    objectives: Mapping[Metric, float]
    uncertainty: Mapping[Metric, float] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for metric, value in self.objectives.items():
            if not math.isfinite(value):
                raise SearchStateError(
                    f"{metric.name} of candidate {self.genotype} is {value}: only finite values may be told; "
                    "tell nothing for a failed evaluation"
                )
        for metric, error in self.uncertainty.items():
            if not (math.isfinite(error) and error >= 0):
                raise SearchStateError(
                    f"uncertainty of {metric.name} of candidate {self.genotype} is {error}: give a finite value >= 0"
                )
        for name, amount in self.violations.items():
            if not (math.isfinite(amount) and amount > 0):
                raise SearchStateError(
                    f"violation {name!r} of candidate {self.genotype} is {amount}: give a finite one > 0 or none"
                )


@dataclass(frozen=True, slots=True)
class CheapCheck:
    """What a cheap filter found out about one genotype, without a board and without weights.

    Attributes:
        values: the cheap metrics it computed (MACs, params, ...).
        violations: name of each violated constraint with its relative size, > 0; empty when admissible.
    """

    values: Mapping[Metric, float]
    violations: Mapping[str, float]

    @property
    def feasible(self) -> bool:
        """Whether nothing is violated."""
        return not self.violations

    @property
    def total_violation(self) -> float:
        """Sum of the relative violations; 0 when feasible."""
        return float(sum(self.violations.values()))


class CheapFilter(Protocol):
    """Judges a canonical genotype before any board time is spent; must be a pure function of it."""

    def __call__(self, genotype: Genotype) -> CheapCheck:
        """The cheap metrics of `genotype` and the constraints it violates."""


def accept_all(genotype: Genotype) -> CheapCheck:
    """The filter of a search without cheap constraints."""
    del genotype
    return CheapCheck({}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProblem:
    """What is searched, for what, within what.

    Attributes:
        space: where genotypes come from.
        objectives: at least one; metrics are distinct.
        constraints: bounds on told metrics (accuracy, measured latency); cheap ones belong into `cheap_filter`.
        cheap_filter: refuses genotypes inside proposal generation.
        dominance: how NSGA-II and SCARLET's compare candidates: by values, or by their confidence intervals.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    cheap_filter: CheapFilter = accept_all
    dominance: Dominance = Dominance.POINT

    def __post_init__(self) -> None:
        metrics = [objective.metric for objective in self.objectives]
        if not metrics:
            raise EngineError("a search needs at least one objective: give one")
        if len(set(metrics)) != len(metrics):
            names = ", ".join(metric.name for metric in metrics)
            raise EngineError(f"objectives {names} repeat a metric: name each metric once")

    @property
    def observed_metrics(self) -> tuple[Metric, ...]:
        """Every metric a complete result must hold, each once."""
        wanted = [o.metric for o in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(wanted))

    def minimized(self, observation: Observation) -> tuple[float, ...]:
        """Objective values turned so that smaller is better; zeros where the architecture has none."""
        return tuple(
            o.minimized(observation.objectives[o.metric]) if o.metric in observation.objectives else 0.0
            for o in self.objectives
        )

    def standard_errors(self, observation: Observation) -> tuple[float, ...]:
        """Standard error per objective, in objective order; 0 where none is told."""
        return tuple(float(observation.uncertainty.get(o.metric, 0.0)) for o in self.objectives)

    def violation(self, observation: Observation) -> float:
        """Sum of relative violations, 0 when feasible."""
        bounded = sum(
            c.violation(observation.objectives[c.metric])
            for c in self.constraints
            if c.metric in observation.objectives
        )
        return float(bounded + sum(observation.violations.values()))

    def check_complete(self, observation: Observation) -> None:
        """Refuse a result that lacks a metric.

        Raises:
            SearchStateError: names the candidate and the metrics that are missing.
        """
        missing = [metric.name for metric in self.observed_metrics if metric not in observation.objectives]
        if missing and not observation.violations:
            raise SearchStateError(
                f"candidate {observation.genotype} is told without {', '.join(missing)}: tell it once every objective "
                "and constrained metric is known, or with the violations that make it infeasible"
            )


@dataclass(frozen=True, slots=True)
class Rejection:
    """A genotype that was offered (warm start) and not taken, with the reason."""

    genotype: Genotype
    reason: str


class SearchAlgorithm(Protocol):
    """Proposes candidates and learns from their results. Not thread-safe: one owner at a time."""

    @property
    def batch_size(self) -> int:
        """How many candidates complete the current generation; >= 1."""

    @property
    def generation(self) -> int:
        """Generations completed so far."""

    @property
    def exhausted(self) -> bool:
        """True once no further admissible genotype was found; a later ask answers with an empty list."""

    @property
    def pending(self) -> tuple[Genotype, ...]:
        """Asked and not told yet, in the order asked."""

    @property
    def num_asked(self) -> int:
        """Candidates asked so far."""

    @property
    def results(self) -> tuple[Observation, ...]:
        """Every result told and not withdrawn, revised values in place, in the order told."""

    @property
    def survivors(self) -> tuple[Genotype, ...]:
        """Observed candidates that what is asked next is compared with; () where the algorithm compares nothing."""

    @property
    def remeasures(self) -> bool:
        """Whether members of the front whose latency is noisy are measured once more before it goes on with them."""

    def predictors(self) -> Mapping[Metric, MetricPredictor] | None:
        """What it predicts with: fitted models of every observed metric that the cheap filter does not know.

        None where it has none, or too little to learn from: what candidates are expected to add is predicted by others.
        """

    def front(self) -> tuple[Observation, ...]:
        """The feasible non-dominated results of the whole search, in the order told."""

    def enqueue(self, genotypes: Sequence[Genotype]) -> tuple[Rejection, ...]:
        """Have these asked first (warm start). Returns those not taken, with the reason."""

    def ask(self, num: int) -> list[Genotype]:
        """At most `num` canonical genotypes, none ever asked before in this search; [] only when exhausted.

        Raises:
            InfeasibleError: no genotype satisfies the constraints; the message gives what was found.
        """

    def tell(self, results: Sequence[Observation]) -> None:
        """Learn the results of asked candidates. The order within one call does not matter.

        Raises:
            SearchStateError: a candidate was not asked, is told twice or lacks a metric; nothing is taken over then.
        """

    def revise(self, results: Sequence[Observation]) -> None:
        """Replace the values of told candidates (re-measured, or re-scored after supernet shifting). Raises as tell."""

    def withdraw(self, genotypes: Sequence[Genotype]) -> None:
        """Compare these told candidates with nothing any more: their values do not hold now. They are not asked again.

        After supernet shifting, those that were not scored with its new version.

        Raises:
            SearchStateError: a candidate was not told; nothing is withdrawn then.
        """

    def report(self) -> Mapping[str, JsonValue]:
        """What the algorithm says of itself, by topic; {} where it has nothing to say."""

    def pick_models(self, front: Sequence[Sequence[float]]) -> tuple[int, ...] | None:
        """Indices of the models it would take from a front of minimised objective values; None for all of them."""

    def state(self) -> JsonValue:
        """Everything needed to resume exactly, as JSON with a schema_version."""

    def load_state(self, state: JsonValue) -> None:
        """Resume from `state()` of an algorithm made with the same arguments.

        Raises:
            SearchStateError: another algorithm, space, objectives or settings, another schema, or a damaged document.
        """
