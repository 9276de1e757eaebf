"""DenseNAS as a search: train supernet and architecture parameters, derive one network per cost factor.

Source: Fang et al., DenseNAS (CVPR 2020). The method has no target latency: each value of the cost factor
lambda gives one architecture, and several of them give points to measure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.cost.training_plan import search_step_memory
from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import TrainingError
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.spaces.densenas.routing_weights import Vector
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.densenas.viterbi import derive_architecture
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.augmentation import ALONE, Share
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.data.stream import PlainBatches
from nas_engine.training.device_memory import fitted
from nas_engine.training.loop import NO_HOOKS, Hooks, Progress, StopReason, TrainResult, train
from nas_engine.training.optimization import Arithmetic
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.differentiable import (
    DifferentiableStrategy,
    SearchReport,
    architecture_stream,
)

Watcher = Callable[[Progress, SearchReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseNasResult:
    """What a differentiable search ends with.

    Attributes:
        ending: finished or cancelled.
        steps: weight steps made.
        architecture: derived from the parameters as they stand, or as they stood after the best epoch.
        logits: architecture parameters by coefficient name that it was derived from.
        weights: the trained supernet.
        report: cost and collapse.
    """

    ending: StopReason
    steps: int
    architecture: Architecture
    logits: Mapping[str, Vector]
    weights: WeightStore
    report: SearchReport


def search_architecture(
    space: DenseSpace,
    costs: RoutingCosts,
    dataset: ImageDataset,
    settings: DenseNasSettings,
    *,
    cost_factor: float,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
    checkpoint: Path | None = None,
    share: Share = ALONE,
    pixels: PixelCache | None = None,
    on_report: Watcher = lambda _progress, _report: None,
) -> DenseNasResult:
    """Run the search (or go on from its checkpoint) and derive its network.

    Args:
        space: of the data set's classes and image size.
        costs: what a network pays for; `settings.cost_base` is in their unit.
        dataset: training images for the weights, validation images for the architecture parameters.
        settings: of the search.
        cost_factor: lambda of this run, one of the settings'.
        seed: of everything random in it.
        hooks, checkpoint, share: as `nas_engine.training.loop.train` takes them.
        pixels: keeps the decoded images that epochs are compared by.
        on_report: told cost and collapse with each progress of the training.

    Raises:
        TrainingError: the space has another number of classes, the loss diverges, or the checkpoint is of
            another run.
    """
    _check_classes(space, dataset)
    fit = fitted(
        settings.weight_training(seed), search_step_memory(settings, space), device, num_processes=share.num_processes
    )
    training = fit.settings
    randomness = Randomness(seed)
    stream = architecture_stream(
        dataset, training, device=device, share=share, augmented=settings.augment_architecture_images
    )
    held_out = PlainBatches(
        dataset.validation.kept_in(pixels),
        dataset.normalisation,
        batch_size=settings.batch_size,
        device=device,
        share=share,
    )
    strategy = DifferentiableStrategy(
        space,
        costs,
        settings,
        stream,
        cost_factor=cost_factor,
        weight_steps_per_epoch=max(1, len(dataset.train) // settings.batch_size),
        randomness=randomness,
        share=share,
        micro_batch=None if training.micro_batch == "auto" else training.micro_batch,
        validation_batches=held_out,
    )
    weights = WeightStore.create(space.supernet_graphs(), randomness.torch(Stream.INITIAL_WEIGHTS, 0))

    def report_progress(progress: Progress) -> None:
        hooks.on_progress(progress)
        on_report(progress, strategy.report())

    watched = replace(hooks, on_progress=report_progress)
    with contextlib.closing(stream):
        result = train(
            strategy,
            weights,
            dataset,
            training,
            device=device,
            hooks=watched,
            checkpoint=checkpoint,
            share=share,
            recomputed=fit.recomputed,
        )
    if result.ending is StopReason.FINISHED:
        strategy.compare_epoch(result.weights, result.steps, Arithmetic(settings.precision, device).autocast)
    return _derived(space, strategy, result)


def _check_classes(space: DenseSpace, dataset: ImageDataset) -> None:
    if space.num_classes != dataset.num_classes:
        raise TrainingError(
            f"the space has {space.num_classes} classes, data set {dataset.name} has {dataset.num_classes}: "
            "give the space num_classes"
        )


def _derived(space: DenseSpace, strategy: DifferentiableStrategy, result: TrainResult) -> DenseNasResult:
    logits = strategy.derived_logits()
    return DenseNasResult(
        ending=result.ending,
        steps=result.steps,
        architecture=derive_architecture(space, logits),
        logits=logits,
        weights=result.weights,
        report=strategy.report(),
    )
