"""Single-path supernet training (SPOS): one path per step, so every weight learns to work alone.

Source: Guo et al., Single Path One-Shot NAS with Uniform Sampling (ECCV 2020), section 3, and its
reference code (label smoothing with eps/K on every class, weight decay on conv and fc weights only).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.settings.strategies import MacsBinnedSettings, UniformSettings
from nas_engine.supernet.execute import forward
from nas_engine.supernet.resolution import fit_resolution
from nas_engine.training.identity import strategy_document
from nas_engine.training.randomness import Stream
from nas_engine.training.strategies.paths import decoded_graph, make_sampler
from nas_engine.training.strategies.strategy import ImageBatch, Stateless, StepContext, StepOutcome


class UniformStrategy(Stateless):
    """`TrainingStrategy`: single paths drawn by a sampler."""

    def __init__(
        self, space: SearchSpace, settings: UniformSettings | MacsBinnedSettings, *, label_smoothing: float
    ) -> None:
        self._space = space
        self._settings = settings
        self._label_smoothing = label_smoothing
        self._sampler = make_sampler(space, settings)

    @property
    def name(self) -> str:
        return "uniform"

    def settings(self) -> JsonValue:
        """Space, sampling and smoothing, in the form of the first release."""
        settings = self._settings
        binned = settings if isinstance(settings, MacsBinnedSettings) else MacsBinnedSettings()
        return strategy_document(
            self._space,
            {
                "sampling": "macs-bins" if binned is settings else "uniform",
                "label_smoothing": self._label_smoothing,
                "bins": {
                    "num_bins": binned.num_bins,
                    "minimum_macs": binned.minimum_macs,
                    "maximum_macs": binned.maximum_macs,
                    **({} if binned.edges is None else {"edges": list(binned.edges)}),
                },
                "paths_per_step": settings.paths_per_step,
            },
        )

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """Forward and backward of one path (or of a few, averaged)."""
        rng = context.randomness.numpy(Stream.ARCHITECTURE, context.step)
        genotypes = [self._sampler(rng).genotype for _ in range(self._settings.paths_per_step)]
        graphs = (decoded_graph(self._space, genotype, Form.SUPERNET) for genotype in genotypes)
        return train_paths(graphs, batch, context, self._label_smoothing, share=1.0 / len(genotypes))


def train_paths(
    graphs: Iterable[LayerGraph], batch: ImageBatch, context: StepContext, label_smoothing: float, share: float
) -> StepOutcome:
    """Backward of each path's cross entropy times `share`; reports mean loss and mean count of correct predictions."""
    losses, correct = [], []
    dropout_rng = context.dropout_rng()
    for graph in graphs:
        logits_NK = path_logits(graph, batch, context, dropout_rng)
        loss = F.cross_entropy(logits_NK, batch.labels_N, label_smoothing=label_smoothing)
        context.backward(loss * share)
        losses.append(loss.detach())
        correct.append(count_correct(logits_NK, batch.labels_N))
    return StepOutcome(torch.stack(losses).mean(), torch.stack(correct).mean())


def path_logits(
    graph: LayerGraph, batch: ImageBatch, context: StepContext, dropout_rng: torch.Generator | None
) -> torch.Tensor:
    """Logits_NK of one path on the step's batch, float32 at least; dropout acts where a generator is given."""
    with context.autocast():
        logits_NK = forward(
            fit_resolution(batch.images_NCHW, graph),
            graph,
            weights=context.weights,
            norm=context.norm,
            training=dropout_rng is not None,
            rng=dropout_rng,
            recomputed=context.recomputed,
        )
    return logits_NK.to(torch.promote_types(logits_NK.dtype, torch.float32))


def count_correct(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """How many images are classified right, as a float scalar."""
    return (logits_NK.detach().argmax(1) == labels_N).sum().float()
