"""Blocks that are computed again in the backward pass: the same gradients, and nothing happens twice."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
import torch

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, sample_genotype
from nas_engine.domain.views.training_memory import Trained
from nas_engine.settings.strategies import UniformSettings
from nas_engine.spaces.densenas.routing_weights import initial_logits, sample_operators
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.execute import BATCH, Norm, Running, forward
from nas_engine.supernet.norm_statistics import RunningStatistics
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.loop import train
from nas_engine.training.strategies.paths import decoded_graph
from nas_engine.training.strategies.uniform import UniformStrategy
from tests.integration.engine_training.test_differentiable_search import MBV2
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import tiny_config, tiny_space, tiny_weights


def doubled(weights: WeightStore) -> WeightStore:
    """The same weights in float64, each a leaf of its own."""
    copies = {name: tensor.detach().double().requires_grad_() for name, tensor in weights.items()}
    return WeightStore(copies, weights.roles, weights.running)


def gradients(
    graph: LayerGraph, weights: WeightStore, norm: Norm, recomputed: Collection[str]
) -> dict[str, torch.Tensor]:
    own = doubled(weights)
    rng = torch.Generator().manual_seed(3)
    x_NCHW = torch.randn((4, *graph.input_shape), generator=rng, dtype=torch.float64)
    logits_NK = forward(x_NCHW, graph, weights=own, norm=norm, training=True, rng=rng, recomputed=recomputed)
    torch.nn.functional.cross_entropy(logits_NK, torch.tensor([0, 1, 2, 0])).backward()
    return {name: tensor.grad for name, tensor in own.items() if tensor.grad is not None}


def all_blocks(graph: LayerGraph) -> set[str]:
    return {node.block for node in graph.nodes[1:]}


@pytest.mark.parametrize(
    ("space_id", "parameters"),
    [("spos", {"input_size": 32}), ("attentivenas", {"resolutions": [64]})],
)
def test_gradients_are_the_same_dropout_and_all(space_id: str, parameters: dict[str, JsonValue]) -> None:
    space = create_space(space_id, parameters)
    weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    graph = decoded_graph(space, space.canonical(sample_genotype(space.genes, np.random.default_rng(1))), Form.SUPERNET)
    wanted = gradients(graph, weights, BATCH, ())
    found = gradients(graph, weights, BATCH, all_blocks(graph))
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-14)


def test_running_statistics_move_once() -> None:
    space = tiny_space()
    weights = tiny_weights(space)
    graph = decoded_graph(space, sample_genotype(space.genes, np.random.default_rng(1)), Form.SUPERNET)

    def moved(recomputed: Collection[str]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        running = RunningStatistics(
            {name: (mean_C.double(), variance_C.double()) for name, (mean_C, variance_C) in weights.running.items()}
        )
        found = gradients(graph, weights, Running(running, update=True), recomputed)
        return found, {name: torch.stack(pair) for name, pair in running.items()}

    (wanted, once), (found, again) = moved(()), moved(all_blocks(graph))
    assert any(bool((pair[0] != 0).any()) for pair in once.values())
    for name, pair in once.items():
        torch.testing.assert_close(again[name], pair, rtol=0, atol=0)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("trained", list(Trained))
def test_both_steps_of_a_differentiable_search(trained: Trained) -> None:
    rng = np.random.default_rng(0)
    logits = initial_logits(MBV2.routing, rng)
    graph = MBV2.supernet_graph(sample_operators(MBV2.routing, rng, num_operators=2, logits=logits))
    made = WeightStore.create(MBV2.supernet_graphs(), torch.Generator().manual_seed(0))

    def found(recomputed: Collection[str]) -> list[torch.Tensor]:
        weights = {
            name: tensor.detach().double().requires_grad_(trained is Trained.WEIGHTS) for name, tensor in made.items()
        }
        leaves = {name: torch.tensor(values, requires_grad=True) for name, values in logits.items()}
        images_NCHW = torch.randn(
            (3, *graph.input_shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        coefficients = {name: torch.softmax(leaf, 0) for name, leaf in leaves.items()}
        out_NK = forward(
            images_NCHW, graph, weights=weights, coefficients=coefficients, training=True, recomputed=recomputed
        )
        wanted = list(leaves.values()) if trained is Trained.COEFFICIENTS else list(weights.values())
        given = torch.autograd.grad(out_NK.square().mean(), wanted, allow_unused=True)
        return [one for one in given if one is not None]

    plain, again = found(()), found(all_blocks(graph))
    assert len(plain) == len(again) > 3
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-14)


def test_a_training_that_computes_blocks_again_ends_with_the_same_curve() -> None:
    space, dataset = tiny_space(), striped_dataset()
    blocks = {node.block for graph in space.supernet_graphs() for node in graph.nodes[1:]}

    def curve(recomputed: Collection[str]) -> list[float]:
        strategy = UniformStrategy(space, UniformSettings(), label_smoothing=0.1)
        config, cpu = tiny_config(6), torch.device("cpu")
        result = train(strategy, tiny_weights(space), dataset, config, device=cpu, recomputed=recomputed)
        return [point.loss for point in result.curve]

    assert curve(blocks) == curve(())
