"""Memory that a step takes of a GPU, against what plans count before it starts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from nas_engine.cost.training_plan import WORKSPACE_SHARE, StepMemory
from nas_engine.domain.errors import DeviceMemoryError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.training_memory import FLOAT_BYTES, Trained, training_memory
from nas_engine.settings.training import TrainingSettings
from nas_engine.spaces.densenas.routing_weights import initial_logits, sample_operators
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.execute import forward
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.device_memory import device_memory_bytes, fitted
from nas_engine.training.strategies.architecture_parameters import ArchitectureParameters
from tests.support.cuda import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA
NUM_IMAGES = 64
TOLERANCE = 0.15  # what is asked of a plan
SPACES: Mapping[str, Mapping[str, JsonValue]] = {
    "spos": {"input_size": 64},
    "scarlet-s1": {"input_size": 64},
    "scarlet-s2": {"input_size": 64},
    "attentivenas": {"resolutions": [64]},
}
Tensors = Mapping[str, torch.Tensor]


def measured(graph: LayerGraph, weights: Tensors, coefficients: Tensors | None = None) -> tuple[int, int]:
    """Bytes that are kept between both passes, and at most during them, beside what was there before."""
    x_NCHW = torch.randn((NUM_IMAGES, *graph.input_shape), device=CUDA)
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
    rng = torch.Generator(CUDA).manual_seed(0)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    logits_NK = forward(x_NCHW, graph, weights=weights, coefficients=coefficients, training=True, rng=rng)
    torch.cuda.synchronize()
    kept = torch.cuda.memory_allocated() - before + x_NCHW.nbytes
    logits_NK.square().mean().backward()
    torch.cuda.synchronize()
    return kept, torch.cuda.max_memory_allocated() - before + x_NCHW.nbytes


@pytest.mark.parametrize("space_id", SPACES)
def test_a_path_takes_what_is_counted(space_id: str) -> None:
    space = create_space(space_id, SPACES[space_id])
    made = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    weights = made.to(CUDA, channels_last=True)
    graph = space.graph(space.decode(tuple(0 for _ in space.genes)), Form.SUPERNET)
    assert graph is not None
    counted = training_memory(graph)
    kept, peak = measured(graph, weights)
    assert kept == pytest.approx(counted.saved_bytes * NUM_IMAGES, rel=TOLERANCE)
    gradients = sum(weights[name].numel() for name in graph.weights) * FLOAT_BYTES
    planned = (counted.peak_bytes * NUM_IMAGES + gradients) * (1 + WORKSPACE_SHARE)
    assert peak <= planned * (1 + TOLERANCE)


@pytest.mark.parametrize(("trained", "num_operators"), [(Trained.WEIGHTS, 1), (Trained.COEFFICIENTS, 2)])
@pytest.mark.parametrize("space_id", ["densenas-mbv2", "densenas-resnet"])
def test_both_steps_of_a_differentiable_search_take_what_is_counted(
    space_id: str, trained: Trained, num_operators: int
) -> None:
    space = create_space(space_id, {"input_size": 64})
    assert isinstance(space, DenseSpace)
    made = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    weights: Tensors = made.to(CUDA, channels_last=True)
    rng = np.random.default_rng(0)
    logits = initial_logits(space.routing, rng)
    selection = sample_operators(space.routing, rng, num_operators=num_operators, logits=logits)
    parameters = ArchitectureParameters(space.routing, logits, learning_rate=1e-3, weight_decay=0.0)
    leaf = parameters.leaf(CUDA)
    if trained is Trained.COEFFICIENTS:
        weights = {name: tensor.detach() for name, tensor in weights.items()}
    else:
        leaf = leaf.detach()
    graph = space.supernet_graph(selection)
    kept, _ = measured(graph, weights, parameters.coefficients(leaf, selection, 1.0))
    assert kept == pytest.approx(training_memory(graph, trained).saved_bytes * NUM_IMAGES, rel=TOLERANCE)


def test_a_batch_is_fitted_to_this_gpu_and_what_cannot_fit_is_refused() -> None:
    memory_bytes = device_memory_bytes(CUDA)
    assert memory_bytes == torch.cuda.get_device_properties(CUDA).total_memory
    settings = TrainingSettings(epochs=1, batch_size=1024, micro_batch="auto", precision="float32")
    quarter = StepMemory(memory_bytes // 1024 * 4, 1000)  # the whole batch wants four times what there is
    assert fitted(settings, quarter, CUDA).settings.micro_batch == 128
    with pytest.raises(DeviceMemoryError, match="not even one image at a time fits"):
        fitted(settings, StepMemory(memory_bytes, 1000), CUDA)
