"""Bytes kept for the backward pass, counted from the layer graph, against those that PyTorch keeps.

With blocks that are computed again too: what the forward pass keeps, and what a block keeps once more on its way back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pytest
import torch

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, sample_genotype
from nas_engine.domain.views.training_memory import Trained, training_memory
from nas_engine.spaces.densenas.routing_weights import initial_logits, sample_operators
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.execute import forward
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.strategies.architecture_parameters import ArchitectureParameters

SPACES: Mapping[str, Mapping[str, JsonValue]] = {
    "spos": {"input_size": 32},
    "scarlet-s1": {"input_size": 32},
    "scarlet-s2": {"input_size": 32},
    "attentivenas": {"resolutions": [64]},
}
TOLERANCE = 0.02
Tensors = Mapping[str, torch.Tensor]


def kept_bytes(
    graph: LayerGraph,
    weights: Tensors,
    num_images: int,
    coefficients: Tensors | None,
    recomputed: Collection[str] = (),
) -> int:
    """Bytes of the tensors that autograd saved, each memory once, the weights' own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in weights.values()}
    own |= {tensor.untyped_storage().data_ptr() for tensor in (coefficients or {}).values()}
    found: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # else an address could be given away twice

    def packed(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    rng = torch.Generator().manual_seed(0)
    x_NCHW = torch.randn((num_images, *graph.input_shape), generator=rng)
    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        found_NK = forward(
            x_NCHW,
            graph,
            weights=weights,
            coefficients=coefficients,
            training=True,
            rng=rng,
            recomputed=recomputed,
        )
        alive.append(found_NK)
    return sum(found.values())


def kept_bytes_per_image(
    graph: LayerGraph,
    weights: Tensors,
    coefficients: Tensors | None = None,
    recomputed: Collection[str] = (),
) -> float:
    """What one more image adds: statistics of batch normalisation are kept once for all."""
    many, few = (kept_bytes(graph, weights, number, coefficients, recomputed) for number in (6, 2))
    return (many - few) / 4


@pytest.mark.parametrize("space_id", SPACES)
def test_a_path_keeps_what_is_counted(space_id: str) -> None:
    space = create_space(space_id, SPACES[space_id])
    weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    for seed in range(2):
        graph = space.graph(space.decode(sample_genotype(space.genes, np.random.default_rng(seed))), Form.SUPERNET)
        assert graph is not None
        memory = training_memory(graph)
        assert memory.saved_bytes == pytest.approx(kept_bytes_per_image(graph, weights), rel=TOLERANCE)
        assert memory.peak_bytes >= memory.saved_bytes
        recomputed = sorted({node.block for node in graph.nodes[1:]})[seed::2]
        less = training_memory(graph, recomputed=recomputed)
        kept = kept_bytes_per_image(graph, weights, recomputed=recomputed)
        assert less.saved_bytes == pytest.approx(kept, rel=TOLERANCE)
        assert less.saved_bytes < memory.saved_bytes


@pytest.mark.parametrize(("trained", "num_operators"), [(Trained.WEIGHTS, 1), (Trained.COEFFICIENTS, 2)])
@pytest.mark.parametrize("space_id", ["densenas-mbv2", "densenas-resnet"])
def test_both_steps_of_a_differentiable_search_keep_what_is_counted(
    space_id: str, trained: Trained, num_operators: int
) -> None:
    space = create_space(space_id, {"input_size": 32})
    assert isinstance(space, DenseSpace)
    weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    logits = initial_logits(space.routing, rng)
    selection = sample_operators(space.routing, rng, num_operators=num_operators, logits=logits)
    parameters = ArchitectureParameters(space.routing, logits, learning_rate=1e-3, weight_decay=0.0)
    leaf = parameters.leaf(torch.device("cpu"))
    moved: Tensors = weights
    if trained is Trained.COEFFICIENTS:
        moved = {name: tensor.detach() for name, tensor in weights.items()}
    else:
        leaf = leaf.detach()
    graph = space.supernet_graph(selection)
    counted = training_memory(graph, trained).saved_bytes
    kept = kept_bytes_per_image(graph, moved, parameters.coefficients(leaf, selection, 1.0))
    # Of frozen weights, depthwise convolutions of one pixel keep nothing: a little more is counted than kept.
    tolerance = TOLERANCE if trained is not Trained.COEFFICIENTS else 1.5 * TOLERANCE
    assert counted == pytest.approx(kept, rel=tolerance)
    recomputed = {node.block for node in graph.nodes if ".layer" in node.block}
    less = training_memory(graph, trained, recomputed=recomputed).saved_bytes
    kept = kept_bytes_per_image(graph, moved, parameters.coefficients(leaf, selection, 1.0), recomputed)
    assert less == pytest.approx(kept, rel=tolerance)
    assert less < 0.9 * counted
