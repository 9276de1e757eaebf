"""Sampled networks of a space, each with what a latency table says of it before anybody measures it.

Source: Fang et al., DenseNAS (CVPR 2020), Sec. 4.5 and supplementary A.5: networks are derived from randomly
generated architecture parameters, the cost of these parameters is estimated, and both are compared with the
actual cost of the networks. Spaces without architecture parameters are sampled uniformly, and the estimate is
the table's sum over a network's operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np

from nas_engine.cost.chained import chained_cost, local_cost
from nas_engine.cost.latency_table import LatencyTable, measured_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidMeasurementError, SearchStateError
from nas_engine.domain.search_space import Form
from nas_engine.search.algorithm import SearchProblem, Told
from nas_engine.search.base import LedgeredSearch
from nas_engine.search.viterbi import derive_path
from nas_engine.spaces.densenas.routing_weights import normalise
from nas_engine.spaces.densenas.space import DenseSpace

MAX_DRAWS_PER_NETWORK = 200  # in a small space many parameters derive the same network
BATCH_SIZE = 500


class Estimator(Enum):
    """What predicts the latency of a network from a table of operators."""

    CHAINED = "chained"  # expected cost of the architecture parameters, recursively over blocks (Sec. 3.3)
    LOCAL = "local"  # expected cost of every block by itself: the paper's baseline
    OPERATORS = "operators"  # the plain sum over the network's own operators


class SampledNetworks(LedgeredSearch):
    """Draws networks without repeating any, and keeps what the table estimates for each of the last batch."""

    def __init__(self, problem: SearchProblem, table: LatencyTable, *, logit_std: float, seed: int) -> None:
        """Start.

        Args:
            problem: what is sampled; results are only counted.
            table: of the space's operators.
            logit_std: standard deviation of the architecture parameters; of DenseNAS's spaces only.
            seed: of the draws.

        Raises:
            SearchStateError: the deviation is not positive.
            InvalidMeasurementError: the table lacks an operator of a DenseNAS space.
        """
        if not (math.isfinite(logit_std) and logit_std > 0):
            raise SearchStateError(f"logit_std is {logit_std}: it must be above 0")
        super().__init__(problem, {"algorithm": "sampled_networks", "logit_std": logit_std}, seed)
        self._table = table
        self._logit_std = logit_std
        self._space = problem.space
        self._costs = measured_costs(self._space, table) if isinstance(self._space, DenseSpace) else None
        self.estimates_us: dict[Genotype, Mapping[Estimator, float]] = {}
        self.missing: dict[Genotype, str] = {}

    @property
    def batch_size(self) -> int:
        """There are no generations; this is only how many are worth asking at once."""
        return BATCH_SIZE

    def _propose(self, num: int) -> list[Genotype]:
        self.estimates_us, self.missing = {}, {}
        if isinstance(self._space, DenseSpace) and self._costs is not None:
            return self._derived(self._space, self._costs, num)
        drawn = self.ledger.immigrants(num, self._rng)
        for genotype in drawn:
            self._sum_up(genotype)
        return drawn

    def _absorb(self, results: Sequence[Told]) -> None:
        self._generation += bool(results)

    def _derived(self, space: DenseSpace, costs: RoutingCosts, num: int) -> list[Genotype]:
        """Networks that random architecture parameters stand for."""
        routing, found = space.routing, list[Genotype]()
        for _ in range(num * MAX_DRAWS_PER_NETWORK):
            if len(found) == num:
                break
            logits = {n: self._logit_std * self._rng.standard_normal(size) for n, size in routing.coefficient_sizes()}
            path = derive_path(routing, logits)
            genotype = space.genotype_of(space.architecture_of(path))
            if genotype is None or not self.ledger.admit(space.canonical(genotype)):
                continue
            weights: Mapping[str, np.ndarray] = normalise(logits)
            canonical = space.canonical(genotype)
            found.append(canonical)
            self.estimates_us[canonical] = {
                Estimator.CHAINED: float(chained_cost(routing, costs, weights)),
                Estimator.LOCAL: float(local_cost(routing, costs, weights)),
                Estimator.OPERATORS: costs.path_cost(routing, path),
            }
        return found

    def _sum_up(self, genotype: Genotype) -> None:
        graph = self._space.graph(self._space.decode(genotype), Form.DEPLOYED)
        if graph is None:
            raise InvalidMeasurementError(f"space {self._space.space_id} has no graphs: nothing can be estimated")
        try:
            self.estimates_us[genotype] = {Estimator.OPERATORS: self._table.estimate_us(graph)}
        except InvalidMeasurementError as error:
            self.missing[genotype] = str(error)
