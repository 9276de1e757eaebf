"""Metrics that packages bring, as the process that looks at packages describes them and tries them out."""

from __future__ import annotations

import sys
from typing import Any, cast

from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import ZEROS, ActivationKind, Init, InitKind, LayerGraph
from nas_engine.domain.metric import MetricDeclaration
from nas_engine.domain.plugins.door_survey import HEAVY_MODULES
from nas_engine.domain.plugins.doors import PluginError, described
from nas_engine.domain.plugins.value_document import from_document
from nas_engine.domain.views.graph_metrics import within_bounds
from nas_engine.settings.kinds.declared import SettingsError, read_settings, settings_schema


def describe_metric(declaration: MetricDeclaration, argument: JsonValue) -> JsonValue:
    """Describe the settings of a metric; one from the layer graph is computed once, of a small network.

    Raises:
        PluginError: it raises, gives no finite number within its bounds, or imports what servers must not hold.
    """
    del argument
    schema = settings_schema(declaration)
    if declaration.is_cheap:
        _try_out(declaration)
    return schema


def compute_metric(declaration: MetricDeclaration, argument: JsonValue) -> JsonValue:
    """Compute a metric of one layer graph; in the process of its package.

    Raises:
        SettingsError: the settings are none that it takes.
    """
    asked = cast("dict[str, Any]", argument)
    settings, function = read_settings(declaration, asked["settings"]), declaration.resolve()
    graph = from_document(asked["graph"])
    return float(function(graph) if declaration.settings is None else function(graph, settings))


def _try_out(declaration: MetricDeclaration) -> None:
    try:
        settings = read_settings(declaration, {})
    except SettingsError:
        return  # some have no default: it is tried where it is first used
    before = set(sys.modules)
    function, graph = declaration.resolve(), _small_network()
    if heavy := [module for module in HEAVY_MODULES if module in sys.modules and module not in before]:
        raise PluginError(f"{declaration.implementation} imports {', '.join(heavy)}: servers hold it, use numpy")
    try:
        value = float(function(graph) if declaration.settings is None else function(graph, settings))
    except Exception as error:
        raise PluginError(f"tried on a small network, it raised {described(error)}") from error
    if reason := within_bounds(declaration, value):
        raise PluginError(f"tried on a small network, it {reason}")


def _small_network() -> LayerGraph:
    """A stem, a residual block with a depthwise convolution, and a head."""
    g, init = GraphBuilder((3, 16, 16)), Init(InitKind.NORMAL, 0.1)
    x = g.conv(g.input, "stem.conv", out=8, kernel=3, stride=2, init=init)
    x = g.activation(g.batch_norm(x, "stem.bn", affine=True), "stem.relu", ActivationKind.RELU)
    with g.labelled("block", "depthwise"):
        y = g.conv(x, "block.depthwise", out=8, kernel=3, stride=1, groups=8, init=init)
        x = g.add((x, g.batch_norm(y, "block.bn", affine=True)), "block.add")
    x = g.flatten(g.global_avg_pool(x, "head.pool"), "head.flatten")
    return g.build(g.linear(x, "head.linear", out=4, init=init, bias=ZEROS))
