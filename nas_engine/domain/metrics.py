"""The registry of metrics: those that ship with hilnas, and those that others bring."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from nas_engine.domain.metric import Goal, Metric, MetricDeclaration, MetricSource
from nas_engine.domain.plugins.doors import Brought, Declared, Door, PluginError, declared
from nas_engine.domain.plugins.survey import surveyed_door

_COMPLEXITY = "nas_engine.domain.views.complexity"
_ACCURACY = "nas_engine.evaluation.accuracy:evaluate"

ON_BOARD = "@"
"""Between the name of a metric and the board that it is measured on, where a search has several."""

BUILT_IN = (
    MetricDeclaration(
        name="top1",
        title="Accuracy on validation images, with the supernet's weights.",
        unit="fraction",
        goal=Goal.MAXIMIZE,
        source=MetricSource.EVALUATED,
        implementation=_ACCURACY,
        minimum=0.0,
        maximum=1.0,
        label="top-1, validation images",
        column="validation top1",
        words="validation accuracy",
    ),
    MetricDeclaration(
        name="test_top1",
        title="Accuracy on test images, for the front of a search that is over.",
        unit="fraction",
        goal=Goal.MAXIMIZE,
        source=MetricSource.EVALUATED,
        implementation=_ACCURACY,
        minimum=0.0,
        maximum=1.0,
        searched=False,
        label="top-1, test images",
        column="test top1",
        words="test accuracy",
    ),
    MetricDeclaration(
        name="device_top1",
        title="Accuracy on test images as the search's device answers them.",
        unit="fraction",
        goal=Goal.MAXIMIZE,
        source=MetricSource.MEASURED,
        minimum=0.0,
        maximum=1.0,
        searched=False,
        label="top-1, test images, on the device",
        column="device_top1",
        words="accuracy on the device",
    ),
    MetricDeclaration(
        name="latency_us",
        title="Median latency of one inference on the search's device.",
        unit="us",
        goal=Goal.MINIMIZE,
        source=MetricSource.MEASURED,
        minimum=0.0,
        label="latency, p50",
        column="latency p50",
        words="latency",
    ),
    MetricDeclaration(
        name="macs",
        title="Multiply-accumulate operations of one inference.",
        unit="macs",
        goal=Goal.MINIMIZE,
        source=MetricSource.GRAPH,
        implementation=f"{_COMPLEXITY}:macs",
        minimum=0.0,
        label="MACs",
    ),
    MetricDeclaration(
        name="params",
        title="Trainable weights.",
        unit="params",
        goal=Goal.MINIMIZE,
        source=MetricSource.GRAPH,
        implementation=f"{_COMPLEXITY}:params",
        minimum=0.0,
        label="params",
    ),
    MetricDeclaration(
        name="peak_activation_bytes",
        title="Largest sum of activations alive at once, in float32.",
        unit="bytes",
        goal=Goal.MINIMIZE,
        source=MetricSource.GRAPH,
        implementation=f"{_COMPLEXITY}:peak_activation_bytes",
        minimum=0.0,
        label="peak activations",
        column="peak activations",
        listed=False,
    ),
)


@lru_cache(maxsize=1)
def all_metrics() -> Declared[MetricDeclaration]:
    """Read every metric there is, built-in first; once per process.

    What installed packages bring is looked at in a process of its own before it is imported here.
    """
    refused = surveyed_door(Door.METRICS, [one.name for one in BUILT_IN]).problems
    return declared(Door.METRICS, MetricDeclaration, BUILT_IN, refused=refused)


def declarations() -> tuple[MetricDeclaration, ...]:
    """List every metric that can be used."""
    return tuple(brought.declaration for brought in all_metrics().brought.values())


def brought_metric(name: str) -> Brought[MetricDeclaration] | None:
    """Find what is installed under the name of a metric; None where nothing is.

    `latency_us@rk3588` is what `latency_us` is, of one of several boards: declared alike, called by the board too.
    """
    found = all_metrics().brought.get(name)
    base, separator, board = name.partition(ON_BOARD)
    if found is not None or not separator:
        return found
    if base != LATENCY_US.name:
        return None
    of_any = all_metrics().get(base)
    one = of_any.declaration
    label, column, words = (f"{said} on {board}" for said in (one.label, one.column, one.words))
    return Brought(replace(one, name=name, label=label, column=column, words=words), of_any.provider)


def latency_on(board: str) -> Metric:
    """Name the latency on one of several boards: `latency_us@rk3588`."""
    return Metric(f"{LATENCY_US.name}{ON_BOARD}{board}", LATENCY_US.unit, LATENCY_US.goal)


def board_named_by(name: str) -> str:
    """Read the board that the name of a metric ends with; empty where it names none."""
    return name.partition(ON_BOARD)[2]


def is_latency(metric: Metric) -> bool:
    """Whether a metric is the latency on a search's device, or on one of its further boards."""
    return metric.name.partition(ON_BOARD)[0] == LATENCY_US.name


