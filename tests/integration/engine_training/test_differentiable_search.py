"""DenseNAS trained for real on small images: supernet execution, both kinds of steps, resume, derivation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nas_engine.cost.chained import chained_cost
from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.search_space import Form, sample_genotype
from nas_engine.evaluation.parity import measure_parity, require_parity
from nas_engine.settings.densenas import Alternation, DenseNasSettings
from nas_engine.settings.training import AugmentationName, OptimizerSettings, Schedule, TrainingSettings
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.routing_weights import normalise, one_hot_logits, sample_operators
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.densenas.viterbi import derive_architecture
from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.subnet import deployed_weights
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ArraySplit, ImageDataset, make_dataset
from nas_engine.training.loop import Hooks, TrainResult, train
from nas_engine.training.randomness import Randomness
from nas_engine.training.strategies.architecture_parameters import ArchitectureParameters
from nas_engine.training.strategies.differentiable import (
    DifferentiableStrategy,
    architecture_stream,
)
from tests.support.samples.training_run import changed

CPU = torch.device("cpu")
SMALL = {
    "num_classes": 3,
    "input_size": 12,
    "input_channels": 1,
    "stem_stride": 1,
    "block_channels": (4, 6, 8, 12),
    "downsamplings": (0, 1, 1, 2),
    "stages": (0, 1, 1, 2, 3),
    "num_layers": (0, 1, 1, 1),
    "max_connections": 2,
    "last_channels": 16,
}
PARAMETERS = DenseMbv2Parameters(
    **SMALL,  # type: ignore[arg-type]
    stem_channels=4,
    head_operators=("mbconv_k3_t1", "mbconv_k3_t3", "mbconv_k5_t3"),
    stack_operators=("mbconv_k3_t1", "mbconv_k3_t3", "skip_connect"),
)
MBV2 = DenseSpace(PARAMETERS)
RESNET = DenseSpace(DenseResNetParameters(**SMALL))  # type: ignore[arg-type]
SPACES = {"mbv2": MBV2, "resnet": RESNET}
CONFIG = TrainingSettings(
    iterations=48,
    batch_size=24,
    label_smoothing=0.0,
    optimizer=OptimizerSettings(learning_rate=0.1, schedule=Schedule.COSINE),
    augmentation=AugmentationName.NONE,
    report_every_steps=12,
    checkpoint_every_steps=1000,
)
SEARCH = DenseNasSettings(
    dataset="bars",
    epochs=6,
    first_architecture_epoch=1,
    batch_size=24,
    learning_rate=0.1,
    final_learning_rate=0.0,
    architecture_learning_rate=0.02,
    cost_base=1.5,
    augmentation="none",
)
START_STEP = 8


def images_of_bars() -> ImageDataset:
    """Three classes: a bright row, a bright column, neither; noise over all."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 90, size=(360, 12, 12, 1), dtype=np.uint8)
    labels = np.arange(360, dtype=np.int64) % 3
    for image, label in zip(pixels, labels, strict=True):
        line = rng.integers(12)
        if label == 0:
            image[line] = 250
        elif label == 1:
            image[:, line] = 250
    split = ArraySplit(pixels, labels)
    return make_dataset(
        "bars", split.subset(np.arange(240)), split.subset(np.arange(240, 360)), ("row", "column", "none")
    )


DATA = images_of_bars()


def fresh_weights(space: DenseSpace) -> WeightStore:
    return WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))


def strategy_for(
    space: DenseSpace, config: DenseNasSettings = SEARCH, cost_factor: float = 0.15
) -> DifferentiableStrategy:
    stream = architecture_stream(DATA, CONFIG, device=CPU)
    return DifferentiableStrategy(
        space,
        mac_costs(space),
        config,
        stream,
        cost_factor=cost_factor,
        weight_steps_per_epoch=len(DATA.train) // CONFIG.batch_size,
        randomness=Randomness(CONFIG.seed),
    )


def search(
    space: DenseSpace,
    config: DenseNasSettings = SEARCH,
    *,
    num_steps: int = 48,
    cost_factor: float = 0.15,
    hooks: Hooks | None = None,
    checkpoint: Path | None = None,
) -> tuple[DifferentiableStrategy, TrainResult]:
    strategy = strategy_for(space, config, cost_factor)
    run = changed(CONFIG, iterations=num_steps)
    result = train(strategy, fresh_weights(space), DATA, run, device=CPU, hooks=hooks or Hooks(), checkpoint=checkpoint)
    return strategy, result


def some_images(count: int = 16) -> torch.Tensor:
    return torch.from_numpy(DATA.train.load(np.arange(count))).permute(0, 3, 1, 2).float() / 255.0


@pytest.mark.parametrize("name", SPACES)
def test_the_supernet_with_one_hot_weights_is_the_path_itself(name: str) -> None:
    space = SPACES[name]
    weights = fresh_weights(space)
    (whole,) = space.supernet_graphs()
    for seed in range(3):
        architecture = space.decode(sample_genotype(space.genes, np.random.default_rng(seed)))
        path = space.path_of(architecture)
        assert path is not None
        coefficients = {
            key: torch.from_numpy(values.round()).float()
            for key, values in normalise(one_hot_logits(space.routing, path)).items()
        }
        mixed = forward(some_images(), whole, weights=weights, coefficients=coefficients)
        alone = forward(some_images(), space.graph(architecture, Form.SUPERNET), weights=weights)
        torch.testing.assert_close(mixed, alone, rtol=1e-4, atol=1e-5)


