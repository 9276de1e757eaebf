"""The CUDA path: mixed precision, channels_last, and results close to the CPU's. Needs a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas_engine.domain.search_space import Form
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.shifting import ShiftingSettings
from nas_engine.settings.strategies import UniformSettings
from nas_engine.settings.training import AugmentationName, Precision
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.execute import forward
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.loop import TrainResult, train
from nas_engine.training.strategies.paths import decoded_graph
from nas_engine.training.strategies.shifting import SupernetShifter
from nas_engine.training.strategies.uniform import UniformStrategy
from tests.support.cuda import NEEDS_CUDA
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import changed, tiny_config, tiny_space, tiny_weights

pytestmark = NEEDS_CUDA
SPACE, DATASET = tiny_space(), striped_dataset()


def _train(precision: Precision, checkpoint: Path | None = None, num_steps: int = 12) -> TrainResult:
    config = changed(tiny_config(num_steps), precision=precision)
    strategy = UniformStrategy(SPACE, UniformSettings(), label_smoothing=0.1)
    return train(strategy, tiny_weights(SPACE), DATASET, config, device=torch.device("cuda"), checkpoint=checkpoint)


def test_forward_passes_agree_with_the_cpu() -> None:
    graph, weights = decoded_graph(SPACE, (1, 3), Form.SUPERNET), tiny_weights(SPACE)
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    device = torch.device("cuda")
    on_gpu = forward(x.to(device), graph, weights=weights.to(device, channels_last=True))
    assert torch.allclose(on_gpu.cpu(), forward(x, graph, weights=weights), atol=1e-3)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.MIXED])
def test_training_goes_on_from_its_checkpoint(precision: Precision, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = _train(precision, path)
    assert first.steps == 12
    assert all(tensor.dtype is torch.float32 for tensor in first.weights.values())
    assert _train(precision, path).curve == first.curve


def test_kornia_augmentation_evaluation_and_shifting_run_on_the_gpu() -> None:
    device = torch.device("cuda")
    config = changed(tiny_config(3), augmentation=AugmentationName.IMAGENET)
    colour = striped_dataset(channels=3)
    space = create_space("spos", dict(SPACE.parameters) | {"input_channels": 3})
    weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    result = train(
        UniformStrategy(space, UniformSettings(), label_smoothing=0.1), weights, colour, config, device=device
    )
    evaluator = SupernetEvaluator(space, result.weights, colour, EvaluationSettings(batch_size=20), device)
    assert evaluator.evaluate(space.decode([0, 1])).accuracy.num_images == len(colour.validation)
    shifter = SupernetShifter(
        result.weights, colour, ShiftingSettings(images_per_candidate=16, batch_size=16), device, seed=0
    )
    shifter.begin_generation(1)
    shifter.visit(decoded_graph(space, (0, 1), Form.SUPERNET))
    assert shifter.end_generation() == 1


def test_blocks_that_are_computed_again_give_the_same_gradients_and_keep_less() -> None:
    device = torch.device("cuda")
    space = create_space("spos", {"input_size": 64})
    graph = decoded_graph(space, tuple(1 for _ in space.genes), Form.SUPERNET)
    made = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    x_NCHW = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(device)

    def found(recomputed: set[str]) -> tuple[torch.Tensor, int]:
        weights = made.to(device, channels_last=True)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        rng = torch.Generator(device).manual_seed(2)
        logits_NK = forward(x_NCHW, graph, weights=weights, training=True, rng=rng, recomputed=recomputed)
        logits_NK.square().mean().backward()
        gradient = weights["stem.conv.weight"].grad
        assert gradient is not None
        return gradient, torch.cuda.max_memory_allocated() - before

    (plain, much), (again, less) = found(set()), found({node.block for node in graph.nodes})
    torch.testing.assert_close(again, plain, rtol=1e-3, atol=1e-5)
    assert less < much
