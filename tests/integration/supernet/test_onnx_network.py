"""Held-out images classified by ONNX Runtime: torch's answers, and torch itself where it cannot stand for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas_engine.domain.errors import InvalidGraphError, WeightsError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.evaluation.accuracy import classify, predict
from nas_engine.evaluation.onnx_network import OnnxNetwork, onnx_network
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.strategies.strategy import ImageBatch
from tests.integration.supernet.test_mobilenet_attentive_parity import SMALL
from tests.support.samples.training_run import tiny_space, tiny_weights

CPU = torch.device("cpu")


def _images(graph: LayerGraph, num_images: int, seed: int = 0) -> torch.Tensor:
    x_NCHW = torch.randn((num_images, *graph.input_shape), generator=torch.Generator().manual_seed(seed))
    return x_NCHW.contiguous(memory_format=torch.channels_last)


def _graph(space: SearchSpace, seed: int) -> LayerGraph:
    graph = space.graph(space.decode(sample_genotype(space.genes, np.random.default_rng(seed))), Form.SUPERNET)
    assert graph is not None
    return graph


def _weights(space: SearchSpace) -> WeightStore:
    return WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(1))


def _network(graph: LayerGraph, weights: WeightStore) -> tuple[OnnxNetwork | None, Calibrated]:
    statistics = CalibratedStatistics.from_values(calibrate(graph, weights, [_images(graph, 16, seed=9)]), CPU)
    return onnx_network(graph, weights, statistics), Calibrated(statistics)


@pytest.mark.parametrize("name", SMALL)
def test_both_give_the_same_logits_for_batches_of_any_size(name: str) -> None:
    graph, weights = _graph(SMALL[name], 3), _weights(SMALL[name]).to(CPU, channels_last=True)
    network, norm = _network(graph, weights)
    assert network is not None
    for num_images in (5, 2):
        x_NCHW = _images(graph, num_images)
        with torch.no_grad():
            expected = forward(x_NCHW, graph, weights=weights, norm=norm)
        np.testing.assert_allclose(network.logits(x_NCHW), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_logits_beyond_float32_are_refused() -> None:
    space = tiny_space()
    graph, weights = _graph(space, 0), tiny_weights(space)
    with torch.no_grad():
        weights["head.linear.weight"].fill_(3e38)
    network, norm = _network(graph, weights)
    assert network is not None
    batch = ImageBatch(_images(graph, 4), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(WeightsError, match="a logit is not finite"):
        classify(graph, weights, norm, [batch])
    with pytest.raises(WeightsError, match="a logit is not finite"):
        predict(graph, weights, norm, [batch.images_NCHW])


def test_images_with_other_channels_are_refused_as_torch_refuses_them() -> None:
    space = tiny_space()
    graph = _graph(space, 0)
    network, _ = _network(graph, tiny_weights(space))
    assert network is not None
    with pytest.raises(InvalidGraphError, match="resize them before execution"):
        network.logits(torch.zeros((1, graph.input_shape[0] + 1, *graph.input_shape[1:])))


def test_torch_does_what_needs_coefficients_or_another_arithmetic() -> None:
    space = tiny_space()
    graph, weights = _graph(space, 0), tiny_weights(space)
    _, norm = _network(graph, weights)
    halves = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    assert onnx_network(graph, halves, norm.statistics) is None
    densenas = create_space("densenas-resnet", {"num_classes": 10})
    (routed, *_) = densenas.supernet_graphs()
    assert onnx_network(routed, {}, norm.statistics) is None
