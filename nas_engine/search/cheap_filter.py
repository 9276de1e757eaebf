"""Cheap filters: what the layer graph tells for free (complexity bounds, operator support), or a table's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import is_cheap
from nas_engine.domain.objective import Constraint
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.graph_metrics import NO_SETTINGS, MetricSettings, graph_values
from nas_engine.search.algorithm import CheapCheck, CheapFilter
from nas_engine.spaces.tables.space import TableSpace

MetricsOf = Callable[[Genotype], Mapping[Metric, float]]
"""The cheap metrics of a canonical genotype."""

UnsupportedIn = Callable[[LayerGraph], Sequence[str]]
"""Names of the operators in a DEPLOYED graph that the target runtime cannot run."""

CACHE_SIZE = 65_536


class MetricFilter:
    """Bounds on cheap metrics; answers are kept for `CACHE_SIZE` genotypes."""

    def __init__(self, metrics_of: MetricsOf, constraints: Sequence[Constraint]) -> None:
        """See class.

        Args:
            metrics_of: a pure function of a canonical genotype (a layer-graph view, or a table's column).
            constraints: bounds on those metrics.
        """
        self._constraints = tuple(constraints)
        self._metrics_of = metrics_of
        self._cached = lru_cache(maxsize=CACHE_SIZE)(self._check)

    def __call__(self, genotype: Genotype) -> CheapCheck:
        """The cheap metrics of `genotype` and the bounds it violates.

        Raises:
            EngineError: a constrained metric is not among the cheap ones.
        """
        return self._cached(genotype)

    def _check(self, genotype: Genotype) -> CheapCheck:
        values = self._metrics_of(genotype)
        violations: dict[str, float] = {}
        for constraint in self._constraints:
            if constraint.metric not in values:
                raise EngineError(
                    f"constraint on {constraint.metric.name} cannot be checked before evaluation: cheap are "
                    f"{', '.join(metric.name for metric in values)}; pass it as a constraint of the search instead"
                )
            amount = constraint.violation(values[constraint.metric])
            if amount > 0.0:
                violations[constraint.metric.name] = violations.get(constraint.metric.name, 0.0) + amount
        return CheapCheck(values, violations)


class GraphFilter:
    """Bounds on metrics from the layer graph, and operator support of the DEPLOYED graph: no board time is spent."""

    def __init__(
        self,
        space: SearchSpace,
        constraints: Sequence[Constraint],
        unsupported_in: UnsupportedIn | None = None,
        *,
        wanted: Sequence[Metric] = (),
        settings: MetricSettings = NO_SETTINGS,
    ) -> None:
        """See class.

        Args:
            space: must have layer graphs.
            constraints: bounds on metrics from the layer graph.
            unsupported_in: the target runtime's verdict; None accepts every operator.
            wanted: further metrics from the layer graph whose values are asked for.
            settings: of the metrics.
        """
        self._space = space
        self._wanted = (*(constraint.metric for constraint in constraints if is_cheap(constraint.metric)), *wanted)
        self._settings = settings
        self._unsupported_in = unsupported_in
        self._bounds = MetricFilter(self.metrics, constraints)
        self._support = lru_cache(maxsize=CACHE_SIZE)(self._unsupported)

    def __call__(self, genotype: Genotype) -> CheapCheck:
        """The cheap metrics of `genotype`, the bounds it violates and whether an operator is unsupported."""
        check = self._bounds(genotype)
        unsupported = self._support(genotype)
        if not unsupported:
            return check
        return CheapCheck(check.values, {**check.violations, "operator_support": float(unsupported)})

    def metrics(self, genotype: Genotype) -> Mapping[Metric, float]:
        """Metrics of a genotype's DEPLOYED graph."""
        return graph_values(self._graph(genotype), self._wanted, self._settings)

    def _unsupported(self, genotype: Genotype) -> int:
        return 0 if self._unsupported_in is None else len(self._unsupported_in(self._graph(genotype)))

    def _graph(self, genotype: Genotype) -> LayerGraph:
        graph = self._space.graph(self._space.decode(genotype), Form.DEPLOYED)
        if graph is None:
            raise EngineError(
                f"space {self._space.space_id!r} has no layer graphs: bound its own columns with TableFilter"
            )
        return graph


class TableFilter:
    """Keeps a search among the rows of a table; bounds on MACs and the like are looked up in its columns."""

    def __init__(self, table: TableSpace, constraints: Sequence[Constraint]) -> None:
        self._table = table
        self._bounds = MetricFilter(self.metrics, constraints)

    def __call__(self, genotype: Genotype) -> CheapCheck:
        """The cheap columns of a row and the bounds it violates; a genotype without a row violates ``table_row``."""
        if not self._table.has_row(genotype):
            return CheapCheck({}, {"table_row": 1.0})
        return self._bounds(genotype)

    def metrics(self, genotype: Genotype) -> Mapping[Metric, float]:
        """The cheap columns of a row."""
        return {metric: found.value for metric, found in self._table.lookup(genotype).items() if is_cheap(metric)}


def filter_of(
    space: SearchSpace,
    constraints: Sequence[Constraint],
    unsupported_in: UnsupportedIn | None = None,
    *,
    wanted: Sequence[Metric] = (),
    settings: MetricSettings = NO_SETTINGS,
) -> CheapFilter:
    """The filter that suits a space: `TableFilter` for a table of results, else `GraphFilter`."""
    return (
        TableFilter(space, constraints)
        if isinstance(space, TableSpace)
        else GraphFilter(space, constraints, unsupported_in, wanted=wanted, settings=settings)
    )
