"""The training loop: data, optimiser, schedule, checkpoints, processes and cancellation for any strategy.

A step is a function of (config, data, weights, step) alone, so a run that is killed and resumed goes
through the same losses as an undisturbed one (same machine, same number of threads).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.domain.json_value import canonical_json
from nas_engine.settings.training import TrainingSettings
from nas_engine.supernet.execute import PerBatch
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.checkpoint import (
    OPTIMIZER,
    STRATEGY,
    Checkpoint,
    CurvePoint,
    optimizer_tensors,
    restore_optimizer,
)
from nas_engine.training.data.augmentation import ALONE, AUGMENTATIONS, Share
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.stream import TrainingStream
from nas_engine.training.identity import run_document
from nas_engine.training.optimization import (
    Arithmetic,
    clip_gradients,
    learning_rate_at,
    make_optimizer,
    set_learning_rate,
)
from nas_engine.training.processes import agree, average_gradients, mean_over_processes, wait_for_all
from nas_engine.training.randomness import Randomness
from nas_engine.training.strategies.strategy import StepContext, TrainingStrategy

T = TypeVar("T")
REPORTS_PER_RUN = 100  # where the settings do not say how often
AGREE_EVERY_STEPS = 20  # how often several processes ask each other whether the run is cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is told while training.

    Attributes:
        step: updates made.
        loss, top1: means since the report before, on (augmented) training batches.
        images_per_s: of all processes together, since this process started or resumed.
        eta_s: estimated remaining time.
    """

    step: int
    num_steps: int
    loss: float
    top1: float
    learning_rate: float
    images_per_s: float
    eta_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """How the host of a run takes part in it.

    Attributes:
        on_progress: called at every report and at the end (first process only).
        cancelled: asked before each step; a cancelled run writes a checkpoint and returns.
        pause: context manager around each step; its entry may block (a board on this host is timing).
    """

    on_progress: Callable[[Progress], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False
    pause: Callable[[], AbstractContextManager[None]] = nullcontext

    def paused(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, each worked on inside `pause`: for what is evaluated before or after the loop."""
        for batch in batches:
            with self.pause():
                yield batch


NO_HOOKS = Hooks()


class StopReason(Enum):
    """Why a run returned."""

    FINISHED = "finished"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """A run's outcome.

    Attributes:
        weights: trained, on the training device.
        curve: loss and top-1 over the steps.
        steps: updates made.
        seconds: wall time of this process's part of the run.
    """

    ending: StopReason
    weights: WeightStore
    curve: tuple[CurvePoint, ...]
    steps: int
    seconds: float


@dataclass(slots=True)
class _Pending:
    """Sums since the last report."""

    loss: float = 0.0
    correct: float = 0.0
    images: float = 0.0
    steps: float = 0.0


@dataclass(slots=True)
class _State:
    """What changes from step to step."""

    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    pending: _Pending = field(default_factory=_Pending)


def train(
    strategy: TrainingStrategy,
    weights: WeightStore,
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
    checkpoint: Path | None = None,
    share: Share = ALONE,
    recomputed: Collection[str] = (),
) -> TrainResult:
    """Train until the updates that `settings` asks for are made, or until cancelled.

    Args:
        strategy: what a step does.
        weights: start; copied. Ignored where the checkpoint exists.
        dataset: only its training images are used.
        settings: of the run.
        device: CPU or CUDA.
        hooks: progress, cancellation, pauses.
        checkpoint: file that the run is resumed from, and that is rewritten as it goes on.
        share: rank and number of processes; all call `train` with the same arguments otherwise.
        recomputed: blocks that keep less and are computed twice; the numbers stay the same.

    Raises:
        TrainingError: the loss is not finite, or the checkpoint is of another run.
    """
    return _Run(strategy, weights, dataset, settings, device, hooks, checkpoint, share, recomputed).run()


class _Run:
    def __init__(
        self,
        strategy: TrainingStrategy,
        weights: WeightStore,
        dataset: ImageDataset,
        settings: TrainingSettings,
        device: torch.device,
        hooks: Hooks,
        checkpoint: Path | None,
        share: Share,
        recomputed: Collection[str],
    ) -> None:
        self._recomputed = recomputed
        self._strategy, self._settings, self._device = strategy, settings, device
        self._num_steps = settings.num_steps(len(dataset.train))
        self._update_rule = settings.optimizer_on(len(dataset.train))
        self._report_every_steps = settings.report_every_steps or max(self._num_steps // REPORTS_PER_RUN, 1)
        if settings.micro_batch == "auto":
            raise TrainingError("micro_batch auto: it is chosen for the device before a training starts")
        self._micro_batch = settings.micro_batch
        self._hooks, self._path, self._share = hooks, checkpoint, share
        self._identity = run_identity(strategy, weights, dataset, settings)
        self._randomness = Randomness(settings.seed)
        self._weights = weights.to(device, channels_last=True)
        self._optimizer = make_optimizer(self._weights, self._update_rule)
        self._arithmetic = Arithmetic(settings.precision, device)
        self._state = _State()
        self._resume()
        self._stream = TrainingStream(
            dataset,
            batch_size=settings.batch_size,
            augmentation=AUGMENTATIONS[settings.augmentation],
            randomness=self._randomness,
            device=device,
            share=share,
        )
        self._started, self._first_step = time.monotonic(), self._state.step

    def run(self) -> TrainResult:
        state = self._state
        ending = StopReason.FINISHED
        try:
            while state.step < self._num_steps:
                if self._is_cancelled():
                    ending = StopReason.CANCELLED
                    break
                with self._hooks.pause():
                    self._step()
                last = state.step == self._num_steps
                if last or state.step % self._report_every_steps == 0:
                    self._report()
                if last or state.step % self._settings.checkpoint_every_steps == 0:
                    self._save()
            if ending is StopReason.CANCELLED:
                self._save()
        finally:
            self._stream.close()
        seconds = time.monotonic() - self._started
        curve = tuple(state.curve)
        return TrainResult(ending=ending, weights=self._weights, curve=curve, steps=state.step, seconds=seconds)

    def _step(self) -> None:
        settings, step = self._settings, self._state.step
        self._optimizer.zero_grad(set_to_none=True)
        batch = self._stream.batch(step)
        parts = batch.micro_batches(self._micro_batch)
        outcomes = []
        for number, part in enumerate(parts):
            context = StepContext(
                step=step,
                num_steps=self._num_steps,
                part=self._share.rank * len(parts) + number,
                first=number == 0,
                weights=self._weights,
                randomness=self._randomness,
                norm=PerBatch(synchronised=settings.synchronised_norm),
                autocast=self._arithmetic.autocast,
                backward=partial(self._backward, len(parts)),
                recomputed=self._recomputed,
            )
            outcomes.append(self._strategy.step(part, context))
        average_gradients(self._weights, self._share)
        self._arithmetic.unscale(self._optimizer)
        clip_gradients(self._weights, self._update_rule)
        set_learning_rate(self._optimizer, learning_rate_at(self._update_rule, step, self._num_steps))
        self._arithmetic.update(self._optimizer)
        loss = torch.stack([outcome.loss.detach() for outcome in outcomes]).mean()
        num_correct = torch.stack([outcome.num_correct.detach() for outcome in outcomes]).sum()
        self._count(loss, num_correct, len(batch.labels_N))
        self._state.step += 1

    def _backward(self, num_parts: int, loss: torch.Tensor) -> None:
        self._arithmetic.backward(loss if num_parts == 1 else loss / num_parts)

    def _count(self, loss: torch.Tensor, num_correct: torch.Tensor, num_images: int) -> None:
        told = torch.stack([loss.detach().double(), num_correct.detach().double()])
        mean_loss, correct = mean_over_processes(told, self._share).tolist()
        if not math.isfinite(mean_loss):
            raise TrainingError(
                f"the loss is {mean_loss} at step {self._state.step}: training has diverged; lower the learning rate "
                f"(now at most {self._settings.optimizer.learning_rate}) or clip gradients"
            )
        pending = self._state.pending
        pending.loss += mean_loss
        pending.correct += correct
        pending.images += num_images
        pending.steps += 1

    def _is_cancelled(self) -> bool:
        # Processes agree now and then only: an all-reduce per step would cost more than it is worth.
        if self._share.num_processes > 1 and self._state.step % AGREE_EVERY_STEPS:
            return False
        return agree(self._hooks.cancelled(), self._share, self._device)

    def _report(self) -> None:
        state = self._state
        pending, state.pending = state.pending, _Pending()
        if not pending.steps:
            return
        loss, top1 = pending.loss / pending.steps, pending.correct / pending.images
        state.curve.append(CurvePoint(state.step, loss, top1))
        if self._share.rank:
            return
        steps_per_s = (state.step - self._first_step) / max(time.monotonic() - self._started, 1e-9)
        self._hooks.on_progress(
            Progress(
                step=state.step,
                num_steps=self._num_steps,
                loss=loss,
                top1=top1,
                learning_rate=learning_rate_at(self._update_rule, state.step - 1, self._num_steps),
                images_per_s=steps_per_s * self._settings.batch_size,
                eta_s=(self._num_steps - state.step) / max(steps_per_s, 1e-9),
            )
        )

    def _save(self) -> None:
        if self._path is None:
            return
        if self._share.rank == 0:
            pending = self._state.pending
            Checkpoint(
                step=self._state.step,
                identity=self._identity,
                curve=tuple(self._state.curve),
                pending=(pending.loss, pending.correct, pending.images, pending.steps),
                tensors={
                    **self._weights.named_tensors(),
                    **optimizer_tensors(self._optimizer, self._weights),
                    **{STRATEGY + name: tensor for name, tensor in self._strategy.tensors().items()},
                },
                strategy_state=self._strategy.state(),
                scaler=self._arithmetic.state(),
            ).save(self._path)
        wait_for_all(self._share)

    def _resume(self) -> None:
        if self._path is None or not self._path.exists():
            return
        checkpoint = Checkpoint.load(self._path, self._identity)
        self._weights.load_tensors(checkpoint.weights(), str(self._path))
        restore_optimizer(self._optimizer, self._weights, checkpoint.part(OPTIMIZER))
        self._strategy.restore(checkpoint.part(STRATEGY), checkpoint.strategy_state)
        self._arithmetic.restore(checkpoint.scaler)
        self._state = _State(checkpoint.step, list(checkpoint.curve), _Pending(*checkpoint.pending))


def run_identity(
    strategy: TrainingStrategy, weights: WeightStore, dataset: ImageDataset, settings: TrainingSettings
) -> str:
    """Digest of everything that must be the same for two processes to be parts of one run."""
    document = canonical_json(
        {
            "strategy": strategy.name,
            "settings": strategy.settings(),
            "config": run_document(settings, len(dataset.train)),
            "data": dataset.fingerprint,
            "weights": [[name, list(tensor.shape)] for name, tensor in weights.items()],
        }
    )
    return hashlib.sha256(document.encode()).hexdigest()
