"""SCARLET and AttentiveNAS sub-networks: one network in torch, as a stand-alone module, and in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.domain.views.complexity import complexity
from nas_engine.evaluation.parity import measure_parity, require_parity
from nas_engine.export.operators import npu_fallbacks
from nas_engine.export.random_weights import random_weights
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.execute import Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.subnet import extract

CPU = torch.device("cpu")
SCARLET_SMALL = {
    "num_classes": 5,
    "input_size": 24,
    "stem_stride": 1,
    "stem_channels": 4,
    "first_channels": 4,
    "stage_channels": [6, 8, 10],
    "stage_repeats": [1, 3, 2],
    "stage_strides": [2, 2, 1],
    "tail_channels": 12,
}
SMALL: Mapping[str, SearchSpace] = {
    "scarlet-s1": create_space("scarlet-s1", SCARLET_SMALL),
    "scarlet-s2": create_space("scarlet-s2", SCARLET_SMALL),
    "attentivenas": create_space(
        "attentivenas",
        {
            "num_classes": 5,
            "resolutions": [22, 24],
            "stem_channels": [4, 8],
            "stage_channels": [[4, 8], [8, 12], [12, 16]],
            "stage_depths": [[1, 2], [1, 2], [1, 2]],
            "stage_kernels": [[3, 5], [3, 5], [3, 5]],
            "stage_expand_ratios": [[1], [3, 4], [4]],
            "stage_strides": [1, 2, 2],
            "stage_squeeze_excite": [False, True, True],
            "head_channels": [8, 16],
        },
    ),
    "spos": create_space(
        "spos", {"num_classes": 10, "input_size": 32, "stage_channels": [32, 64], "stage_repeats": [3, 2]}
    ),
}


def deployed(space: SearchSpace, document: object) -> LayerGraph:
    graph = space.graph(space.parse(document), Form.DEPLOYED)
    assert graph is not None
    return graph


def samples() -> list[tuple[str, tuple[int, ...]]]:
    rng = np.random.default_rng(7)
    return [(name, sample_genotype(space.genes, rng)) for name, space in SMALL.items() for _ in range(4)]


def images(graph: LayerGraph, num: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num, *graph.input_shape)).astype(np.float32)


def counted_macs(module: nn.Module, x_NCHW: torch.Tensor) -> int:
    """Multiply-accumulates of one forward pass, counted by hooks on torch's own layers."""
    counts: list[int] = []

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        counts.append(layer.weight.numel() * output[0].numel() // output.shape[1])

    hooks = [
        layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        module(x_NCHW)
    for hook in hooks:
        hook.remove()
    return sum(counts)


@pytest.mark.parametrize(("name", "genotype"), samples())
def test_execution_extracted_module_and_exported_network_agree(name: str, genotype: tuple[int, ...]) -> None:
    graph = deployed(SMALL[name], list(genotype))
    weights, statistics = random_weights(graph, 1)
    x = images(graph, 3)
    require_parity(measure_parity(graph, weights, statistics, x))

    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in weights.items()}
    module = extract(graph, tensors, statistics)
    calibrated = Calibrated(CalibratedStatistics.from_values(statistics, CPU))
    with torch.no_grad():
        executed = forward(torch.from_numpy(x), graph, weights=tensors, norm=calibrated)
        torch.testing.assert_close(module(torch.from_numpy(x)), executed, rtol=1e-4, atol=1e-5)

    cost = complexity(graph)
    assert counted_macs(module, torch.from_numpy(x)) == cost.macs
    assert sum(parameter.numel() for parameter in module.parameters()) == cost.params


@pytest.mark.parametrize(
    ("space", "name"), [("scarlet-s1", "fairnas-a"), ("scarlet-s2", "scarlet-b"), ("attentivenas", "alphanet-a0")]
)
def test_published_models_export_and_run_wholly_on_the_npu(space: str, name: str) -> None:
    graph = deployed(create_space(space), name)
    weights, statistics = random_weights(graph, 1)
    require_parity(measure_parity(graph, weights, statistics, images(graph, 1)))
    assert npu_fallbacks(graph) == ()


def test_the_smallest_scarlet_network_exports_its_strided_skips() -> None:
    graph = deployed(create_space("scarlet-s2"), "all-identity")
    weights, statistics = random_weights(graph, 1)
    require_parity(measure_parity(graph, weights, statistics, images(graph, 2)))
