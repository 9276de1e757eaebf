"""DenseNAS training: weight steps and architecture steps in alternation, paths dropped in both.

Source: Fang et al., DenseNAS (CVPR 2020), Sec. 3.2-3.4, supplementary A.1, A.3, A.4, and the published code
(configs/imagenet_search_cfg_*.yaml, run_apis/optimizer.py). Weight steps run one sampled operator per layer
on training images; architecture steps run two on validation images and minimise
``cross entropy + lambda * log(cost) / log(tau)``, where cost is the chained cost of the supernet.
Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from nas_engine.cost.chained import chained_cost, local_cost
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.errors import DatasetError, TrainingError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.settings.densenas import Alternation, CostEstimation, DenseNasSettings, DerivedFrom
from nas_engine.settings.kinds.datasets import too_few_images
from nas_engine.settings.training import TrainingSettings
from nas_engine.spaces.densenas.routing_collapse import CollapseReport, collapse_report
from nas_engine.spaces.densenas.routing_weights import (
    OperatorSelection,
    Vector,
    initial_logits,
    normalise,
    sample_operators,
)
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.supernet.execute import PerBatch, forward
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.augmentation import ALONE, AUGMENTATIONS, NO_AUGMENTATION, Share
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.stream import TrainingStream
from nas_engine.training.processes import mean_over_processes
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.architecture_parameters import (
    FIRST_BETA,
    LOGITS,
    SECOND_BETA,
    ArchitectureParameters,
)
from nas_engine.training.strategies.losses import smoothed_cross_entropy
from nas_engine.training.strategies.strategy import ImageBatch, StepContext, StepOutcome
from nas_engine.training.strategies.uniform import count_correct

# Keeps the order and the augmentation of architecture images apart from those of weight images.
_ARCHITECTURE_SEED_OFFSET = 2**32
Autocast = Callable[[], AbstractContextManager[None]]
BEST = "best."
"""Prefix of the architecture parameters of the best epoch among a strategy's tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """Where a differentiable search stands.

    Attributes:
        num_architecture_steps: made so far.
        expected_cost: of the supernet, as the search estimates it, in `cost_unit`.
        architecture_loss: of the last architecture step; None before the first.
        best_epoch, best_top1: after which the supernet was best on the validation images, and how good; None where
            epochs are not compared, or none was yet.
        collapse: operator choices, and whether they have collapsed.
    """

    num_architecture_steps: int
    expected_cost: float
    cost_unit: str
    architecture_loss: float | None
    collapse: CollapseReport
    best_epoch: int | None = None
    best_top1: float | None = None


def architecture_stream(
    dataset: ImageDataset,
    settings: TrainingSettings,
    *,
    device: torch.device,
    share: Share = ALONE,
    augmented: bool = True,
) -> TrainingStream:
    """Batches of the validation images for architecture steps, augmented like training images or as they are.

    Raises:
        DatasetError: there are fewer of them than a batch takes.
    """
    num_images = len(dataset.validation)
    if settings.batch_size > num_images:
        raise DatasetError(too_few_images(dataset.name, num_images, "validation", settings.batch_size))
    return TrainingStream(
        replace(dataset, train=dataset.validation),
        batch_size=settings.batch_size,
        augmentation=AUGMENTATIONS[settings.augmentation] if augmented else NO_AUGMENTATION,
        randomness=Randomness(settings.seed + _ARCHITECTURE_SEED_OFFSET),
        device=device,
        share=share,
    )


class DifferentiableStrategy:
    """`TrainingStrategy` of DenseNAS; its result beside the weights is `logits`."""

    def __init__(
        self,
        space: DenseSpace,
        costs: RoutingCosts,
        settings: DenseNasSettings,
        architecture_batches: TrainingStream,
        *,
        cost_factor: float,
        weight_steps_per_epoch: int,
        randomness: Randomness,
        share: Share = ALONE,
        micro_batch: int | None = None,
        validation_batches: Iterable[ImageBatch] = (),
    ) -> None:
        """See class.

        Args:
            space: densely connected.
            costs: what the search pays for, in the unit of `settings.cost_base`.
            settings: of the search.
            architecture_batches: of the architecture steps.
            cost_factor: lambda, one of the settings'; 0 for accuracy alone.
            weight_steps_per_epoch: of the training.
            randomness: of the run.
            share: of this process.
            micro_batch: images of one forward pass, as the training's.
            validation_batches: this process's part of what epochs are compared by, where the settings want the best.
        """
        self._space = space
        self._micro_batch = micro_batch
        self._routing = space.routing
        self._costs = costs.with_regularised_skips(space.routing) if settings.regularise_skips else costs
        self._settings = settings
        self._cost_factor = cost_factor
        self._start_step = settings.first_architecture_epoch * weight_steps_per_epoch
        self._batches = architecture_batches
        self._weight_steps = weight_steps_per_epoch
        self._share = share
        initial = initial_logits(self._routing, randomness.numpy(Stream.COEFFICIENTS, 0))
        self._parameters = ArchitectureParameters(
            self._routing,
            initial,
            learning_rate=settings.architecture_learning_rate,
            weight_decay=settings.architecture_weight_decay,
        )
        self._num_architecture_steps = 0
        self._architecture_loss: float | None = None
        self._validation_batches = validation_batches
        first = settings.first_validated_epoch
        self._first_validated = settings.first_architecture_epoch if first is None else first
        self._best_epoch: int | None = None
        self._best_top1: float | None = None
        self._best: dict[str, torch.Tensor] = {}

    @property
    def name(self) -> str:
        return "differentiable"

    def settings(self) -> JsonValue:
        """Space, settings and what the costs are, in the form of the first release."""
        settings = self._settings
        costs = canonical_json([self._costs.unit, self._costs.published_layout()])
        return {
            "space": self._space.space_id,
            "parameters": dict(self._space.parameters),
            "config": {
                "architecture_start_step": self._start_step,
                "alternation": settings.alternation.value,
                "operators_per_weight_step": settings.operators_per_weight_step,
                "operators_per_architecture_step": settings.operators_per_architecture_step,
                "optimizer": {
                    "learning_rate": settings.architecture_learning_rate,
                    "first_beta": FIRST_BETA,
                    "second_beta": SECOND_BETA,
                    "weight_decay": settings.architecture_weight_decay,
                },
                "cost_factor": self._cost_factor,
                "cost_base": settings.cost_base,
                "beta_temperature": settings.beta_temperature,
                "regularise_skips": settings.regularise_skips,
                "collapse_threshold": settings.collapse_threshold,
                **settings.model_dump(
                    mode="json",
                    include={"cost_estimation", "derived_from", "first_validated_epoch", "augment_architecture_images"},
                ),
            },
            "costs": hashlib.sha256(costs.encode()).hexdigest(),
            "weight_steps_per_epoch": self._weight_steps,
        }

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """The architecture steps that are due, then one weight step on `batch`."""
        if context.first:
            self.compare_epoch(context.weights, context.step, context.autocast)
            for architecture_step in self._due(context.step):
                self._architecture_step(architecture_step, context)
        return self._weight_step(batch, context)

    def compare_epoch(self, weights: WeightStore, step: int, autocast: Autocast) -> None:
        """Validate the epoch that ended before weight step `step`, where one did and the best epoch is wanted.

        `step` calls it; after the last step whoever trains must.
        """
        epoch, position = divmod(step, self._weight_steps)
        if self._settings.derived_from is not DerivedFrom.BEST_EPOCH or position or epoch <= self._first_validated:
            return
        top1 = self._validated(weights, autocast)
        if self._best_top1 is None or top1 > self._best_top1:
            self._best_epoch, self._best_top1 = epoch, top1
            self._best = {BEST + name: tensor for name, tensor in self._parameters.tensors().items()}

    def logits(self) -> dict[str, Vector]:
        """Architecture parameters by coefficient name, as they stand."""
        return self._parameters.logits()

    def derived_logits(self) -> dict[str, Vector]:
        """Architecture parameters that an architecture is derived from: these, or those of the best epoch so far."""
        if not self._best:
            return self.logits()
        return self._parameters.logits_in(self._best[BEST + LOGITS])

    def report(self) -> SearchReport:
        """Cost and collapse at this moment."""
        logits = self.logits()
        weights = normalise(logits, beta_temperature=self._settings.beta_temperature)
        return SearchReport(
            num_architecture_steps=self._num_architecture_steps,
            expected_cost=float(self._cost(weights)),
            cost_unit=self._costs.unit,
            architecture_loss=self._architecture_loss,
            collapse=collapse_report(self._routing, logits, self._settings.collapse_threshold),
            best_epoch=self._best_epoch,
            best_top1=self._best_top1,
        )

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Architecture parameters and their optimiser; those of the best epoch too, where there is one."""
        return {**self._parameters.tensors(), **self._best}

    def state(self) -> JsonValue:
        """What the report says beside them."""
        best: dict[str, JsonValue] = {"best_epoch": self._best_epoch, "best_top1": self._best_top1}
        return {
            "num_architecture_steps": self._num_architecture_steps,
            "architecture_loss": self._architecture_loss,
            **(best if self._best else {}),
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], state: JsonValue) -> None:
        """Take over what `tensors` and `state` gave."""
        if not isinstance(state, Mapping) or not isinstance(state.get("num_architecture_steps"), int):
            raise TrainingError(f"checkpoint: {state!r} is no state of a differentiable search")
        self._parameters.restore(tensors)
        loss = state.get("architecture_loss")
        self._num_architecture_steps = int(str(state["num_architecture_steps"]))
        self._architecture_loss = None if loss is None else float(str(loss))
        epoch, top1 = state.get("best_epoch"), state.get("best_top1")
        if isinstance(epoch, int) and isinstance(top1, float):
            self._best_epoch, self._best_top1 = epoch, top1
            self._best = {name: tensor for name, tensor in tensors.items() if name.startswith(BEST)}

    def _due(self, step: int) -> range:
        """Numbers of the architecture steps that stand before weight step `step`; a pure function of it."""
        if step < self._start_step:
            return range(0)
        since = step - self._start_step
        per_pass = self._batches.steps_per_epoch
        if self._settings.alternation is Alternation.EPOCHS:
            epoch, position = divmod(since, self._weight_steps)
            return range(0) if position else range(epoch * per_pass, (epoch + 1) * per_pass)
        # Evenly spread: `per_pass` architecture steps over each `weight_steps` weight steps.
        return range(since * per_pass // self._weight_steps, (since + 1) * per_pass // self._weight_steps)

    def _weight_step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        searching = context.step >= self._start_step
        selection = sample_operators(
            self._routing,
            context.randomness.numpy(Stream.ARCHITECTURE, context.step),
            num_operators=self._settings.operators_per_weight_step,
            logits=self.logits() if searching else None,
        )
        coefficients = self._coefficients(self._parameters.leaf(batch.images_NCHW.device).detach(), selection)
        with context.autocast():
            logits_NK = forward(
                batch.images_NCHW,
                self._space.supernet_graph(selection),
                weights=context.weights,
                coefficients=coefficients,
                norm=context.norm,
                training=True,
                recomputed=context.recomputed,
            )
        loss = smoothed_cross_entropy(logits_NK, batch.labels_N, smoothing=0.0)
        context.backward(loss)
        return StepOutcome(loss.detach(), count_correct(logits_NK, batch.labels_N))

    def _architecture_step(self, number: int, context: StepContext) -> None:
        """One update of the architecture parameters; the shared weights see no gradient, in float32."""
        batch = self._batches.batch(number)
        selection = sample_operators(
            self._routing,
            context.randomness.numpy(Stream.COEFFICIENTS, number + 1),
            num_operators=self._settings.operators_per_architecture_step,
            logits=self.logits(),
        )
        leaf = self._parameters.leaf(batch.images_NCHW.device)
        parts = batch.micro_batches(self._micro_batch)
        gradients, losses = [], []
        for part in parts:
            coefficients = self._coefficients(leaf, selection)
            logits_NK = forward(
                part.images_NCHW,
                self._space.supernet_graph(selection),
                weights={name: tensor.detach() for name, tensor in context.weights.items()},
                coefficients=coefficients,
                norm=context.norm,
                training=True,
                recomputed=context.recomputed,
            )
            loss = F.cross_entropy(logits_NK, part.labels_N)
            if self._cost_factor:
                # lambda * log(cost) / log(tau) (paper, Sec. 3.3)
                cost: torch.Tensor = self._cost(coefficients)
                loss = loss + self._cost_factor * torch.log(cost) / math.log(self._settings.cost_base)
            (gradient,) = torch.autograd.grad(loss, leaf)
            gradients.append(gradient)
            losses.append(loss.detach())
        self._parameters.update(mean_over_processes(torch.stack(gradients).mean(0), self._share), selection)
        self._num_architecture_steps += 1
        self._architecture_loss = float(mean_over_processes(torch.stack(losses).mean(), self._share))

    def _cost(self, weights: Mapping[str, Any]) -> Any:
        """Expected cost of the supernet, by the formula that the settings name."""
        formula = local_cost if self._settings.cost_estimation is CostEstimation.LOCAL else chained_cost
        return formula(self._routing, self._costs, weights)

    def _validated(self, weights: WeightStore, autocast: Autocast) -> float:
        """Top-1 of the whole supernet, all operators weighted, on validation images; statistics are each batch's.

        Each process looks at whole batches of its own, so that several find what one does.
        """
        coefficients = self._coefficients(self._parameters.leaf(weights.device).detach(), {})
        graph, norm = self._space.supernet_graph(), PerBatch()
        correct, num_images = 0.0, 0
        with torch.no_grad():
            for batch in self._validation_batches:
                with autocast():
                    logits_NK = forward(batch.images_NCHW, graph, weights=weights, coefficients=coefficients, norm=norm)
                correct += float(count_correct(logits_NK, batch.labels_N))
                num_images += len(batch.labels_N)
        counts = torch.tensor([correct, num_images], dtype=torch.float64, device=weights.device)
        mean_correct, mean_images = mean_over_processes(counts, self._share).tolist()
        return float(mean_correct / mean_images)

    def _coefficients(self, leaf: torch.Tensor, selection: OperatorSelection) -> dict[str, torch.Tensor]:
        return self._parameters.coefficients(leaf, selection, self._settings.beta_temperature)
