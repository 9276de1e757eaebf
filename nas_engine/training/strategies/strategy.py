"""The protocol of a training strategy: what one step of the loop does with one batch.

The loop owns data, optimiser, schedule, checkpoints, processes and cancellation. A strategy decides
which paths are executed and with what losses; it calls `context.backward` once or several times and
the loop then makes one optimiser step. Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch

from nas_engine.domain.json_value import JsonValue
from nas_engine.supernet.execute import PerBatch
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.randomness import Randomness, Stream


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Normalised images with their classes, on the training device."""

    images_NCHW: torch.Tensor  # noqa: N815
    labels_N: torch.Tensor  # noqa: N815

    def micro_batches(self, num_images: int | None) -> tuple[ImageBatch, ...]:
        """Cut it into parts of `num_images`, which divides it; None leaves it whole."""
        if num_images is None:
            return (self,)
        parts = zip(torch.split(self.images_NCHW, num_images), torch.split(self.labels_N, num_images), strict=True)
        return tuple(ImageBatch(images_NCHW, labels_N) for images_NCHW, labels_N in parts)


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may use.

    Attributes:
        step: counted from 0.
        num_steps: of the whole run.
        part: number of this micro-batch among those of all processes; only what may differ between them (dropout
            masks) depends on it.
        first: whether it is this process's first micro-batch of the step: what is done once a step is done then.
        weights: shared weights; `backward` leaves gradients in them.
        randomness: draw with ``randomness.numpy(Stream.X, step)``.
        norm: batch statistics, synchronised over processes when the run asks for it.
        autocast: context manager around forward passes (mixed precision on CUDA, else nothing).
        backward: accumulates the gradients of a loss (scaled for mixed precision). Losses are means
            over this micro-batch; the loop averages gradients over micro-batches and processes.
        recomputed: blocks that the backward pass computes again, given to every forward pass.
    """

    step: int
    num_steps: int
    part: int
    first: bool
    weights: WeightStore
    randomness: Randomness
    norm: PerBatch
    autocast: Callable[[], AbstractContextManager[None]]
    backward: Callable[[torch.Tensor], None]
    recomputed: Collection[str] = ()

    def dropout_rng(self) -> torch.Generator:
        """A fresh generator of dropout masks for this step and micro-batch, on the weights' device."""
        return self.randomness.torch(Stream.DROPOUT, self.step, self.part, device=self.weights.device)


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step reports.

    Attributes:
        loss: detached scalar, mean over this micro-batch.
        num_correct: detached scalar count of correct predictions of the step's reported path.
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
