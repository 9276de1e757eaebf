"""Micro-batches: their averaged gradients are those of one pass whose batch statistics are taken over groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import ValidationError

from nas_engine.cost.chained import chained_cost
from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.settings.strategies import SandwichSettings, StandaloneSettings, UniformSettings
from nas_engine.settings.training import TrainingSettings
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.space import AttentiveSpace
from nas_engine.spaces.densenas.routing_weights import OperatorSelection, Vector, sample_operators
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.mobilenet import S1, MobileNetParameters, MobileNetSpace
from nas_engine.supernet.execute import BATCH, forward
from nas_engine.supernet.resolution import fit_resolution
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.stream import TrainingStream
from nas_engine.training.loop import train
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.architecture_parameters import FIRST_MOMENT, NUM_UPDATES, ArchitectureParameters
from nas_engine.training.strategies.differentiable import DifferentiableStrategy
from nas_engine.training.strategies.fair import FairStrategy
from nas_engine.training.strategies.losses import smoothed_cross_entropy
from nas_engine.training.strategies.paths import decoded_graph, extreme_genotypes, make_sampler, uniform_sampler
from nas_engine.training.strategies.retrain import SinglePath, initial_weights
from nas_engine.training.strategies.sandwich import SandwichStrategy, students_loss
from nas_engine.training.strategies.strategy import ImageBatch, StepContext, TrainingStrategy
from nas_engine.training.strategies.uniform import UniformStrategy
from tests.integration.engine_training.test_differentiable_search import MBV2, RESNET, SEARCH
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import changed, tiny_config, tiny_space, tiny_weights

GROUP, NUM_GROUPS = 4, 3


def doubled(weights: WeightStore) -> WeightStore:
    """The same weights in float64."""
    return WeightStore({name: tensor.double() for name, tensor in weights.items()}, weights.roles, weights.running)


def images(channels: int, size: int) -> ImageBatch:
    rng = torch.Generator().manual_seed(5)
    x_NCHW = torch.randn(GROUP * NUM_GROUPS, channels, size, size, generator=rng, dtype=torch.float64)
    return ImageBatch(x_NCHW, torch.arange(GROUP * NUM_GROUPS) % 3)


def gradients_in_parts(strategy: TrainingStrategy, weights: WeightStore, batch: ImageBatch) -> dict[str, torch.Tensor]:
    """As the loop takes them."""
    for number, part in enumerate(batch.micro_batches(GROUP)):
        context = StepContext(
            step=0,
            num_steps=10,
            part=number,
            first=number == 0,
            weights=weights,
            randomness=Randomness(0),
            norm=BATCH,
            autocast=nullcontext,
            backward=lambda loss: torch.autograd.backward(loss / NUM_GROUPS),
        )
        strategy.step(part, context)
    return {name: tensor.grad for name, tensor in weights.items() if tensor.grad is not None}


def gradients_in_one_pass(
    losses: Callable[[], Sequence[torch.Tensor]], weights: WeightStore
) -> dict[str, torch.Tensor]:
    """Of the sum of losses over the whole batch, each taken once."""
    torch.autograd.backward(list(losses()))
    return {name: tensor.grad for name, tensor in weights.items() if tensor.grad is not None}


def grouped(graph: LayerGraph, weights: WeightStore, batch: ImageBatch) -> torch.Tensor:
    """Logits of the whole batch, in which batch normalisation sees each group by itself."""
    return torch.cat(
        [
            forward(fit_resolution(x_NCHW, graph), graph, weights=weights)
            for x_NCHW in batch.images_NCHW.split(GROUP)
        ]
    )  # fmt: skip


def same_gradients(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """Of the same weights, and equal to what float64 keeps."""
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13)


def test_single_paths() -> None:
    space = tiny_space(dropout=0.0)
    settings = UniformSettings(paths_per_step=2)
    batch, parts, whole = images(1, 8), doubled(tiny_weights(space)), doubled(tiny_weights(space))

    def losses() -> list[torch.Tensor]:
        rng, sampler = Randomness(0).numpy(Stream.ARCHITECTURE, 0), make_sampler(space, settings)
        graphs = [decoded_graph(space, sampler(rng).genotype, Form.SUPERNET) for _ in range(2)]
        logits = [grouped(graph, whole, batch) for graph in graphs]
        return [F.cross_entropy(one_NK, batch.labels_N, label_smoothing=0.1) / 2 for one_NK in logits]

    found = gradients_in_parts(UniformStrategy(space, settings, label_smoothing=0.1), parts, batch)
    wanted = gradients_in_one_pass(losses, whole)
    same_gradients(found, wanted)


def test_the_sandwich_rule() -> None:
    space = AttentiveSpace(
        AttentiveParameters(
            num_classes=3, input_channels=1, resolutions=(16,), stem_channels=(8, 16),
            stage_channels=((8, 16), (16, 24)), stage_depths=((1, 2), (1, 2)), stage_kernels=((3, 5), (3, 5)),
            stage_expand_ratios=((1,), (2, 3)), stage_strides=(1, 2), stage_squeeze_excite=(False, True),
            head_channels=(32, 48), dropout=0.0, drop_connect=0.0,
        )
    )  # fmt: skip
    settings = SandwichSettings()
    batch = images(1, 16)
    made = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    parts, whole = doubled(made), doubled(made)

    def losses() -> list[torch.Tensor]:
        smallest, largest = extreme_genotypes(space)
        rng, sampler = Randomness(0).numpy(Stream.ARCHITECTURE, 0), uniform_sampler(space)
        students = [*(sampler(rng).genotype for _ in range(settings.num_random)), smallest]
        teacher_NK = logits(space, largest, whole, batch)
        taught = [
            students_loss(settings)(logits(space, one, whole, batch), teacher_NK.detach(), batch.labels_N)
            for one in students
        ]
        return [smoothed_cross_entropy(teacher_NK, batch.labels_N, smoothing=0.1), *taught]

    found = gradients_in_parts(SandwichStrategy(space, settings, label_smoothing=0.1), parts, batch)
    wanted = gradients_in_one_pass(losses, whole)
    same_gradients(found, wanted)


def test_strict_fairness() -> None:
    space = MobileNetSpace(
        S1,
        MobileNetParameters(
            num_classes=3, input_size=16, input_channels=1, stem_stride=1, stem_channels=4, first_channels=4,
            stage_channels=(8, 8), stage_repeats=(1, 2), stage_strides=(2, 1), tail_channels=16,
        ),
    )  # fmt: skip
    made, batch = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0)), images(1, 16)
    parts, whole, strategy = doubled(made), doubled(made), FairStrategy(space, label_smoothing=0.1)

    def losses() -> list[torch.Tensor]:
        paths = strategy.paths(Randomness(0).numpy(Stream.ARCHITECTURE, 0))
        logits_NK = [logits(space, path, whole, batch) for path in paths]
        return [F.cross_entropy(one_NK, batch.labels_N, label_smoothing=0.1) for one_NK in logits_NK]

    same_gradients(gradients_in_parts(strategy, parts, batch), gradients_in_one_pass(losses, whole))


def test_a_network_by_itself() -> None:
    space, batch = tiny_space(dropout=0.0), images(1, 8)
    graph = decoded_graph(space, (1, 3), Form.DEPLOYED)
    parts, whole = (doubled(initial_weights(graph, 0, None)) for _ in range(2))
    strategy = SinglePath(graph, StandaloneSettings(), label_smoothing=0.1)

    def losses() -> list[torch.Tensor]:
        return [F.cross_entropy(grouped(graph, whole, batch), batch.labels_N, label_smoothing=0.1)]

    same_gradients(gradients_in_parts(strategy, parts, batch), gradients_in_one_pass(losses, whole))


class Validation:
    """Validation images of a differentiable search: one batch, in double precision."""

    steps_per_epoch = 1

    def __init__(self, batch: ImageBatch) -> None:
        self._batch = batch

    def batch(self, number: int) -> ImageBatch:
        return self._batch


@pytest.mark.parametrize("space", [MBV2, RESNET], ids=["mbv2", "resnet"])
def test_both_steps_of_a_differentiable_search(space: DenseSpace) -> None:
    settings = SEARCH.model_copy(update={"first_architecture_epoch": 0})
    batch, made = images(1, 12), WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    parts, whole = doubled(made), doubled(made)
    strategy = DifferentiableStrategy(
        space,
        mac_costs(space),
        settings,
        cast(TrainingStream, Validation(batch)),
        cost_factor=0.15,
        weight_steps_per_epoch=1,
        randomness=Randomness(0),
        micro_batch=GROUP,
    )
    before = strategy.logits()
    found = gradients_in_parts(strategy, parts, batch)

    def sampled(step: Stream, number: int, num_operators: int, logits: dict[str, Vector]) -> OperatorSelection:
        rng = Randomness(0).numpy(step, number)
        return sample_operators(space.routing, rng, num_operators=num_operators, logits=logits)

    def loss(selection: OperatorSelection, leaf: torch.Tensor) -> torch.Tensor:
        coefficients = parameters.coefficients(leaf, selection, settings.beta_temperature)
        graph = space.supernet_graph(selection)
        logits_NK = [
            forward(x_NCHW, graph, weights=whole, coefficients=coefficients)
            for x_NCHW in batch.images_NCHW.split(GROUP)
        ]
        return F.cross_entropy(torch.cat(logits_NK), batch.labels_N)

    parameters = ArchitectureParameters(space.routing, before, learning_rate=1.0, weight_decay=0.0)
    cpu = torch.device("cpu")
    selection = sampled(Stream.COEFFICIENTS, 1, 2, before)
    leaf = parameters.leaf(cpu)
    coefficients: dict[str, Any] = dict(parameters.coefficients(leaf, selection, settings.beta_temperature))
    cost: torch.Tensor = chained_cost(space.routing, mac_costs(space), coefficients)
    priced = loss(selection, leaf) + 0.15 * torch.log(cost) / math.log(settings.cost_base)
    (gradient,) = torch.autograd.grad(priced, leaf)
    state = strategy.tensors()
    moved = state[NUM_UPDATES] > 0  # betas, and the alphas of sampled operators
    assert moved.any()
    # Adam's first moment after one update; the parameters themselves are float32 in a pass.
    decayed = gradient.double() + settings.architecture_weight_decay * leaf.detach().double()
    torch.testing.assert_close(state[FIRST_MOMENT][moved], 0.5 * decayed[moved], rtol=1e-5, atol=1e-8)

    parameters = ArchitectureParameters(space.routing, strategy.logits(), learning_rate=1.0, weight_decay=0.0)
    selection = sampled(Stream.ARCHITECTURE, 0, 1, strategy.logits())
    wanted = gradients_in_one_pass(lambda: [loss(selection, parameters.leaf(cpu).detach())], whole)
    same_gradients(found, wanted)


def logits(space: SearchSpace, genotype: Genotype, weights: WeightStore, batch: ImageBatch) -> torch.Tensor:
    return grouped(decoded_graph(space, genotype, Form.SUPERNET), weights, batch)


def test_a_whole_batch_as_one_micro_batch_changes_nothing() -> None:
    space, dataset = tiny_space(), striped_dataset()
    config = tiny_config(4)
    run = partial(train, UniformStrategy(space, UniformSettings(), label_smoothing=0.1), tiny_weights(space), dataset)
    plain = run(config, device=torch.device("cpu"))
    same = run(changed(config, micro_batch=config.batch_size), device=torch.device("cpu"))
    other = run(changed(config, micro_batch=config.batch_size // 2), device=torch.device("cpu"))
    assert [point.loss for point in plain.curve] == [point.loss for point in same.curve]
    assert [point.loss for point in plain.curve] != [point.loss for point in other.curve]
    assert all(np.isfinite(point.loss) for point in other.curve)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 64, "micro_batch": 24}, "micro_batch 24 does not divide the 64 images of a process"),
        ({"batch_size": 64, "num_processes": 4, "micro_batch": 32}, "does not divide the 16 images of a process"),
        ({"batch_size": 64, "micro_batch": 32, "synchronised_norm": True}, "statistics over the whole batch"),
    ],
)
def test_micro_batches_that_do_not_fit_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingSettings.model_validate({"epochs": 1, **given})
