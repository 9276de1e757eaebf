"""Strictly fair supernet training: every choice of every layer is trained exactly once per step.

Source: FairNAS's strict fairness, which SCARLET-NAS (arXiv 1908.06022, supplementary Algorithm 1 and
its first title) trains its supernet with; the code was never released, so hyper-parameters are not
known. ELS layers need nothing here: they are 1x1 convolutions of the SUPERNET form.
"""

from __future__ import annotations

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.training.identity import strategy_document
from nas_engine.training.randomness import Stream
from nas_engine.training.strategies.paths import decoded_graph
from nas_engine.training.strategies.strategy import ImageBatch, Stateless, StepContext, StepOutcome
from nas_engine.training.strategies.uniform import train_paths


class FairStrategy(Stateless):
    """`TrainingStrategy`: n single paths whose gradients are summed, then one update."""

    def __init__(self, space: SearchSpace, *, label_smoothing: float) -> None:
        """Raises TrainingError: layers have different numbers of choices, so no step can be fair to all."""
        self._space = space
        self._label_smoothing = label_smoothing
        numbers = {gene.num_choices for gene in space.genes} - {1}
        if len(numbers) != 1:
            raise TrainingError(
                f"strict fairness needs layers with one number of choices, {space.space_id!r} has {sorted(numbers)}: "
                "train it with the uniform or the sandwich strategy"
            )
        self._num_paths = numbers.pop()

    @property
    def name(self) -> str:
        return "fair"

    def settings(self) -> JsonValue:
        """Space and smoothing, in the form of the first release."""
        return strategy_document(self._space, {"label_smoothing": self._label_smoothing})

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """Forward and backward of n paths; together they use every choice once."""
        rng = context.randomness.numpy(Stream.ARCHITECTURE, context.step)
        graphs = (decoded_graph(self._space, genotype, Form.SUPERNET) for genotype in self.paths(rng))
        return train_paths(graphs, batch, context, self._label_smoothing, share=1.0)

    def paths(self, rng: np.random.Generator) -> tuple[Genotype, ...]:
        """One random permutation of the choices per layer; path k takes each permutation's k-th choice."""
        columns = [
            rng.permutation(self._num_paths) if gene.num_choices > 1 else np.zeros(self._num_paths, dtype=np.int64)
            for gene in self._space.genes
        ]
        return tuple(tuple(int(column[k]) for column in columns) for k in range(self._num_paths))
