"""Values of metrics that are functions of the layer graph; whatever one of them does wrong is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metric import Metric, MetricDeclaration
from nas_engine.domain.metrics import all_metrics, declaration_of, graph_metrics
from nas_engine.domain.plugins.apart import is_kept_apart, process_of
from nas_engine.domain.plugins.door_survey import resolved
from nas_engine.domain.plugins.doors import Brought, Door, PluginError, described
from nas_engine.domain.plugins.guard import Guard
from nas_engine.domain.plugins.settings_document import settings_document
from nas_engine.domain.plugins.value_document import to_document

MetricSettings = Mapping[str, Any]
"""Settings of metrics by the metric's name, as their declarations type them; absent ones take the defaults."""

NO_SETTINGS: MetricSettings = {}

GRAPH_TIMEOUT_S = 10.0
"""Longest time a metric may take for one layer graph: ten thousand times what those that ship take."""

_COMPUTE = "nas_engine.settings.kinds.metrics:compute_metric"  # run in the process of the package

T = TypeVar("T")


def graph_value(metric: Metric, graph: LayerGraph, settings: Any = None) -> float:
    """Compute one metric of a DEPLOYED graph.

    Raises:
        PluginError: it cannot be imported, raised, hung, or gave no finite number within its bounds.
    """
    declaration = declaration_of(metric)
    brought = all_metrics().get(metric.name)
    if is_kept_apart() and not brought.is_built_in:
        return checked_value(declaration, _value_apart(brought, graph, settings))
    function = metric_function(declaration)
    if settings is None and declaration.settings is not None:
        settings = declaration.settings()

    def compute() -> float:
        return float(function(graph) if declaration.settings is None else function(graph, settings))

    if brought.is_built_in:
        return checked_value(declaration, compute())
    return checked_value(declaration, called(declaration, compute, GRAPH_TIMEOUT_S))


def _value_apart(brought: Brought[MetricDeclaration], graph: LayerGraph, settings: Any) -> float:
    """Have a metric computed in the process of its package."""
    argument: JsonValue = {"graph": to_document(graph), "settings": settings_document(settings)}
    process = process_of(Door.METRICS, MetricDeclaration, brought)

    def compute() -> float:
        return float(cast(float, process.ask("computing it", _COMPUTE, argument, GRAPH_TIMEOUT_S)))

    return _guard(brought.declaration).call("computing it", compute)


def graph_values(graph: LayerGraph, wanted: Iterable[Metric], settings: MetricSettings) -> dict[Metric, float]:
    """Compute what ships with hilnas, and what is wanted beside. Raises as `graph_value`."""
    own = [one.metric for one in graph_metrics() if all_metrics().get(one.name).is_built_in]
    return {metric: graph_value(metric, graph, settings.get(metric.name)) for metric in dict.fromkeys([*own, *wanted])}


def called(declaration: MetricDeclaration, compute: Callable[[], T], timeout_s: float) -> T:
    """Run what a package computes a metric with; after the first time that it hangs it is not asked again.

    Raises:
        PassingError: as something of ours raised it that the package was given.
        PluginError: it raised, or did not return in time.
    """

    def named() -> T:
        try:
            return compute()
        except EngineError as error:  # of ours, but in its hands
            raise PluginError(f"computing it raised {described(error)}") from error

    return _guard(declaration).call("computing it", named, timeout_s)


def checked_value(declaration: MetricDeclaration, value: float) -> float:
    """Return a finite value within the metric's bounds.

    Raises:
        PluginError: it is none.
    """
    if reason := within_bounds(declaration, value):
        raise PluginError(f"{metric_with_package(declaration)} {reason}")
    return value


def within_bounds(declaration: MetricDeclaration, value: float) -> str:
    """Say what is wrong with a value of a metric; empty where it is finite and within its bounds."""
    if math.isfinite(value) and declaration.minimum <= value <= declaration.maximum:
        return ""
    return f"gave {value}: it must be a finite number from {declaration.minimum:g} to {declaration.maximum:g}"


def metric_with_package(declaration: MetricDeclaration) -> str:
    """Name a metric with the package and version that it comes from."""
    return f"metric {declaration.name} of {all_metrics().get(declaration.name).provider}"


@lru_cache(maxsize=256)
def metric_function(declaration: MetricDeclaration) -> Callable[..., Any]:
    """Import what computes a metric, once per process; what a package brings after another process has imported it.

    Raises:
        PluginError: it cannot be imported, or does not import in time.
    """
    brought = all_metrics().get(declaration.name)
    function: Callable[..., Any] = (
        declaration.resolve() if brought.is_built_in else resolved(Door.METRICS, MetricDeclaration, brought)
    )
    return function


@lru_cache(maxsize=256)
def _guard(declaration: MetricDeclaration) -> Guard:
    return Guard(all_metrics().get(declaration.name))
