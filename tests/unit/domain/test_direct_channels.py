"""Channels taken from where they were made: the same channels in the same order, copied fewer times."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import Activation, ActivationKind, Concat, Input, LayerGraph, Slice
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.direct_channels import direct_channels
from nas_engine.spaces.registry import create_space

Channels = list[tuple[object, ...]]


def _channels(graph: LayerGraph) -> Channels:
    """Where each channel of the answer comes from: the names of the activations that it went through."""
    values: list[Channels] = []
    for node in graph.nodes:
        match node:
            case Input(shape=shape):
                values.append([(channel,) for channel in range(shape[0])])
            case Concat(inputs=inputs):
                values.append([channel for source in inputs for channel in values[source]])
            case Slice(start=start, stop=stop, step=step, inputs=(source,)):
                values.append(values[source][start:stop:step])
            case Activation(name=name, inputs=(source,)):
                values.append([(*channel, name) for channel in values[source]])
        assert len(values[-1]) == node.shape[0]
    return values[graph.output]


def _random_graph(rng: np.random.Generator) -> LayerGraph:
    builder = GraphBuilder((int(rng.integers(3, 17)), 2, 2))
    alive = [builder.input]
    for number in range(int(rng.integers(5, 25))):
        source = alive[int(rng.integers(len(alive)))]
        match int(rng.integers(3)):
            case 0:
                alive.append(builder.activation(source, f"relu{number}", ActivationKind.RELU))
            case 1:
                other = alive[int(rng.integers(len(alive)))]
                if builder.channels(source) + builder.channels(other) < 200:
                    alive.append(builder.concat((source, other), f"concat{number}"))
            case _:
                start = int(rng.integers(builder.channels(source)))
                stop = int(rng.integers(start + 1, builder.channels(source) + 1))
                step = int(rng.integers(1, 5))
                alive.append(builder.slice(source, f"slice{number}", start=start, stop=stop, step=step))
    return builder.build(builder.activation(alive[-1], "last", ActivationKind.RELU))


@pytest.mark.parametrize("seed", range(200))
def test_every_channel_of_the_answer_stays_what_it_was(seed: int) -> None:
    graph = _random_graph(np.random.default_rng(seed))
    assert _channels(direct_channels(graph)) == _channels(graph)


def test_what_a_block_passes_on_untouched_is_not_copied() -> None:
    space = create_space("spos", {"num_classes": 10, "input_size": 32})
    graph = space.graph(space.decode([0] * 20), Form.SUPERNET)
    assert graph is not None
    direct = direct_channels(graph)
    copied, before = (_copied(one) for one in (direct, graph))
    assert copied < before * 2 / 3
    assert direct.weights == graph.weights
    assert direct.output_shape == graph.output_shape


def _copied(graph: LayerGraph) -> int:
    return sum(int(np.prod(node.shape)) for node in graph.nodes if isinstance(node, (Slice, Concat)))


def test_a_graph_that_splits_nothing_is_left_as_it_is() -> None:
    space = create_space("scarlet-s1", {"num_classes": 5})
    graph = space.graph(space.decode([0] * len(space.genes)), Form.DEPLOYED)
    assert graph is not None
    assert direct_channels(graph) is graph
