"""The training loop: what it updates, what it leaves alone, how it stops and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import ValidationError

from nas_engine.domain.errors import DatasetError, TrainingError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.settings.strategies import UniformSettings
from nas_engine.settings.training import (
    AugmentationName,
    OptimizerKind,
    OptimizerSettings,
    Precision,
    Schedule,
    TrainingSettings,
)
from nas_engine.supernet.execute import forward
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.loop import Hooks, Progress, StopReason, TrainResult, train
from nas_engine.training.optimization import learning_rate_at
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.paths import decoded_graph, uniform_sampler
from nas_engine.training.strategies.strategy import ImageBatch, Stateless, StepContext, StepOutcome
from nas_engine.training.strategies.uniform import UniformStrategy
from tests.support.reference import vectors
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.graphs import chain
from tests.support.samples.training_run import changed, tiny_config, tiny_space, tiny_weights

CPU = torch.device("cpu")


class FixedPath(Stateless):
    """A strategy that trains one graph; `spoil` may change the loss."""

    name = "fixed"

    def __init__(self, graph: LayerGraph, spoil: Callable[[torch.Tensor, int], torch.Tensor] | None = None) -> None:
        self._graph, self._spoil = graph, spoil

    def settings(self) -> None:
        """None: always the same."""

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """Plain cross entropy."""
        logits = forward(batch.images_NCHW, self._graph, weights=context.weights, norm=context.norm)
        loss = F.cross_entropy(logits, batch.labels_N)
        if self._spoil is not None:
            loss = self._spoil(loss, context.step)
        context.backward(loss)
        return StepOutcome(loss.detach(), (logits.argmax(1) == batch.labels_N).sum().float())


def _train(
    config: TrainingSettings, *, hooks: Hooks | None = None, checkpoint: Path | None = None, paths_per_step: int = 1
) -> TrainResult:
    space = tiny_space()
    strategy = UniformStrategy(space, UniformSettings(paths_per_step=paths_per_step), label_smoothing=0.1)
    return train(
        strategy,
        tiny_weights(space),
        striped_dataset(),
        config,
        device=CPU,
        hooks=hooks or Hooks(),
        checkpoint=checkpoint,
    )


def _fixed(config: TrainingSettings, graph: LayerGraph | None = None) -> tuple[WeightStore, WeightStore]:
    graph = graph or chain()
    before = WeightStore.create([graph], torch.Generator().manual_seed(0))
    return before, train(FixedPath(graph), before, striped_dataset(), config, device=CPU).weights


def _changed(before: WeightStore, after: WeightStore) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_supernet_learns_and_every_path_of_it_works() -> None:
    adam = OptimizerSettings(kind=OptimizerKind.ADAMW, learning_rate=0.02, schedule=Schedule.COSINE)
    config = changed(tiny_config(80), optimizer=adam, augmentation=AugmentationName.NONE)
    result = _train(config, paths_per_step=2)
    assert result.ending is StopReason.FINISHED
    assert result.curve[-1].loss < result.curve[0].loss * 0.7
    assert result.curve[-1].top1 > 0.8
    space, batch = tiny_space(), striped_dataset().validation
    x = torch.from_numpy(batch.load(torch.arange(len(batch)).numpy())).permute(0, 3, 1, 2).float()
    for choice in range(4):
        graph = decoded_graph(space, (choice, choice), Form.SUPERNET)
        logits = forward((x - x.mean()) / x.std(), graph, weights=result.weights)
        assert (logits.argmax(1) == torch.from_numpy(batch.labels)).float().mean() > 0.55  # chance is a third


def test_paths_that_are_not_sampled_see_neither_momentum_nor_weight_decay() -> None:
    space = tiny_space()
    before = tiny_weights(space)
    config = changed(
        tiny_config(1), optimizer=OptimizerSettings(learning_rate=0.5, weight_decay=0.1, schedule=Schedule.CONSTANT)
    )
    after = train(
        UniformStrategy(space, UniformSettings(), label_smoothing=0.1), before, striped_dataset(), config, device=CPU
    ).weights
    moved = _changed(before, after)
    operators = {name.split(".")[1] + "." + name.split(".")[2] for name in moved if name.startswith("stage")}
    assert len(operators) == 2  # one choice in each of the two blocks
    assert len(moved) < len(before)
    # A second step on other paths leaves the first step's alone, although they have momentum now.
    config = changed(config, iterations=2)
    rngs = [Randomness(config.seed).numpy(Stream.ARCHITECTURE, step) for step in range(2)]
    drawn = [uniform_sampler(space)(rng).genotype for rng in rngs]
    assert drawn[0] != drawn[1]
    later = train(
        UniformStrategy(space, UniformSettings(), label_smoothing=0.1), before, striped_dataset(), config, device=CPU
    ).weights
    only_first = set(decoded_graph(space, drawn[0], Form.SUPERNET).weights) - set(
        decoded_graph(space, drawn[1], Form.SUPERNET).weights
    )
    assert only_first
    assert all(torch.equal(after[name], later[name]) for name in only_first)


def test_weight_decay_acts_on_convolutions_and_the_classifier_only() -> None:
    graph = chain(affine=True)
    free, decayed = (
        _fixed(
            changed(
                tiny_config(1),
                optimizer=OptimizerSettings(learning_rate=0.1, weight_decay=decay, schedule=Schedule.COSINE),
            ),
            graph,
        )[1]
        for decay in (0.0, 0.5)
    )
    assert _changed(free, decayed) == {"a.conv.weight", "b.conv.weight", "head.linear.weight"}


def test_the_learning_rate_of_spos_falls_to_zero_and_that_of_alphanet_warms_up() -> None:
    linear = OptimizerSettings(learning_rate=1.0)
    assert [learning_rate_at(linear, step, 4) for step in range(4)] == pytest.approx([0.75, 0.5, 0.25, 0.0])
    cosine = OptimizerSettings(learning_rate=1.0, schedule=Schedule.COSINE, warmup_steps=10)
    assert learning_rate_at(cosine, 0, 100) == pytest.approx(0.001)
    assert learning_rate_at(cosine, 5, 100) == pytest.approx(
        0.5005 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 0.05)).item())
    )
    assert learning_rate_at(cosine, 50, 100) == pytest.approx(0.5)
    assert learning_rate_at(OptimizerSettings(learning_rate=1.0, schedule=Schedule.CONSTANT), 77, 100) == 1.0


def test_label_smoothing_equals_the_published_one() -> None:
    case = vectors("spos_blocks")["label_smoothing"]
    loss = F.cross_entropy(
        torch.tensor(case["logits"], dtype=torch.float64), torch.tensor(case["target"]), label_smoothing=case["eps"]
    )
    assert loss.item() == pytest.approx(case["loss"], abs=1e-12)


@pytest.mark.parametrize("kind", list(OptimizerKind))
def test_a_cancelled_run_goes_on_as_if_it_had_not_been_cancelled(kind: OptimizerKind, tmp_path: Path) -> None:
    config = changed(
        tiny_config(12), optimizer=OptimizerSettings(kind=kind, learning_rate=0.02, schedule=Schedule.COSINE)
    )
    undisturbed = _train(config)
    path, asked = tmp_path / "run.safetensors", iter([False] * 5 + [True])
    first = _train(config, hooks=Hooks(cancelled=lambda: next(asked)), checkpoint=path)
    assert (first.ending, first.steps) == (StopReason.CANCELLED, 5)
    second = _train(config, checkpoint=path)
    assert (second.ending, second.steps) == (StopReason.FINISHED, 12)
    assert second.curve == undisturbed.curve
    assert not _changed(undisturbed.weights, second.weights)
    assert _train(config, checkpoint=path).steps == 12  # finished: nothing is done again


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    _train(tiny_config(4), checkpoint=path)
    _train(changed(tiny_config(4), report_every_steps=1, checkpoint_every_steps=1), checkpoint=path)  # same run
    for other in (changed(tiny_config(4), seed=6), tiny_config(5), tiny_config(4, batch_size=8)):
        with pytest.raises(TrainingError, match="another|other settings"):
            _train(other, checkpoint=path)
    with pytest.raises(TrainingError, match="other settings"):
        _train(tiny_config(4), checkpoint=path, paths_per_step=2)


@pytest.mark.parametrize("content", [b"", b"junk" * 100])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"run\.safetensors"):
        _train(tiny_config(4), checkpoint=path)


def test_weights_without_a_checkpoint_header_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    tiny_weights(tiny_space()).save(path)
    with pytest.raises(TrainingError, match="no checkpoint"):
        _train(tiny_config(4), checkpoint=path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    value: float, tmp_path: Path
) -> None:
    graph, path = chain(), tmp_path / "run.safetensors"
    weights = WeightStore.create([graph], torch.Generator().manual_seed(0))
    spoilt = FixedPath(graph, lambda loss, step: loss * value if step == 6 else loss)
    with pytest.raises(TrainingError, match="at step 6: training has diverged"):
        train(spoilt, weights, striped_dataset(), tiny_config(8), device=CPU, checkpoint=path)
    healed = train(FixedPath(graph), weights, striped_dataset(), tiny_config(8), device=CPU, checkpoint=path)
    assert healed.steps == 8


def test_every_step_is_made_inside_the_pause_and_progress_tells_the_truth() -> None:
    entered, told = [0], []

    @contextmanager
    def pause() -> Iterator[None]:
        entered[0] += 1
        yield

    def tell(progress: Progress) -> None:
        told.append(progress)

    result = _train(tiny_config(7), hooks=Hooks(on_progress=tell, pause=pause))
    assert entered == [7]
    assert [p.step for p in told] == [3, 6, 7] == [point.step for point in result.curve]
    assert all(p.num_steps == 7 and p.images_per_s > 0 for p in told)
    assert told[-1].eta_s == 0
    assert told[0].loss == result.curve[0].loss


def test_gradients_can_be_clipped_by_value_and_by_norm() -> None:
    for limit in (
        OptimizerSettings(gradient_clip_value=1e-3, momentum=0.0),
        OptimizerSettings(gradient_clip_norm=1e-3, momentum=0.0),
    ):
        rate = changed(limit, learning_rate=1.0, weight_decay=0.0, schedule=Schedule.CONSTANT)
        before, after = _fixed(changed(tiny_config(1), optimizer=rate))
        moved = torch.cat([(before[name] - after[name]).detach().flatten() for name in before])
        size = moved.abs().max() if limit.gradient_clip_value else moved.norm()
        assert size.item() == pytest.approx(1e-3, rel=1e-2)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(TrainingError, match="mixed precision is for CUDA"):
        _train(changed(tiny_config(2), precision=Precision.MIXED))
    with pytest.raises(DatasetError, match="batch_size 1000 exceeds"):
        _train(tiny_config(2, batch_size=1000))
    with pytest.raises(ValidationError, match="iterations"):
        tiny_config(0)
    with pytest.raises(ValidationError, match="learning_rate"):
        OptimizerSettings(learning_rate=float("nan"))
    with pytest.raises(ValidationError, match="label_smoothing"):
        changed(tiny_config(1), label_smoothing=1.0)
