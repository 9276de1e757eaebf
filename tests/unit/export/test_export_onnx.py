"""The exporter writes valid, reproducible ONNX and refuses what it cannot represent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from nas_engine.domain.errors import ExportError, WeightsError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import ActivationKind, BatchNorm, LayerGraph
from nas_engine.export.batch_norm import foldable
from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin
from nas_engine.export.onnx import IR_VERSION, OPSET, export_onnx
from nas_engine.export.onnx_check import inspect_onnx
from nas_engine.export.random_weights import random_weights
from tests.support.samples.sample_graphs import INIT, every_node_graph, small_shufflenet, training_graph

METADATA = ModelMetadata(arch_id="a" * 64, latency_key="b" * 64, weights=WeightOrigin.RANDOM)


def _export(graph: LayerGraph, seed: int = 0, batch: int = 1) -> bytes:
    weights, statistics = random_weights(graph, seed)
    return export_onnx(graph, weights, statistics, batch=batch, metadata=METADATA)


@pytest.mark.parametrize("graph", [every_node_graph(), small_shufflenet()], ids=["every-node", "shufflenet"])
def test_the_export_passes_the_onnx_checker_with_static_shapes_and_the_pinned_versions(graph: LayerGraph) -> None:
    summary = inspect_onnx(_export(graph, batch=2))
    assert (summary.opset, summary.ir_version) == (OPSET, IR_VERSION) == (17, 10)
    assert summary.inputs[0].shape == (2, *graph.input_shape)
    assert summary.outputs[0].shape == (2, *graph.output_shape)
    assert summary.metadata == METADATA.entries()


@pytest.mark.parametrize("graph", [every_node_graph(), small_shufflenet()], ids=["every-node", "shufflenet"])
def test_the_bytes_are_what_protobuf_itself_would_write(graph: LayerGraph) -> None:
    data = _export(graph)
    assert onnx.load_model_from_string(data).SerializeToString(deterministic=True) == data


def test_equal_inputs_give_equal_bytes_and_other_weights_give_others() -> None:
    graph = small_shufflenet()
    assert _export(graph) == _export(graph)
    assert _export(graph, seed=1) != _export(graph)


def test_batch_normalisation_is_folded_where_a_convolution_feeds_only_it() -> None:
    graph = every_node_graph()
    operators = inspect_onnx(_export(graph)).operators
    assert len(foldable(graph)) == 2
    assert operators["BatchNormalization"] == len(list(graph.of_type(BatchNorm))) - 2 == 1


def test_batch_normalisation_stays_where_the_convolution_is_read_by_another_node() -> None:
    g = GraphBuilder((2, 4, 4))
    conv = g.conv(g.input, "conv", out=2, kernel=1, init=INIT)
    graph = g.build(g.add((conv, g.batch_norm(conv, "bn", affine=True)), "add"))
    assert foldable(graph) == {}
    assert inspect_onnx(_export(graph)).operators["BatchNormalization"] == 1


def test_a_convolution_that_is_itself_the_answer_is_not_folded_away() -> None:
    g = GraphBuilder((2, 4, 4))
    conv = g.conv(g.input, "conv", out=2, kernel=1, init=INIT)
    g.batch_norm(conv, "bn", affine=True)
    assert foldable(g.build(conv)) == {}


def test_a_channel_split_holds_no_slice_with_a_step() -> None:
    operators = inspect_onnx(_export(small_shufflenet())).operators
    assert "Slice" not in operators
    assert operators["Gather"] == 4  # two stride-1 blocks, two halves each


def test_onnx_nodes_and_values_keep_the_names_of_the_layer_graph() -> None:
    graph = small_shufflenet()
    model = onnx.load_model_from_string(_export(graph))
    names = {node.name for node in graph.nodes}
    assert {node.name for node in model.graph.node} <= names
    assert model.graph.input[0].name == graph.nodes[0].name
    assert model.graph.output[0].name == graph.nodes[graph.output].name


def test_training_only_nodes_are_lowered_to_what_they_do_outside_training() -> None:
    graph = training_graph()
    weights, statistics = random_weights(graph, 0)
    data = export_onnx(graph, weights, statistics, coefficients={"w": np.array([0.25, 0.75], np.float32)})
    operators = inspect_onnx(data).operators
    assert operators["Mul"] == 2
    assert "Dropout" not in operators


def test_a_missing_coefficient_is_named() -> None:
    graph = training_graph()
    weights, statistics = random_weights(graph, 0)
    with pytest.raises(WeightsError, match=r"mix: no coefficient w\[1\]"):
        export_onnx(graph, weights, statistics, coefficients={"w": np.ones(1, np.float32)})


def test_missing_misshapen_and_non_finite_weights_are_refused_by_name() -> None:
    graph = small_shufflenet()
    weights, statistics = random_weights(graph, 0)
    with pytest.raises(WeightsError, match=r"'stem\.conv\.weight' is missing"):
        export_onnx(graph, {k: v for k, v in weights.items() if k != "stem.conv.weight"}, statistics)
    with pytest.raises(WeightsError, match=r"has shape \(3,\)"):
        export_onnx(graph, weights | {"stem.conv.weight": np.ones(3, np.float32)}, statistics)
    broken = weights["stem.conv.weight"].copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(WeightsError, match=r"stem\.conv\.weight holds NaN"):
        export_onnx(graph, weights | {"stem.conv.weight": broken}, statistics)


def test_missing_statistics_are_refused_by_name() -> None:
    graph = small_shufflenet()
    weights, statistics = random_weights(graph, 0)
    del statistics["stem.bn"]
    with pytest.raises(WeightsError, match=r"stem\.bn"):
        export_onnx(graph, weights, statistics)


def test_a_batch_below_one_and_an_empty_network_are_refused() -> None:
    graph = small_shufflenet()
    with pytest.raises(ExportError, match="batch is 0"):
        _export(graph, batch=0)
    with pytest.raises(ExportError, match="nothing to export"):
        _export(LayerGraph(graph.nodes[:1], 0))


def test_two_values_of_one_name_are_refused() -> None:
    g = GraphBuilder((2, 4, 4))
    x = g.conv(g.input, "conv", out=2, kernel=1, init=INIT)
    graph = g.build(g.activation(x, "conv.weight", ActivationKind.RELU))
    with pytest.raises(ExportError, match=r"'conv\.weight' would stand twice"):
        _export(graph)


def test_a_normalisation_that_would_divide_by_zero_is_refused() -> None:
    g = GraphBuilder((2, 4, 4))
    x = g.conv(g.input, "conv", out=2, kernel=1, init=INIT)
    graph = g.build(g.batch_norm(x, "bn", affine=True, eps=0.0))
    weights, statistics = random_weights(graph, 0)
    zero = replace(statistics["bn"], variance=np.zeros(2, np.float32))
    with pytest.raises(ExportError, match=r"bn: variance \+ eps is 0"):
        export_onnx(graph, weights, {"bn": zero})
