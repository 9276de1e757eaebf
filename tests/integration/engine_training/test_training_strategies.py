"""Fair, sandwich, retraining: what one step of each executes, and what it changes."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas_engine.domain.errors import TrainingError, WeightsError
from nas_engine.domain.layer_graph import Dropout
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.settings.strategies import DistillationKind, SandwichSettings, StandaloneSettings
from nas_engine.settings.training import AugmentationName, OptimizerKind, OptimizerSettings, Schedule
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.space import AttentiveSpace
from nas_engine.spaces.els import inherited_weights
from nas_engine.spaces.mobilenet import S1, MobileNetParameters, MobileNetSpace
from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import BATCH, forward
from nas_engine.supernet.subnet import extract
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.stream import PlainBatches
from nas_engine.training.loop import Hooks, StopReason, train
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.fair import FairStrategy
from nas_engine.training.strategies.losses import AdaptiveAlpha
from nas_engine.training.strategies.paths import decoded_graph, extreme_genotypes, uniform_sampler
from nas_engine.training.strategies.retrain import retrain, with_dropout
from nas_engine.training.strategies.sandwich import SandwichStrategy
from nas_engine.training.strategies.strategy import ImageBatch, StepContext, TrainingStrategy
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.graphs import chain
from tests.support.samples.training_run import changed, tiny_config, tiny_space, tiny_weights

CPU = torch.device("cpu")
ADAM = OptimizerSettings(kind=OptimizerKind.ADAMW, learning_rate=0.02, schedule=Schedule.COSINE)


def _context(weights: WeightStore, step: int = 0) -> StepContext:
    return StepContext(
        step=step,
        num_steps=10,
        part=0,
        first=True,
        weights=weights,
        randomness=Randomness(0),
        norm=BATCH,
        autocast=nullcontext,
        backward=torch.autograd.backward,
    )


def _batch(num: int = 6, channels: int = 1, size: int = 8, num_classes: int = 3) -> ImageBatch:
    rng = torch.Generator().manual_seed(0)
    return ImageBatch(torch.randn(num, channels, size, size, generator=rng), torch.arange(num) % num_classes)


def _mobilenet() -> MobileNetSpace:
    return MobileNetSpace(
        S1,
        MobileNetParameters(
            num_classes=3, input_size=16, input_channels=1, stem_stride=1, stem_channels=4, first_channels=4,
            stage_channels=(8, 8), stage_repeats=(1, 2), stage_strides=(2, 1), tail_channels=16,
        ),
    )  # fmt: skip


def _attentive(widths: tuple[int, ...] = (8, 16)) -> AttentiveSpace:
    return AttentiveSpace(
        AttentiveParameters(
            num_classes=3, input_channels=1, resolutions=(16, 24), stem_channels=widths,
            stage_channels=((8, 16), (16, 24)), stage_depths=((1, 2), (1, 2)), stage_kernels=((3, 5), (3, 5)),
            stage_expand_ratios=((1,), (2, 3)), stage_strides=(1, 2), stage_squeeze_excite=(False, True),
            head_channels=(32, 48), dropout=0.2, drop_connect=0.2,
        )
    )  # fmt: skip


class TestFair:
    @given(seed=st.integers(0, 2**32 - 1))
    def test_every_choice_of_every_layer_is_used_exactly_once_per_step(self, seed: int) -> None:
        space = _mobilenet()
        paths = FairStrategy(space, label_smoothing=0.0).paths(np.random.default_rng(seed))
        for layer, gene in enumerate(space.genes):
            assert Counter(path[layer] for path in paths) == Counter(range(gene.num_choices))

    def test_one_step_reaches_every_weight_of_the_supernet_stabilizers_included(self) -> None:
        space = _mobilenet()
        weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
        FairStrategy(space, label_smoothing=0.0).step(_batch(size=16), _context(weights))
        assert all(tensor.grad is not None for tensor in weights.values())

    def test_gradients_are_the_sum_over_the_paths(self) -> None:
        space = tiny_space(dropout=0.0)
        weights, batch, strategy = tiny_weights(space), _batch(), FairStrategy(tiny_space(0.0), label_smoothing=0.0)
        strategy.step(batch, _context(weights))
        paths = strategy.paths(Randomness(0).numpy(Stream.ARCHITECTURE, 0))
        alone = tiny_weights(space)
        total = sum(
            F.cross_entropy(
                forward(batch.images_NCHW, decoded_graph(space, path, Form.SUPERNET), weights=alone), batch.labels_N
            )
            for path in paths
        )
        torch.autograd.backward(torch.as_tensor(total))
        for name in weights:
            assert torch.allclose(_gradient(weights, name), _gradient(alone, name), rtol=1e-4, atol=1e-6), name

    def test_a_space_with_unequal_numbers_of_choices_cannot_be_trained_fairly(self) -> None:
        with pytest.raises(TrainingError, match="strict fairness"):
            FairStrategy(_attentive(widths=(8, 16, 24)), label_smoothing=0.0)


class TestSandwich:
    def test_the_largest_and_the_smallest_subnet_are_found(self) -> None:
        space = _attentive()
        smallest, largest = extreme_genotypes(space)
        assert smallest == (0,) * len(space.genes)
        assert largest == tuple(gene.num_choices - 1 for gene in space.genes)

    def test_students_learn_from_the_teachers_logits_and_only_the_teacher_drops_anything(self) -> None:
        space = _attentive()
        weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
        batch, context = _batch(size=24), _context(weights)
        outcome = SandwichStrategy(space, SandwichSettings(num_random=1), label_smoothing=0.1).step(batch, context)

        alone = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
        smallest, largest = extreme_genotypes(space)
        rng = Randomness(0).numpy(Stream.ARCHITECTURE, 0)
        middle = uniform_sampler(space)(rng).genotype
        teacher = forward(
            batch.images_NCHW, decoded_graph(space, largest, Form.SUPERNET), weights=alone, training=True,
            rng=_context(alone).dropout_rng(),
        )  # fmt: skip
        loss = F.cross_entropy(teacher, batch.labels_N, label_smoothing=0.1)
        assert outcome.loss.item() == pytest.approx(loss.item(), rel=1e-5)
        for genotype in (middle, smallest):
            graph = decoded_graph(space, genotype, Form.SUPERNET)
            x = batch.images_NCHW
            if graph.input_shape[1] != 24:
                x = F.interpolate(x, size=graph.input_shape[1:], mode="bicubic")
            loss = loss + AdaptiveAlpha()(forward(x, graph, weights=alone), teacher.detach(), batch.labels_N)
        torch.autograd.backward(loss)
        for name in weights:
            assert torch.allclose(_gradient(weights, name), _gradient(alone, name), rtol=1e-3, atol=1e-5), name

    @pytest.mark.parametrize("kind", list(DistillationKind))
    def test_every_distillation_trains(self, kind: DistillationKind) -> None:
        space = tiny_space()
        strategy = SandwichStrategy(space, SandwichSettings(distillation=kind), label_smoothing=0.1)
        config = changed(
            tiny_config(25), optimizer=changed(ADAM, gradient_clip_value=1.0), augmentation=AugmentationName.NONE
        )
        result = train(strategy, tiny_weights(space), striped_dataset(), config, device=CPU)
        assert result.curve[-1].loss < result.curve[0].loss

    def test_settings_out_of_range_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="num_random"):
            SandwichSettings(num_random=-1)
        with pytest.raises(ValidationError, match="beta"):
            SandwichSettings(distillation=DistillationKind.KULLBACK_LEIBLER, beta=2.0)


class TestRetrain:
    def test_from_scratch_with_test_accuracy_and_a_module_that_has_it(self) -> None:
        space, dataset = tiny_space(), striped_dataset()
        graph = decoded_graph(space, (0, 1), Form.DEPLOYED)
        config = changed(tiny_config(60), optimizer=ADAM, augmentation=AugmentationName.NONE)
        settings = StandaloneSettings(dropout=0.1, num_calibration_batches=6)
        found = retrain(graph, dataset, config, settings, device=CPU)
        assert found.ending is StopReason.FINISHED
        assert found.test is not None
        assert found.test.top1 > 0.7
        module, right = extract(graph, found.weights, found.statistics), 0
        with torch.no_grad():
            for batch in PlainBatches(dataset.test, dataset.normalisation, batch_size=20, device=CPU):
                right += int((module(batch.images_NCHW).argmax(1) == batch.labels_N).sum())
        assert right == round(found.test.top1 * found.test.num_images)

    def test_from_inherited_weights_it_starts_as_the_supernets_path(self) -> None:
        space, dataset = tiny_space(), striped_dataset()
        weights = tiny_weights(space)
        supernet, deployed = (decoded_graph(space, (2, 3), form) for form in (Form.SUPERNET, Form.DEPLOYED))
        inherited = inherited_weights(supernet, deployed, weights.arrays())
        asked = Hooks(cancelled=lambda: True)
        found = retrain(
            deployed, dataset, tiny_config(), StandaloneSettings(), device=CPU,
            inherited={name: array.astype(np.float32) for name, array in inherited.items()}, hooks=asked,
        )  # fmt: skip
        assert found.ending is StopReason.CANCELLED
        assert found.test is None
        x = _batch().images_NCHW
        path = forward(x, supernet, weights=weights)
        assert torch.allclose(forward(x, deployed, weights=found.weights), path, atol=1e-5)

    def test_inherited_weights_must_be_complete(self) -> None:
        graph = decoded_graph(tiny_space(), (0, 0), Form.DEPLOYED)
        with pytest.raises(WeightsError, match="inherited weights lack"):
            retrain(graph, striped_dataset(), tiny_config(), StandaloneSettings(), device=CPU, inherited={})

    def test_a_cancelled_retraining_goes_on(self, tmp_path: Path) -> None:
        graph, dataset = chain(affine=True), striped_dataset()
        path, asked = tmp_path / "run.safetensors", iter([False] * 5 + [True])
        settings, config = StandaloneSettings(num_calibration_batches=2), tiny_config(8)
        hooks = Hooks(cancelled=lambda: next(asked))
        retrain(graph, dataset, config, settings, device=CPU, hooks=hooks, checkpoint=path)
        resumed = retrain(graph, dataset, config, settings, device=CPU, checkpoint=path)
        undisturbed = retrain(graph, dataset, config, settings, device=CPU)
        assert resumed.curve == undisturbed.curve
        assert resumed.statistics == undisturbed.statistics
        assert resumed.test == undisturbed.test

    @pytest.mark.parametrize("num_judged", [1, 3])
    def test_it_can_be_cancelled_while_it_is_judged_and_goes_on(self, tmp_path: Path, num_judged: int) -> None:
        graph, dataset, path = chain(affine=True), striped_dataset(), tmp_path / "run.safetensors"
        settings, config = StandaloneSettings(num_calibration_batches=2, evaluation_batch_size=20), tiny_config(8)
        asked = iter([False] * (8 + num_judged) + [True])
        hooks = Hooks(cancelled=lambda: next(asked))
        stopped = retrain(graph, dataset, config, settings, device=CPU, hooks=hooks, checkpoint=path)
        assert (stopped.ending, stopped.steps, stopped.test) == (StopReason.CANCELLED, 8, None)
        resumed = retrain(graph, dataset, config, settings, device=CPU, checkpoint=path)
        undisturbed = retrain(graph, dataset, config, settings, device=CPU)
        assert resumed.ending is StopReason.FINISHED
        assert (resumed.statistics, resumed.test) == (undisturbed.statistics, undisturbed.test)

    def test_dropout_is_put_before_the_classifier_alone(self) -> None:
        graph = with_dropout(chain(), 0.3)
        (dropout,) = graph.of_type(Dropout)
        assert dropout.rate == 0.3
        assert graph.nodes[graph.output].inputs == (graph.nodes.index(dropout),)
        assert graph.output_shape == chain().output_shape
        assert with_dropout(chain(), 0.0) == chain()


@pytest.mark.parametrize(
    ("space", "strategy"),
    [
        (_mobilenet(), FairStrategy(_mobilenet(), label_smoothing=0.0)),
        (_attentive(), SandwichStrategy(_attentive(), SandwichSettings(), label_smoothing=0.1)),
    ],
    ids=["fair", "sandwich"],
)
def test_other_spaces_train_and_their_subnets_can_be_calibrated(space: SearchSpace, strategy: TrainingStrategy) -> None:
    size = space.input_shapes[-1][1]
    dataset = striped_dataset(90, size=size)
    weights = WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(0))
    result = train(strategy, weights, dataset, changed(tiny_config(3), augmentation=AugmentationName.NONE), device=CPU)
    graph = decoded_graph(space, (0,) * len(space.genes), Form.SUPERNET)
    x = torch.randn(8, 1, *graph.input_shape[1:], generator=torch.Generator().manual_seed(1))
    assert calibrate(graph, result.weights, [x])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in result.weights.values())


def _gradient(weights: WeightStore, name: str) -> torch.Tensor:
    gradient = weights[name].grad
    return torch.zeros_like(weights[name]) if gradient is None else gradient