def declaration_of(metric: Metric) -> MetricDeclaration:
    """Find the declaration of a metric.

    Raises:
        PluginError: it is not installed, or cannot be used.
    """
    return (brought_metric(metric.name) or all_metrics().get(metric.name)).declaration


def metric_named(name: str) -> Metric:
    """Find a metric by its name.

    Raises:
        PluginError: there is none, or its package cannot be used.
    """
    found = all_metrics()
    if name not in found.brought and not any(problem.name == name for problem in found.problems):
        raise PluginError(f"unknown metric {name!r}: use one of {', '.join(found.brought)}")
    return found.get(name).declaration.metric


def stored_metric(name: str) -> Metric:
    """Find the metric that a stored row names; of one that is gone only the name is known."""
    brought = brought_metric(name)
    return Metric(name, "", Goal.MINIMIZE) if brought is None else brought.declaration.metric


def declared_metric(name: str) -> MetricDeclaration | None:
    """Find what is declared of a metric that a stored row or an answer names; None where it is not installed."""
    brought = brought_metric(name)
    return None if brought is None else brought.declaration


def column_for(metric: Metric) -> str:
    """What columns and axes call a metric; its name where it is not installed."""
    one = declared_metric(metric.name)
    return metric.name if one is None else one.column


def words_for(metric: Metric) -> str:
    """What sentences call a metric; its name where it is not installed."""
    one = declared_metric(metric.name)
    return metric.name if one is None else one.words


def is_cheap(metric: Metric) -> bool:
    """Whether a metric is known before a candidate is evaluated."""
    brought = brought_metric(metric.name)
    return brought is not None and brought.declaration.is_cheap


def is_evaluated(metric: Metric) -> bool:
    """Whether a worker evaluates a metric, with a supernet's weights."""
    brought = brought_metric(metric.name)
    return brought is not None and brought.declaration.source is MetricSource.EVALUATED


def is_measured(name: str) -> bool:
    """Whether devices measure the metric of this name."""
    one = declared_metric(name)
    return one is not None and one.source is MetricSource.MEASURED


def is_searched(metric: Metric) -> bool:
    """Whether a search may look at a metric."""
    brought = brought_metric(metric.name)
    return brought is not None and brought.declaration.searched


def accuracy_on(split: str) -> Metric:
    """Find the accuracy on one kind of held-out images, `validation` or `test`."""
    return next(one.metric for one in BUILT_IN if one.implementation == _ACCURACY and one.split == split)


def searched_names() -> tuple[str, ...]:
    """List the names that objectives, constraints, filters and orders may use."""
    return tuple(one.name for one in declarations() if one.searched)


def graph_metrics() -> tuple[MetricDeclaration, ...]:
    """List the metrics that are functions of the layer graph."""
    return tuple(one for one in declarations() if one.is_cheap)


TOP1, TEST_TOP1, DEVICE_TOP1, LATENCY_US, MACS, PARAMS, PEAK_ACTIVATION_BYTES = (one.metric for one in BUILT_IN)

ACCURACIES = tuple(one.metric for one in BUILT_IN if one.implementation == _ACCURACY)
"""Metrics whose evaluation says of each image whether it was classified correctly: differences are paired by image."""
