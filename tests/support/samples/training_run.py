"""A tiny supernet training that a test runs in a process of its own (``python -m tests.support.samples.training_run``).

Writes the loss curve and a digest of the weights as JSON to the second argument. With
HILNAS_TEST_KILL_AT=N the process kills itself with SIGKILL right after step N, in the middle of an epoch.
Under torchrun it trains data-parallel over gloo.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from nas_engine.settings.base import SpecPart
from nas_engine.settings.strategies import UniformSettings
from nas_engine.settings.training import AugmentationName, OptimizerSettings, Schedule, TrainingSettings
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.loop import Hooks, TrainResult, train
from nas_engine.training.processes import share_of_this_process
from nas_engine.training.strategies.uniform import UniformStrategy
from tests.support.samples.datasets import striped_dataset

NUM_STEPS = 30
S = TypeVar("S", bound=SpecPart)


def changed(settings: S, **changes: object) -> S:
    """The settings with other values, checked."""
    return type(settings).model_validate({**dict(settings), **changes})


def tiny_space(dropout: float = 0.1) -> ShuffleNetSpace:
    """Two choice blocks on 8x8 grey images, three classes."""
    return ShuffleNetSpace(
        ShuffleNetParameters(
            num_classes=3,
            input_size=8,
            input_channels=1,
            stem_channels=4,
            stem_stride=1,
            stage_channels=(8,),
            stage_repeats=(2,),
            tail_channels=16,
            dropout=dropout,
        )
    )


def tiny_config(num_steps: int = NUM_STEPS, *, batch_size: int = 16, synchronised: bool = False) -> TrainingSettings:
    """Checkpoints every 4 steps, reports every 3: kills fall between both."""
    return TrainingSettings(
        iterations=num_steps,
        batch_size=batch_size,
        seed=5,
        optimizer=OptimizerSettings(learning_rate=0.05, schedule=Schedule.COSINE),
        augmentation=AugmentationName.LIGHT,
        synchronised_norm=synchronised,
        report_every_steps=3,
        checkpoint_every_steps=4,
    )


def tiny_weights(space: ShuffleNetSpace) -> WeightStore:
    """Seeded fresh weights."""
    return WeightStore.create(space.supernet_graphs(), torch.Generator().manual_seed(1))


def digest(result: TrainResult) -> str:
    """sha256 of all weights."""
    content = hashlib.sha256()
    for name, array in sorted(result.weights.arrays().items()):
        content.update(name.encode() + array.tobytes())
    return content.hexdigest()


def run(checkpoint: Path | None, dataset: ImageDataset, hooks: Hooks, *, distributed: bool) -> TrainResult:
    """Train the tiny supernet; a distributed run has no dropout (its masks differ between processes)."""
    space = tiny_space(dropout=0.0 if distributed else 0.1)
    return train(
        UniformStrategy(space, UniformSettings(paths_per_step=2), label_smoothing=0.1),
        tiny_weights(space),
        dataset,
        tiny_config(synchronised=distributed),
        device=torch.device("cpu"),
        hooks=hooks,
        checkpoint=checkpoint,
        share=share_of_this_process(),
    )


def main(checkpoint: Path, report: Path) -> None:
    """Entry point."""
    torch.set_num_threads(1)
    distributed = "HILNAS_TEST_DISTRIBUTED" in os.environ
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    kill_at = int(os.environ.get("HILNAS_TEST_KILL_AT", "-1"))
    started = 0

    def pause() -> AbstractContextManager[None]:
        nonlocal started
        if started == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        started += 1
        return nullcontext()

    result = run(checkpoint, striped_dataset(), Hooks(pause=pause), distributed=distributed)
    if share_of_this_process().rank == 0:
        curve = [[point.step, point.loss, point.top1] for point in result.curve]
        document = {"curve": curve, "weights": digest(result), "steps": result.steps}
        document["arrays"] = {n: a.ravel().tolist() for n, a in result.weights.arrays().items()} if distributed else {}
        report.write_text(json.dumps(document))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
