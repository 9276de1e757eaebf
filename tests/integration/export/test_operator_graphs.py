"""Operators can be cut out of an architecture, and what would leave the NPU is named."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidGraphError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import Input, LayerGraph
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.domain.views.operator_graphs import cut_operators
from nas_engine.evaluation.parity import run_onnx
from nas_engine.export.onnx import export_onnx
from nas_engine.export.operators import npu_fallbacks
from nas_engine.export.random_weights import random_weights
from tests.support.samples.sample_graphs import INIT, every_node_graph, small_shufflenet, training_graph


@pytest.mark.parametrize("graph", [small_shufflenet(), every_node_graph()], ids=["shufflenet", "every-node"])
def test_chained_operators_compute_what_the_whole_network_computes(graph: LayerGraph) -> None:
    weights, statistics = random_weights(graph, 0)
    x = np.random.default_rng(2).standard_normal((1, *graph.input_shape), dtype=np.float32)
    whole = run_onnx(export_onnx(graph, weights, statistics), x)
    for part in cut_operators(graph):
        x = run_onnx(export_onnx(part.graph, weights, statistics), x)
    np.testing.assert_allclose(x, whole, rtol=1e-4, atol=1e-5)


def test_operators_keep_labels_and_add_up_to_the_whole() -> None:
    graph = small_shufflenet()
    parts = cut_operators(graph)
    assert [(part.block, part.operator) for part in parts][:3] == [
        ("stem", "conv3"),
        ("stage0.block0", "shuffle3"),
        ("stage0.block1", "shuffle5"),
    ]
    assert sum(complexity(part.graph).macs for part in parts) == complexity(graph).macs
    assert sum(len(part.graph.nodes) - 1 for part in parts) == len(graph.nodes) - 1


def test_equal_operators_of_different_architectures_share_a_latency_key() -> None:
    first, second = cut_operators(small_shufflenet((0, 1, 2, 3))), cut_operators(small_shufflenet((0, 1, 3, 3)))
    keys = [[latency_key(p.graph, batch=1, dtype=Dtype.FP16) for p in parts] for parts in (first, second)]
    assert [a == b for a, b in zip(*keys, strict=True)] == [True, True, True, False, True, True, True]


def test_an_operator_that_reads_two_values_cannot_stand_alone() -> None:
    g = GraphBuilder((2, 4, 4))
    with g.labelled("a", "conv"):
        a = g.conv(g.input, "a", out=2, kernel=1, init=INIT)
    with g.labelled("b", "add"):
        b = g.add((a, g.input), "b")
    with pytest.raises(InvalidGraphError, match="operator 'add' of block 'b' reads 2"):
        cut_operators(g.build(b))


def test_the_spos_network_stays_on_the_npu() -> None:
    assert npu_fallbacks(small_shufflenet()) == ()


def test_nodes_that_leave_the_npu_are_named_with_a_remedy() -> None:
    (fallback,) = npu_fallbacks(every_node_graph())
    assert fallback.node == "block2.mean"
    assert "count_include_pad" in fallback.reason

    g = GraphBuilder((2, 8, 8))
    strided = g.build(g.slice(g.input, "half", start=0, stop=8, step=2, axis=1))
    assert [f.node for f in npu_fallbacks(strided)] == ["half"]


def test_training_only_nodes_are_reported() -> None:
    names = {fallback.node for fallback in npu_fallbacks(training_graph())}
    assert names == {"mix", "b.drop", "dropout"}


def test_the_input_alone_has_no_operator() -> None:
    g = GraphBuilder((1, 4, 4))
    graph = LayerGraph((Input(name="x", inputs=(), shape=(1, 4, 4), block="input", operator="input"),), 0)
    assert cut_operators(graph) == cut_operators(g.build(g.input)) == ()
