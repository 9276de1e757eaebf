"""Published DenseNAS networks at full size: MACs counted while running, the subnet module and ONNX agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.evaluation.parity import measure_parity, require_parity
from nas_engine.export.random_weights import random_weights
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.subnet import extract

MODELS = [
    ("densenas-mbv2", "densenas-a"),
    ("densenas-mbv2", "densenas-c"),
    ("densenas-resnet", "densenas-r1"),
    ("densenas-resnet", "densenas-r3"),
]


def counted_macs(module: nn.Module, x_NCHW: torch.Tensor) -> int:
    """Multiply-accumulates of one image, counted by forward hooks."""
    total = 0

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer.weight, torch.Tensor)
        positions = output[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        total += layer.weight.numel() * positions

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        module(x_NCHW)
    return total


@pytest.mark.parametrize(("space_id", "name"), MODELS, ids=[name for _, name in MODELS])
def test_a_published_network_runs_as_module_and_as_onnx(space_id: str, name: str) -> None:
    space = create_space(space_id, {"num_classes": 10})
    graph = space.graph(space.parse(name), Form.DEPLOYED)
    assert graph is not None
    weights, statistics = random_weights(graph, seed=0)
    module = extract(graph, {n: torch.from_numpy(w) for n, w in weights.items()}, statistics)
    x_NCHW = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    cost = complexity(graph)
    assert counted_macs(module, torch.from_numpy(x_NCHW)) == cost.macs
    assert sum(p.numel() for p in module.parameters()) == cost.params
    require_parity(measure_parity(graph, weights, statistics, x_NCHW))
