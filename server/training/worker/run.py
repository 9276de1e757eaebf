"""One training from its spec to files: the same whether it runs in the worker or in processes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from nas_engine.supernet.tensor_file import write_atomically
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.augmentation import ALONE, Share
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.loop import Hooks, StopReason, train
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.factory import create_strategy
from server.training.worker.retraining import deployable_onnx, retrain_architecture, retraining_report

WEIGHTS_FILE = "weights.safetensors"
MODEL_FILE = "model.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """Everything one training needs.

    Attributes:
        dataset: brought to the space's channels and size; `limited` to the images the spec wants.
        inherited: stored tensors of the DEPLOYED graph that a network starts from; None from scratch.
        checkpoint: file it is resumed from, rewritten as it goes on.
        folder: exists; weights and, of a network, the ONNX model are written there.
        recomputed: blocks that the backward pass computes again, so that a pass fits the device.
    """

    spec: TrainingSpec | NetworkSpec
    space: SearchSpace
    dataset: ImageDataset
    inherited: Mapping[str, NDArray[np.float32]] | None
    checkpoint: Path
    folder: Path
    recomputed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a training ended.

    Attributes:
        steps: updates made.
        statistics: for the published version; empty where cancelled.
    """

    ending: StopReason
    steps: int
    statistics: Mapping[str, JsonValue]


def perform(run: TrainingRun, device: torch.device, hooks: Hooks, share: Share = ALONE) -> RunEnd:
    """Train, and write what came of it (first process only).

    Raises:
        TrainingError: training diverges, or the strategy refuses the space.
        EngineError: the architecture of a network cannot be built or exported.
    """
    if isinstance(run.spec, NetworkSpec):
        return _train_network(run, run.spec, device, hooks, share)
    spec = run.spec
    rng = Randomness(spec.seed).torch(Stream.INITIAL_WEIGHTS, 0)
    result = train(
        create_strategy(run.space, spec.strategy, label_smoothing=spec.label_smoothing),
        WeightStore.create(run.space.supernet_graphs(), rng),
        run.dataset,
        spec,
        device=device,
        hooks=hooks,
        checkpoint=run.checkpoint,
        share=share,
        recomputed=run.recomputed,
    )
    if result.ending is StopReason.CANCELLED or share.rank:
        return RunEnd(result.ending, result.steps, {})
    result.weights.save(run.folder / WEIGHTS_FILE)
    statistics: dict[str, JsonValue] = {
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "loss": result.curve[-1].loss if result.curve else None,
        "num_parameters": result.weights.num_parameters(),
        "dataset_fingerprint": run.dataset.fingerprint,
    }
    return RunEnd(result.ending, result.steps, statistics)


def _train_network(run: TrainingRun, spec: NetworkSpec, device: torch.device, hooks: Hooks, share: Share) -> RunEnd:
    architecture = run.space.parse(spec.architecture)
    found = retrain_architecture(
        spec,
        run.space,
        architecture,
        run.dataset,
        inherited=run.inherited,
        device=device,
        hooks=hooks,
        checkpoint=run.checkpoint,
        share=share,
        recomputed=run.recomputed,
    )
    if found.ending is StopReason.CANCELLED or share.rank:
        return RunEnd(found.ending, found.steps, {})
    found.weights.save(run.folder / WEIGHTS_FILE)
    search = spec.labels.get("search", "")  # as retraining a candidate labels it
    write_atomically(run.folder / MODEL_FILE, deployable_onnx(found, run.space, architecture, search=search))
    statistics = {
        **retraining_report(found, architecture),
        "steps": found.steps,
        "seconds": round(found.seconds, 1),
        "dataset_fingerprint": run.dataset.fingerprint,
    }
    return RunEnd(found.ending, found.steps, statistics)
