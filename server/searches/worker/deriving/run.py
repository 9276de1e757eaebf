"""One derivation from its settings to a document: the same whether it runs in the worker or in processes of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.densenas import search_architecture
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.training.data.augmentation import ALONE, Share
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.loop import Hooks, Progress, StopReason
from nas_engine.training.strategies.differentiable import SearchReport

Document = dict[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationRun:
    """Everything one derivation needs.

    Attributes:
        settings: of the whole search.
        number: of the cost factor, from 0.
        seed: of the search.
        space: of the data set's classes and image size.
        costs: what networks pay for.
        dataset: brought to the space's channels and size.
        checkpoint: file it goes on from, rewritten meanwhile.
        pixels: where decoded images are kept that epochs are compared by; None keeps none.
    """

    settings: DenseNasSettings
    number: int
    seed: int
    space: DenseSpace
    costs: RoutingCosts
    dataset: ImageDataset
    checkpoint: Path
    pixels: PixelCache | None

    @property
    def cost_factor(self) -> float:
        """Lambda of this derivation."""
        return self.settings.cost_factors[self.number]


def derive(
    run: DerivationRun,
    device: torch.device,
    hooks: Hooks,
    tell: Callable[[Document], None],
    share: Share = ALONE,
) -> Document | None:
    """Search, and say what was derived: the result of the job; None where the run was cancelled.

    Args:
        run: what is to be derived.
        device: it is trained on.
        hooks: how it is cancelled and paused; its progress is told by `tell`.
        tell: given how far the search is (by the first process), as events of the search say it.
        share: of this process.

    Raises:
        TrainingError: training diverges, does not fit the device, or the checkpoint is of another run.
        SearchStateError: what was derived lies outside the space.
    """
    found = search_architecture(
        run.space,
        run.costs,
        run.dataset,
        run.settings,
        cost_factor=run.cost_factor,
        seed=run.seed,
        device=device,
        hooks=hooks,
        checkpoint=run.checkpoint,
        share=share,
        pixels=run.pixels,
        on_report=lambda progress, report: tell(_progress(run, progress, report)),
    )
    if found.ending is StopReason.CANCELLED:
        return None
    genotype = run.space.genotype_of(found.architecture)
    if genotype is None:
        raise SearchStateError(f"what cost factor {run.cost_factor} derived lies outside space {run.space.space_id!r}")
    return {
        "number": run.number,
        "genotype": list(run.space.canonical(genotype)),
        "cost_factor": run.cost_factor,
        **_costs_and_collapse(found.report),
        "dataset_fingerprint": run.dataset.fingerprint,
    }


def _progress(run: DerivationRun, progress: Progress, found: SearchReport) -> Document:
    return {
        "number": run.number,
        "cost_factor": run.cost_factor,
        "step": progress.step,
        "num_steps": progress.num_steps,
        "epoch": progress.step * run.settings.epochs // progress.num_steps,
        "num_epochs": run.settings.epochs,
        "loss": progress.loss,
        "top1": progress.top1,
        "learning_rate": progress.learning_rate,
        "images_per_s": progress.images_per_s,
        "eta_s": progress.eta_s,
        "architecture_loss": found.architecture_loss,
        **_costs_and_collapse(found),
    }


def _costs_and_collapse(found: SearchReport) -> Document:
    return {
        "expected_cost": found.expected_cost,
        "cost_unit": found.cost_unit,
        "num_architecture_steps": found.num_architecture_steps,
        **({} if found.best_epoch is None else {"best_epoch": found.best_epoch, "best_top1": found.best_top1}),
        "collapse": found.collapse.collapse.value,
        "skip_share": found.collapse.skip_share,
        "cheapest_share": found.collapse.cheapest_share,
        "mean_entropy": found.collapse.mean_entropy,
    }
