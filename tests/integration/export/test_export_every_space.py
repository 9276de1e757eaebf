"""Sub-networks of every registered space export, agree with torch in both forms, and stay on the NPU."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.layer_graph import LayerGraph, WeightedSum
from nas_engine.domain.search_space import Form, sample_genotype
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.operator_graphs import cut_operators
from nas_engine.evaluation.parity import measure_parity, require_parity
from nas_engine.export.operators import npu_fallbacks
from nas_engine.export.random_weights import random_weights
from nas_engine.spaces.registry import create_space, space_ids

WITHOUT_GRAPHS = {"table"}
SPACES = sorted(set(space_ids()) - WITHOUT_GRAPHS)


def _graph(space_id: str, form: Form) -> LayerGraph:
    space = create_space(space_id)
    graph = space.graph(space.decode(sample_genotype(space.genes, np.random.default_rng(7))), form)
    assert graph is not None
    return graph


@pytest.mark.parametrize("space_id", SPACES)
@pytest.mark.parametrize("form", Form)
def test_a_random_architecture_agrees_with_torch(space_id: str, form: Form) -> None:
    graph = _graph(space_id, form)
    rng = np.random.default_rng(3)
    weights, statistics = random_weights(graph, 0)
    longest: dict[str, int] = {}
    for node in graph.of_type(WeightedSum):
        for ref in node.coefficients:
            longest[ref.name] = max(longest.get(ref.name, 0), ref.index + 1)
    coefficients = {name: rng.uniform(0.1, 0.9, size).astype(np.float32) for name, size in longest.items()}
    images = rng.standard_normal((1, *graph.input_shape), dtype=np.float32)
    require_parity(measure_parity(graph, weights, statistics, images, coefficients=coefficients))


@pytest.mark.parametrize("space_id", SPACES)
def test_a_deployed_architecture_stays_on_the_npu_and_can_be_cut_into_operators(space_id: str) -> None:
    graph = _graph(space_id, Form.DEPLOYED)
    assert npu_fallbacks(graph) == ()
    assert sum(complexity(part.graph).macs for part in cut_operators(graph)) == complexity(graph).macs
