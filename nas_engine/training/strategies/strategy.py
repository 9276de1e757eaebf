"""The protocol of a training strategy: what one step of the loop does with one batch.

The loop owns data, optimiser, schedule, checkpoints, processes and cancellation. A strategy decides
which paths are executed and with what losses; it calls `context.backward` once or several times and
the loop then makes one optimiser step. Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch

from nas_engine.domain.json_value import JsonValue
from nas_engine.supernet.execute import Batch as BatchNormByBatch
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.randomness import Randomness, Stream


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Normalised images with their classes, on the training device."""

    images_NCHW: torch.Tensor  # noqa: N815
    labels_N: torch.Tensor  # noqa: N815


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may use.

    Attributes:
        step: counted from 0.
        num_steps: of the whole run.
        rank: of this process; only what may differ between processes (dropout masks) depends on it.
        weights: shared weights; `backward` leaves gradients in them.
        randomness: draw with ``randomness.numpy(Stream.X, step)``.
        norm: batch statistics, synchronised over processes when the run asks for it.
        autocast: context manager around forward passes (mixed precision on CUDA, else nothing).
        backward: accumulates the gradients of a loss (scaled for mixed precision). Losses are means
            over this process's images; the loop averages gradients over processes.
    """

    step: int
    num_steps: int
    rank: int
    weights: WeightStore
    randomness: Randomness
    norm: BatchNormByBatch
    autocast: Callable[[], AbstractContextManager[None]]
    backward: Callable[[torch.Tensor], None]

    def dropout_rng(self) -> torch.Generator:
        """A fresh generator of dropout masks for this step and process, on the weights' device."""
        return self.randomness.torch(Stream.DROPOUT, self.step, self.rank, device=self.weights.device)


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step reports.

    Attributes:
        loss: detached scalar, mean over this process's images.
        num_correct: detached scalar count of right answers of the step's reported path.
    """

    loss: torch.Tensor
    num_correct: torch.Tensor


class TrainingStrategy(Protocol):
    """One way of training a supernet (or one network)."""

    @property
    def name(self) -> str:
        """Short stable name, e.g. ``uniform``."""

    def settings(self) -> JsonValue:
        """Everything that decides what it does (space, config): a checkpoint made with other settings is refused."""

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """Execute paths and call `context.backward`; gradients of paths that were not executed stay None."""

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Trained state beside the weights (coefficients, their optimiser), saved in every checkpoint."""

    def state(self) -> JsonValue:
        """Everything else that a resumed run needs."""

    def restore(self, tensors: Mapping[str, torch.Tensor], state: JsonValue) -> None:
        """Take over what `tensors` and `state` gave.

        Raises:
            TrainingError: they are not this strategy's.
        """


class Stateless:
    """Mix-in for strategies whose only state is the shared weights."""

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Return the tensors that a checkpoint holds beside the weights: none here."""
        return {}

    def state(self) -> JsonValue:
        """Return what a checkpoint holds beside the tensors: nothing here."""
        return None

    def restore(self, tensors: Mapping[str, torch.Tensor], state: JsonValue) -> None:
        """Nothing to take over."""
