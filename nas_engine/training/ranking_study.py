"""Order preservation as a study: does the supernet rank architectures as training them alone does?

Source: supernet shifting (arXiv 2403.11380), global and local Kendall tau. Each architecture is judged
with shared weights and then trained from scratch; entries are independent, so a study is resumed by
leaving out the architectures that are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.evaluation.accuracy import Accuracy
from nas_engine.evaluation.ranking import OrderPreservation, order_preservation
from nas_engine.settings.strategies import StandaloneSettings
from nas_engine.settings.training import TrainingSettings
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.loop import NO_HOOKS, Hooks
from nas_engine.training.strategies.retrain import retrain


@dataclass(frozen=True, slots=True)
class RankedArchitecture:
    """One architecture of a study, both accuracies on the same validation images.

    Attributes:
        inherited: with the supernet's weights.
        standalone: trained from scratch.
    """

    architecture: Architecture
    inherited: Accuracy
    standalone: Accuracy


def study_architecture(
    space: SearchSpace,
    architecture: Architecture,
    evaluator: SupernetEvaluator,
    dataset: ImageDataset,
    training: TrainingSettings,
    settings: StandaloneSettings,
    *,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
    checkpoint: Path | None = None,
) -> RankedArchitecture | None:
    """Judge one architecture both ways; None where the run was cancelled.

    Raises:
        TrainingError: training diverges, or the space has no networks.
    """
    graph = space.graph(architecture, Form.DEPLOYED)
    if graph is None:
        raise TrainingError(f"space {space.space_id!r} is a table of results: there is nothing to train")
    found = retrain(graph, dataset, training, settings, device=device, hooks=hooks, checkpoint=checkpoint)
    if found.validation is None:
        return None
    return RankedArchitecture(architecture, evaluator.evaluate(architecture).accuracy, found.validation)


def summarise(entries: Sequence[RankedArchitecture], num_local: int) -> OrderPreservation:
    """Global and local correlation of the two accuracies; local is inside the best `num_local` trained alone."""
    return order_preservation([e.inherited.top1 for e in entries], [e.standalone.top1 for e in entries], num_local)
