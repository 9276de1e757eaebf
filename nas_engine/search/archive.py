"""Every result of one search, unbounded: the front is taken from here, never from a population that forgets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.dominance import CONFIDENCE_Z
from nas_engine.domain.errors import SearchStateError
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.pareto import Floats, HypervolumeReference, confidently_non_dominated, non_dominated


class EvaluatedArchive:
    """Results in the order told, one per genotype; revised values replace the earlier ones in place.

    What was withdrawn is gone, so that nothing is compared with it."""

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem
        self._results: dict[Genotype, Observation] = {}
        self._version = 0

    def __len__(self) -> int:
        return len(self._results)

    def __contains__(self, genotype: object) -> bool:
        return genotype in self._results

    def __getitem__(self, genotype: Genotype) -> Observation:
        return self._results[genotype]

    @property
    def version(self) -> int:
        """Grows with every addition and revision; what is computed from the archive is valid for one version."""
        return self._version

    @property
    def results(self) -> tuple[Observation, ...]:
        """Every result, in the order told."""
        return tuple(self._results.values())

    def add(self, observation: Observation) -> None:
        """Append a first result, or replace the one of the same genotype.

        Raises:
            SearchStateError: a metric is missing.
        """
        self._problem.check_complete(observation)
        self._results[observation.genotype] = observation
        self._version += 1

    def remove(self, genotype: Genotype) -> None:
        """Take a result out. Raises KeyError."""
        del self._results[genotype]
        self._version += 1

    def feasible(self) -> tuple[Observation, ...]:
        """Results that violate nothing."""
        return tuple(
            observation for observation in self._results.values() if self._problem.violation(observation) == 0.0
        )

    def front(self) -> tuple[Observation, ...]:
        """Feasible results no other feasible result dominates."""
        feasible = self.feasible()
        return _pick(feasible, non_dominated(self.points(feasible)))

    def confident_front(self, z: float = CONFIDENCE_Z) -> tuple[Observation, ...]:
        """Feasible results no other dominates beyond the told uncertainty: what to re-measure before concluding."""
        feasible = self.feasible()
        errors = [self._problem.standard_errors(observation) for observation in feasible]
        errors_NM = np.asarray(errors, dtype=np.float64).reshape(len(feasible), len(self._problem.objectives))
        return _pick(feasible, confidently_non_dominated(self.points(feasible), errors_NM, z))

    def hypervolume(self, reference: HypervolumeReference) -> float:
        """Hypervolume of the feasible results in a fixed frame.

        Raises:
            SearchStateError: the frame has another number of objectives.
        """
        if len(reference.ideal) != len(self._problem.objectives):
            raise SearchStateError(
                f"the reference has {len(reference.ideal)} objectives, the search {len(self._problem.objectives)}"
            )
        return reference.hypervolume(self.points(self.feasible()))

    def points(self, results: Sequence[Observation]) -> Floats:
        """Objective values of `results`, minimised: (num_results, num_objectives)."""
        rows = [self._problem.minimized(observation) for observation in results]
        return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(self._problem.objectives))


def _pick(
    results: Sequence[Observation], keep_N: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> tuple[Observation, ...]:
    return tuple(observation for observation, kept in zip(results, keep_N, strict=True) if kept)
