"""Any genotype of any space: counted, executed, extracted and exported alike; both forms equal where they may be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_engine.domain.layer_graph import BatchNorm, LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.domain.views.complexity import complexity
from nas_engine.evaluation.parity import measure_parity, require_parity
from nas_engine.export.random_weights import random_weights
from nas_engine.spaces.els import forms_differ, inherited_weights
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.execute import Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.subnet import extract
from tests.integration.supernet.test_mobilenet_attentive_parity import SMALL, counted_macs, images

CPU = torch.device("cpu")
DENSE = {
    "num_classes": 5,
    "input_size": 24,
    "stem_stride": 1,
    "block_channels": [6, 8, 12, 16, 20],
    "downsamplings": [0, 1, 1, 2, 2],
    "stages": [0, 1, 1, 2, 2, 3],
    "num_layers": [0, 2, 1, 2, 1],
    "max_connections": 2,
    "last_channels": 24,
}
SPACES: Mapping[str, SearchSpace] = {
    **SMALL,
    "densenas-mbv2": create_space("densenas-mbv2", {**DENSE, "stem_channels": 4}),
    "densenas-resnet": create_space("densenas-resnet", DENSE),
}


def genotypes(space: SearchSpace) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.integers(0, gene.num_choices - 1) for gene in space.genes))


def execute(graph: LayerGraph, weights: dict, statistics: dict[str, BatchStatistics], x: np.ndarray) -> torch.Tensor:
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}
    norm = Calibrated(CalibratedStatistics.from_values(statistics, CPU))
    with torch.no_grad():
        return forward(torch.from_numpy(x), graph, weights=tensors, norm=norm)


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_complexity_execution_extraction_and_export_agree_for_any_genotype(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    graph = space.graph(space.decode(data.draw(genotypes(space))), Form.DEPLOYED)
    assert graph is not None
    weights, statistics = random_weights(graph, 1)
    x = images(graph, 2)
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in weights.items()}
    module = extract(graph, tensors, statistics)
    cost = complexity(graph)
    assert counted_macs(module, torch.from_numpy(x)) == cost.macs
    assert sum(parameter.numel() for parameter in module.parameters()) == cost.params
    with torch.no_grad():
        torch.testing.assert_close(
            module(torch.from_numpy(x)), execute(graph, weights, statistics, x), rtol=1e-4, atol=1e-5
        )
    require_parity(measure_parity(graph, weights, statistics, x))


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_both_forms_answer_alike_wherever_they_are_equivalent(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    architecture = space.decode(data.draw(genotypes(space)))
    supernet, deployed = (space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    assert supernet is not None
    assert deployed is not None
    if forms_differ(supernet, deployed) is not None:
        # A derived ResNet has no 1x1 convolution before its classifier, and some skips of SCARLET cannot be merged.
        assert name in ("scarlet-s1", "scarlet-s2", "densenas-resnet")
        return
    assert name != "densenas-resnet"
    weights, statistics = random_weights(supernet, 2)
    used = {node.name: statistics[node.name] for node in deployed.of_type(BatchNorm)}
    x = images(supernet, 2)
    torch.testing.assert_close(
        execute(deployed, inherited_weights(supernet, deployed, weights), used, x),
        execute(supernet, weights, statistics, x),
        rtol=1e-3,
        atol=1e-4,
    )
