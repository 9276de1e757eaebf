"""Reports of a latency table: sampled networks with the table's estimates, which boards then measure."""

from __future__ import annotations

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.algorithm import SearchAlgorithm
from nas_engine.search.sampled_networks import SampledNetworks
from nas_engine.settings.algorithms import CostReportSettings
from server.candidates.search import Search
from server.latency_tables.estimates import engine_table
from server.latency_tables.latency_tables import ESTIMATES, MISSING, SAMPLED, LatencyTables
from server.searches.worker.algorithms import problem_of


class CostReports:
    """Makes the sampling of reports on this worker."""

    def __init__(self, tables: LatencyTables) -> None:
        self._tables = tables

    def algorithm(self, search: Search, wanted: CostReportSettings, space: SearchSpace) -> SampledNetworks:
        """The sampling of a report.

        Raises:
            NotFoundError: the table is gone.
            InvalidMeasurementError: it lacks an operator.
        """
        table = engine_table(self._tables.get(wanted.latency_table))
        problem = problem_of(search.spec, space)
        return SampledNetworks(problem, table, logit_std=wanted.logit_std, seed=search.spec.seed)


def sampled_provenance(algorithm: SearchAlgorithm, genotype: Genotype) -> JsonValue:
    """What the table says of a network that is about to be measured; None for candidates of other algorithms."""
    if not isinstance(algorithm, SampledNetworks):
        return None
    estimates: dict[str, JsonValue] = {e.value: us for e, us in algorithm.estimates_us.get(genotype, {}).items()}
    return {"operator": SAMPLED, ESTIMATES: estimates, MISSING: algorithm.missing.get(genotype, "")}
