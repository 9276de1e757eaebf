"""What a process that trains with others is told: one JSON document beside the files of its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from nas_engine.settings.training import AnyTrainingSpec
from nas_engine.supernet.tensor_file import read_tensors
from nas_engine.training.data.dataset import limited
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.data.source import DatasetSource, open_dataset
from server.spaces.catalog import SpaceCatalog
from server.training.worker.run import TrainingRun

CANCEL_LINE = b"cancel\n"
"""Written to a process's standard input; the end of that input means that the worker is gone."""


class ProcessOrder(BaseModel):
    """What every process that shares a training is told.

    Attributes:
        checkpoint: file that the run goes on from; the first process rewrites it.
        folder: exists; holds this document and what the processes log.
        rendezvous: file by which the processes find each other; must not exist yet.
        num_threads: of each process.
        host_lock: timing lock shared with agents on this host.
        pixels: where decoded images are kept that networks are judged by; None keeps none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    CHILD: ClassVar[str]
    """Module that a process runs; it is given the path of the order."""

    checkpoint: Path
    folder: Path
    rendezvous: Path
    device: Literal["cpu", "cuda"]
    num_threads: int
    host_lock: Path | None
    pixels: PixelCache | None = None


class TrainingOrder(ProcessOrder):
    """One training, of a supernet or of a network, that several processes share.

    Attributes:
        dataset_name, dataset: what the spec's data set is on this host.
        inherited: safetensors file of the weights a network starts from.
        recomputed: blocks that the backward pass computes again.
    """

    CHILD = "server.training.worker.child"

    spec: AnyTrainingSpec
    dataset_name: str
    dataset: DatasetSource
    inherited: Path | None
    recomputed: tuple[str, ...] = ()

    def run(self) -> TrainingRun:
        """The run, read from this host's files. Raises EngineError."""
        spec = self.spec
        dataset = replace(open_dataset(self.dataset), name=self.dataset_name).judged_in(self.pixels)
        inherited = None
        if self.inherited is not None:
            tensors = read_tensors(self.inherited)[0]
            inherited = {name: np.asarray(tensor.numpy(), dtype=np.float32) for name, tensor in tensors.items()}
        return TrainingRun(
            spec=spec,
            space=SpaceCatalog().space(spec.space.id, spec.space.parameters),
            dataset=limited(dataset, spec.max_train_images),
            inherited=inherited,
            checkpoint=self.checkpoint,
            folder=self.folder,
            recomputed=self.recomputed,
        )
