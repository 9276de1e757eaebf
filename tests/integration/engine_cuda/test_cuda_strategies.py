"""Every kind of training on a GPU: each space and strategy, micro-batches, arithmetic, derivation, retraining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.search.densenas import search_architecture
from nas_engine.settings.densenas import DerivedFrom
from nas_engine.settings.evaluation import CalibrationImages, CalibrationMode, EvaluationSettings
from nas_engine.settings.strategies import (
    DistillationKind,
    FairSettings,
    MacsBinnedSettings,
    SandwichSettings,
    StandaloneSettings,
    StrategySettings,
    UniformSettings,
)
from nas_engine.settings.training import AugmentationName, Precision
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.space import AttentiveSpace
from nas_engine.spaces.mobilenet import S1, S2, MobileNetParameters, MobileNetSpace
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.augmentation import ALONE, AUGMENTATIONS, Augmenter
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.loop import TrainResult, train
from nas_engine.training.optimization import Arithmetic
from nas_engine.training.randomness import Randomness
from nas_engine.training.strategies.factory import create_strategy
from nas_engine.training.strategies.retrain import retrain
from tests.integration.engine_training.test_differentiable_search import DATA, MBV2, RESNET, SEARCH
from tests.support.cuda import CUDA, NEEDS_CUDA
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import changed, tiny_config, tiny_space, tiny_weights

pytestmark = NEEDS_CUDA
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "num_classes": 3, "input_size": 16, "input_channels": 1, "stem_stride": 1, "stem_channels": 4, "first_channels": 4,
    "stage_channels": (8, 8), "stage_repeats": (1, 2), "stage_strides": (2, 1), "tail_channels": 16,
}  # fmt: skip
ATTENTIVE = AttentiveSpace(
    AttentiveParameters(
        num_classes=3, input_channels=1, resolutions=(16, 24), stem_channels=(8, 16),
        stage_channels=((8, 16), (16, 24)), stage_depths=((1, 2), (1, 2)), stage_kernels=((3, 5), (3, 5)),
        stage_expand_ratios=((1,), (2, 3)), stage_strides=(1, 2), stage_squeeze_excite=(False, True),
        head_channels=(32, 48), dropout=0.0, drop_connect=0.0,
    )
)  # fmt: skip
TRAININGS: dict[str, tuple[SearchSpace, StrategySettings, int]] = {
    "spos, uniform": (tiny_space(0.0), UniformSettings(paths_per_step=2), 8),
    "spos, in bins": (tiny_space(0.0), MacsBinnedSettings(num_bins=2), 8),
    "scarlet-s1, fair": (MobileNetSpace(S1, MobileNetParameters(**SMALL)), FairSettings(), 16),
    "scarlet-s2, fair": (MobileNetSpace(S2, MobileNetParameters(**SMALL)), FairSettings(), 16),
    "attentivenas, alpha": (ATTENTIVE, SandwichSettings(), 24),
    "attentivenas, kl": (ATTENTIVE, SandwichSettings(distillation=DistillationKind.KULLBACK_LEIBLER), 24),
}
# cuDNN convolves in TF32 (10 bits of mantissa) where it can; a few steps at this rate do not make more of it.
TF32 = 2e-2


def trained(name: str, device: torch.device, precision: Precision = Precision.FLOAT32, **changes: Any) -> TrainResult:
    space, strategy, size = TRAININGS[name]
    settings = changed(tiny_config(6), augmentation=AugmentationName.NONE, precision=precision, **changes)
    weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(1))
    dataset = striped_dataset(size=size)
    made = create_strategy(space, strategy, label_smoothing=0.1)
    return train(made, weights, dataset, settings, device=device)


def losses(result: TrainResult) -> list[float]:
    return [point.loss for point in result.curve]


@pytest.mark.parametrize("micro_batch", [None, 8])
@pytest.mark.parametrize("name", TRAININGS)
def test_each_space_trains_as_on_the_cpu(name: str, micro_batch: int | None) -> None:
    found = trained(name, CUDA, micro_batch=micro_batch)
    assert {tensor.device.type for tensor in found.weights.values()} == {"cuda"}
    assert losses(found) == pytest.approx(losses(trained(name, CPU, micro_batch=micro_batch)), rel=TF32)


@pytest.mark.parametrize("name", TRAININGS)
def test_mixed_arithmetic_trains_near_float32_and_auto_is_mixed(name: str) -> None:
    exact = losses(trained(name, CUDA))
    for precision in (Precision.MIXED, Precision.AUTO):
        with Arithmetic(precision, CUDA).autocast():
            assert torch.is_autocast_enabled("cuda")
        found = trained(name, CUDA, precision)
        assert losses(found) == pytest.approx(exact, rel=0.1)
        assert {tensor.dtype for tensor in found.weights.values()} == {torch.float32}
    with Arithmetic(Precision.FLOAT32, CUDA).autocast():
        assert not torch.is_autocast_enabled("cuda")


@pytest.mark.parametrize("augmentation", AugmentationName)
def test_images_are_augmented_on_the_gpu(augmentation: AugmentationName) -> None:
    x_NCHW = torch.rand(16, 3, 24, 24, generator=torch.Generator().manual_seed(0)).to(CUDA)
    augment = Augmenter(AUGMENTATIONS[augmentation], Randomness(1), ALONE, cropped=False)
    first, again, other = augment(x_NCHW.clone(), 0), augment(x_NCHW.clone(), 0), augment(x_NCHW.clone(), 1)
    assert first.device.type == "cuda"
    assert first.shape == x_NCHW.shape
    assert 0.0 <= float(first.min()) <= float(first.max()) <= 1.0
    torch.testing.assert_close(first, again)
    assert torch.equal(first, other) is (augmentation is AugmentationName.NONE)


@pytest.mark.parametrize("mode", CalibrationMode)
@pytest.mark.parametrize("images", CalibrationImages)
def test_candidates_are_calibrated_and_judged_as_on_the_cpu(mode: CalibrationMode, images: CalibrationImages) -> None:
    space, dataset = tiny_space(0.0), striped_dataset()
    settings = EvaluationSettings(num_calibration_batches=2, batch_size=24, calibration=mode, calibration_images=images)

    def judged(device: torch.device) -> Any:
        evaluator = SupernetEvaluator(
            space, tiny_weights(space), dataset, settings, device, trained_with=AugmentationName.LIGHT
        )
        found = evaluator.evaluate(space.decode([1, 3]))
        assert evaluator.test(space.decode([1, 3]), found.statistics).num_images == len(dataset.test)
        return found

    on_gpu, on_cpu = judged(CUDA), judged(CPU)
    assert on_gpu.accuracy.num_images == on_cpu.accuracy.num_images == len(dataset.validation)
    if images is CalibrationImages.PLAIN:  # what is drawn on a device is drawn by its own generator
        for name, statistics in on_cpu.statistics.items():
            np.testing.assert_allclose(on_gpu.statistics[name].mean, statistics.mean, rtol=TF32, atol=TF32)
            np.testing.assert_allclose(on_gpu.statistics[name].variance, statistics.variance, rtol=TF32, atol=TF32)


@pytest.mark.parametrize("micro_batch", [None, 12])
@pytest.mark.parametrize("space", [MBV2, RESNET], ids=["mbv2", "resnet"])
def test_a_network_is_derived_as_on_the_cpu_and_the_search_goes_on_from_its_checkpoint(
    space: Any, micro_batch: int | None, tmp_path: Path
) -> None:
    settings = changed(
        SEARCH,
        epochs=2,
        first_architecture_epoch=0,
        micro_batch=micro_batch,
        derived_from=DerivedFrom.BEST_EPOCH,
        learning_rate=0.01,
        precision=Precision.FLOAT32,
    )

    def found(device: torch.device, **more: Any) -> Any:
        return search_architecture(
            space, mac_costs(space), DATA, settings, cost_factor=0.15, seed=0, device=device, **more
        )

    checkpoint = tmp_path / "run.checkpoint"
    on_gpu, on_cpu = found(CUDA, checkpoint=checkpoint), found(CPU)
    assert on_gpu.report.expected_cost == pytest.approx(on_cpu.report.expected_cost, rel=TF32)
    assert on_gpu.report.architecture_loss == pytest.approx(on_cpu.report.architecture_loss, rel=5 * TF32)
    assert on_gpu.report.best_epoch is not None
    again = found(CUDA, checkpoint=checkpoint)  # nothing is left to do
    assert again.architecture == on_gpu.architecture
    assert again.report.best_top1 == on_gpu.report.best_top1


def test_a_network_is_trained_by_itself_with_dropout_and_its_final_statistics() -> None:
    space, dataset = tiny_space(), striped_dataset()
    graph = space.graph(space.decode([1, 3]), Form.DEPLOYED)
    settings = StandaloneSettings(dropout=0.1, num_calibration_batches=2)
    found = retrain(graph, dataset, tiny_config(40), settings, device=CUDA)
    assert found.test is not None
    assert found.validation is not None
    assert (found.test.num_images, found.validation.num_images) == (len(dataset.test), len(dataset.validation))
    assert found.test.top1 > 0.5  # of three classes; learnable within seconds
    assert all(np.isfinite(one.mean).all() for one in found.statistics.values())


def test_a_deployed_network_leaves_the_gpu_with_finite_weights() -> None:
    space = tiny_space(0.0)
    dataset: ImageDataset = striped_dataset()
    evaluator = SupernetEvaluator(space, tiny_weights(space), dataset, EvaluationSettings(batch_size=20), CUDA)
    deployed = evaluator.deployed(space.decode([0, 2]))
    assert all(np.isfinite(tensor).all() for tensor in deployed.weights.values())
