"""Sampled networks of a space, each with what a latency table says of it before anybody measures it.

Source: Fang et al., DenseNAS (CVPR 2020), Sec. 4.5 and supplementary A.5: networks are derived from randomly
generated architecture parameters, the cost of these parameters is estimated, and both are compared with the
actual cost of the networks. Spaces without architecture parameters are sampled uniformly, and the estimate is
the table's sum over a network's operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nas_engine.cost.chained import chained_cost, local_cost
from nas_engine.cost.latency_table import LatencyTable, measured_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.spaces.densenas.routing_weights import normalise
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.densenas.viterbi import derive_path


class Estimator(Enum):
    """What predicts the latency of a network from a table of operators."""

    CHAINED = "chained"  # expected cost of the architecture parameters, recursively over blocks (Sec. 3.3)
    LOCAL = "local"  # expected cost of every block by itself: the paper's baseline
    OPERATORS = "operators"  # the plain sum over the network's own operators


@dataclass(frozen=True, slots=True)
class SampledNetwork:
    """One network of a sample.

    Attributes:
        genotype: canonical.
        estimates_us: by estimator; empty where the table lacks an operator of it.
        missing: which one, in words; empty where it has all.
    """

    genotype: Genotype
    estimates_us: Mapping[Estimator, float]
    missing: str = ""


class NetworkSampler:
    """Draws networks of a space; each draw is a function of the seed and its number alone."""

    def __init__(self, space: SearchSpace, table: LatencyTable, *, logit_std: float, seed: int) -> None:
        """Start.

        Args:
            space: sampled.
            table: of the space's operators.
            logit_std: standard deviation of the architecture parameters; of DenseNAS's spaces only.
            seed: of the draws.

        Raises:
            InvalidMeasurementError: the deviation is not positive, or the table lacks an operator of a DenseNAS space.
        """
        if not (math.isfinite(logit_std) and logit_std > 0):
            raise InvalidMeasurementError(f"logit_std is {logit_std}: it must be above 0")
        self._space = space
        self._table = table
        self._logit_std = logit_std
        self._seed = seed
        self._costs = measured_costs(space, table) if isinstance(space, DenseSpace) else None

    def draw(self, number: int) -> SampledNetwork | None:
        """Draw `number`, 0 for the first; None where its parameters derive a network outside the space's choices.

        Several draws may give the same network.

        Raises:
            InvalidMeasurementError: the space is a table of results.
        """
        rng = np.random.default_rng((self._seed, number))
        if isinstance(self._space, DenseSpace) and self._costs is not None:
            return self._derive(self._space, self._costs, rng)
        genotype = self._space.canonical([int(rng.integers(gene.num_choices)) for gene in self._space.genes])
        graph = self._space.graph(self._space.decode(genotype), Form.DEPLOYED)
        if graph is None:
            raise InvalidMeasurementError(f"space {self._space.space_id} has no graphs: nothing can be estimated")
        try:
            return SampledNetwork(genotype, {Estimator.OPERATORS: self._table.estimate_us(graph)})
        except InvalidMeasurementError as error:
            return SampledNetwork(genotype, {}, str(error))

    def _derive(self, space: DenseSpace, costs: RoutingCosts, rng: np.random.Generator) -> SampledNetwork | None:
        """The network that random architecture parameters stand for."""
        routing = space.routing
        logits = {name: self._logit_std * rng.standard_normal(size) for name, size in routing.coefficient_sizes()}
        path = derive_path(routing, logits)
        genotype = space.genotype_of(space.architecture_of(path))
        if genotype is None:
            return None
        weights: Mapping[str, np.ndarray] = normalise(logits)
        estimates = {
            Estimator.CHAINED: float(chained_cost(routing, costs, weights)),
            Estimator.LOCAL: float(local_cost(routing, costs, weights)),
            Estimator.OPERATORS: costs.path_cost(routing, path),
        }
        return SampledNetwork(space.canonical(genotype), estimates)