def test_an_mbv2_path_deploys_to_the_same_answers_and_to_onnx() -> None:
    weights = fresh_weights(MBV2)
    architecture = MBV2.decode(sample_genotype(MBV2.genes, np.random.default_rng(4)))
    trained, deployed = (MBV2.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    statistics = calibrate(trained, weights, [some_images(64)])
    norm = Calibrated(CalibratedStatistics.from_values(statistics, CPU))
    arrays = deployed_weights(deployed, weights)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    expected = forward(some_images(), trained, weights=weights, norm=norm)
    torch.testing.assert_close(forward(some_images(), deployed, weights=tensors, norm=norm), expected)
    require_parity(measure_parity(deployed, arrays, statistics, some_images(4).numpy()))


@pytest.mark.parametrize("name", SPACES)
def test_the_torch_chained_cost_equals_float64_and_its_gradient_the_difference_quotient(name: str) -> None:
    space = SPACES[name]
    routing, costs = space.routing, mac_costs(space)
    rng = np.random.default_rng(5)
    logits = {key: rng.standard_normal(size) for key, size in routing.coefficient_sizes()}
    kept = sample_operators(routing, rng, num_operators=2)
    own = ArchitectureParameters(routing, logits, learning_rate=3e-4, weight_decay=1e-3)
    leaf = own.leaf(CPU).detach().double().requires_grad_(True)
    cost = chained_cost(routing, costs, own.coefficients(leaf, kept, 1.0))
    assert float(cost.detach()) == pytest.approx(
        chained_cost(routing, costs, normalise(logits, selection=kept)), rel=1e-6
    )
    (gradient,) = torch.autograd.grad(cost, leaf)
    for index in rng.integers(len(leaf), size=8):
        step = torch.zeros_like(leaf)
        step[index] = 1e-5
        up, down = (
            float(chained_cost(routing, costs, own.coefficients(leaf.detach() + sign * step, kept, 1.0)))
            for sign in (1, -1)
        )
        assert float(gradient[index]) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", SPACES)
def test_a_search_learns_and_derives_a_network_of_the_space(name: str) -> None:
    space = SPACES[name]
    num_steps = 96
    strategy, result = search(space, num_steps=num_steps)
    assert result.curve[-1].loss < 0.8 * math.log(3)  # guessing one of three classes
    # 192 training and 48 validation images in batches of 24: one architecture step for every four weight steps.
    assert strategy.report().num_architecture_steps == (num_steps - START_STEP) // 4
    assert math.isfinite(strategy.report().architecture_loss or math.nan)
    architecture = derive_architecture(space, strategy.logits())
    assert space.genotype_of(architecture) is not None
    logits_NK = forward(some_images(), space.graph(architecture, Form.SUPERNET), weights=result.weights)
    assert torch.isfinite(logits_NK).all()


def test_weight_steps_before_the_search_leave_the_architecture_parameters_alone() -> None:
    strategy, _ = search(MBV2, num_steps=START_STEP)
    fresh = strategy_for(MBV2)
    assert strategy.report().num_architecture_steps == 0
    assert all(np.array_equal(values, strategy.logits()[name]) for name, values in fresh.logits().items())


def test_a_large_cost_factor_buys_a_cheaper_network_and_its_collapse_is_reported() -> None:
    greedy = changed(SEARCH, architecture_learning_rate=0.5, first_architecture_epoch=0)
    strategy, _ = search(MBV2, greedy, cost_factor=50.0)
    frugal = strategy.report()
    indifferent = strategy_for(MBV2).report()
    assert frugal.expected_cost < 0.8 * indifferent.expected_cost
    assert max(frugal.collapse.skip_share, frugal.collapse.cheapest_share) > 0.8
    assert indifferent.collapse.collapse.value == "none"


@pytest.mark.parametrize("alternation", Alternation)
def test_a_cancelled_and_resumed_search_equals_an_undisturbed_one(alternation: Alternation, tmp_path: Path) -> None:
    config = changed(SEARCH, alternation=alternation)
    undisturbed, whole = search(MBV2, config, num_steps=24)
    asked = iter(range(1000))
    search(
        MBV2,
        config,
        num_steps=24,
        hooks=Hooks(cancelled=lambda: next(asked) >= 17),
        checkpoint=tmp_path / "run.safetensors",
    )
    resumed, rest = search(MBV2, config, num_steps=24, checkpoint=tmp_path / "run.safetensors")
    assert rest.steps == whole.steps == 24
    assert resumed.report() == undisturbed.report()
    assert all(np.array_equal(values, resumed.logits()[name]) for name, values in undisturbed.logits().items())
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())


def test_passes_of_architecture_steps_stand_before_their_epoch() -> None:
    strategy, _ = search(MBV2, changed(SEARCH, alternation=Alternation.EPOCHS), num_steps=13)
    # The first step after the start makes the whole pass over the validation images: two batches.
    assert strategy.report().num_architecture_steps == 2


def test_a_checkpoint_of_a_search_with_other_costs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    search(MBV2, num_steps=2, checkpoint=path)
    with pytest.raises(TrainingError, match="other settings"):
        search(MBV2, changed(SEARCH, cost_base=2.0), num_steps=2, checkpoint=path)


@pytest.mark.parametrize(
    "changes",
    [
        {"cost_base": 1.0},
        {"cost_factors": (-1.0,)},
        {"beta_temperature": 0.0},
        {"operators_per_weight_step": 0},
        {"first_architecture_epoch": -1},
        {"collapse_threshold": 0.2},
        {"architecture_learning_rate": 0.0},
        {"architecture_weight_decay": float("nan")},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        changed(SEARCH, **changes)
