"""DenseNAS as a search: train supernet and architecture parameters, derive one network per cost factor.

Source: Fang et al., DenseNAS (CVPR 2020). The method has no target latency: each value of the cost factor
lambda gives one architecture, and several of them give points to measure. The published recipes are here as
values; they need a GPU and the first 100 classes of ImageNet, small images train with the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.layer_graph import WeightRole
from nas_engine.spaces.densenas.routing_weights import Vector
from nas_engine.spaces.densenas.space import MBV2_ID, RESNET_ID, DenseSpace
from nas_engine.spaces.densenas.viterbi import derive_architecture
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.config import Decay, OptimizerConfig, ScheduleConfig, TrainConfig
from nas_engine.training.data.augmentation import ALONE, Augmentation, Share
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.loop import NO_HOOKS, Ending, Hooks, Progress, train
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.differentiable import (
    Alternation,
    DifferentiableConfig,
    DifferentiableStrategy,
    SearchReport,
    architecture_stream,
)

Watcher = Callable[[Progress, SearchReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseNasRecipe:
    """Settings of one differentiable search."""

    training: TrainConfig
    search: DifferentiableConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseNasResult:
    """What a differentiable search ends with.

    Attributes:
        ending: finished or cancelled.
        steps: weight steps made.
        architecture: derived from the parameters as they stand.
        logits: architecture parameters by coefficient name.
        weights: the trained supernet.
        report: cost and collapse.
    """

    ending: Ending
    steps: int
    architecture: Architecture
    logits: Mapping[str, Vector]
    weights: WeightStore
    report: SearchReport


def search_architecture(
    space: DenseSpace,
    costs: RoutingCosts,
    dataset: ImageDataset,
    recipe: DenseNasRecipe,
    *,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
    checkpoint: Path | None = None,
    share: Share = ALONE,
    on_report: Watcher = lambda _progress, _report: None,
) -> DenseNasResult:
    """Run the search (or go on from its checkpoint) and derive its network.

    Args:
        space: of the data set's classes and image size.
        costs: what a network pays for; `recipe.search.cost_base` is in their unit.
        dataset: training images for the weights, validation images for the architecture parameters.
        recipe: of the run.
        device: CPU or CUDA.
        hooks, checkpoint, share: as `nas_engine.training.loop.train` takes them.
        on_report: told cost and collapse with each progress of the training.

    Raises:
        TrainingError: the space has another number of classes, the loss diverges, or the checkpoint is of
            another run.
    """
    if space.num_classes != dataset.num_classes:
        raise TrainingError(
            f"the space has {space.num_classes} classes, data set {dataset.name} has {dataset.num_classes}: "
            "give the space num_classes"
        )
    config = recipe.training
    randomness = Randomness(config.seed)
    stream = architecture_stream(dataset, config, device=device, share=share)
    strategy = DifferentiableStrategy(
        space,
        costs,
        recipe.search,
        stream,
        weight_steps_per_epoch=max(1, len(dataset.train) // config.batch_size),
        randomness=randomness,
        share=share,
    )

    def told(progress: Progress) -> None:
        hooks.on_progress(progress)
        on_report(progress, strategy.report())

    weights = WeightStore.create(space.supernet_graphs(), randomness.torch(Stream.INITIAL_WEIGHTS, 0))
    try:
        watched = replace(hooks, on_progress=told)
        result = train(
            strategy, weights, dataset, config, device=device, hooks=watched, checkpoint=checkpoint, share=share
        )
    finally:
        stream.close()
    logits = strategy.logits()
    return DenseNasResult(
        ending=result.ending,
        steps=result.steps,
        architecture=derive_architecture(space, logits),
        logits=logits,
        weights=result.weights,
        report=strategy.report(),
    )


def published_recipe(space_id: str, num_training_images: int) -> DenseNasRecipe:
    """The paper's search settings (supplementary A.1 and A.4) for a data set of this size.

    MobileNetV2: 150 epochs, architecture steps from epoch 50, batches of 352, lambda 0.15, tau 15 ms (published
    latency table, batch 32). ResNet: 70 epochs, from epoch 10, batches of 512, lambda 0.2, tau 3500 million MACs
    (DenseNAS-R2; 1700 for R1), softmax temperature 0.9 on the betas, skips regularised.

    Raises:
        TrainingError: there is no such recipe, or fewer images than one batch.
    """
    match space_id:
        case id_ if id_ == MBV2_ID:
            epochs, start, batch_size = 150, 50, 352
            factor, base, temperature, regularise = 0.15, 15.0, 1.0, False
        case id_ if id_ == RESNET_ID:
            epochs, start, batch_size = 70, 10, 512
            factor, base, temperature, regularise = 0.2, 3500.0, 0.9, True
        case _:
            raise TrainingError(f"no published DenseNAS recipe for {space_id!r}: there are {MBV2_ID} and {RESNET_ID}")
    steps_per_epoch = num_training_images // batch_size
    if steps_per_epoch < 1:
        raise TrainingError(f"{num_training_images} images are less than one batch of {batch_size}")
    training = TrainConfig(
        num_steps=epochs * steps_per_epoch,
        batch_size=batch_size,
        optimizer=OptimizerConfig(
            learning_rate=0.2, momentum=0.9, weight_decay=4e-5, decayed_roles=frozenset(WeightRole)
        ),
        schedule=ScheduleConfig(decay=Decay.COSINE, final_share=1e-4 / 0.2),
        augmentation=Augmentation(resized_crop_scale=0.08, horizontal_flip=True),
    )
    search = DifferentiableConfig(
        architecture_start_step=start * steps_per_epoch,
        alternation=Alternation.EPOCHS,
        cost_factor=factor,
        cost_base=base,
        beta_temperature=temperature,
        regularise_skips=regularise,
    )
    return DenseNasRecipe(training=training, search=search)
