"""A world: what is searched, what an evaluation answers, and the best hypervolume there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.metrics import is_cheap
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import CheapCheck, Observation, SearchProblem
from nas_engine.search.pareto import HypervolumeReference
from worlds.function_space import FunctionSpace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ValuesOf = Callable[[Ints], Floats]
"""(N, genes), canonical -> (N, metrics): the true values, in the order and the units of `World.metrics`."""

MARKS = (100, 125, 250, 500)
"""Numbers of evaluations after which searches are compared."""


class Role(Enum):
    """Use of a family: settings were chosen on the TUNING ones; the claims are measured on the REPORTED ones."""

    TUNING = "tuning"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Frame:
    """What hypervolumes are measured by.

    Attributes:
        reference: scales objectives to 0 (ideal) ... 1 (nadir); the reference point is 1.1.
        hypervolume: of the best front.
        is_exact: whether that front is the true one; otherwise the best that long searches found.
    """

    reference: HypervolumeReference
    hypervolume: float
    is_exact: bool


@dataclass(frozen=True, eq=False)
class World:
    """One searchable table or function.

    Attributes:
        name: of the world.
        space: the encoding.
        objectives: two or three.
        values_of: the true values of canonical genotypes.
        constraints: bounds on objectives or on `extra` metrics, known once a candidate is evaluated.
        extra: constrained metrics that are no objectives; columns of `values_of` after the objectives'.
        relative_noise: standard error of what is observed, per objective, as a share of the value.
    """

    name: str
    space: FunctionSpace
    objectives: tuple[Objective, ...]
    values_of: ValuesOf
    constraints: tuple[Constraint, ...] = ()
    extra: tuple[Objective, ...] = ()
    relative_noise: tuple[float, ...] = ()
    _known: dict[Genotype, Floats] = field(default_factory=dict, repr=False)

    @property
    def num_choices(self) -> Ints:
        """Choices per gene."""
        return np.asarray([gene.num_choices for gene in self.space.genes], dtype=np.int64)

    def true_values(self, genotypes: Sequence[Genotype]) -> Floats:
        """(N, metrics) of canonical genotypes, looked up where they are known."""
        new = [genotype for genotype in dict.fromkeys(genotypes) if genotype not in self._known]
        if new:
            self._known.update(zip(new, self.values_of(np.asarray(new, dtype=np.int64)), strict=True))
        return np.asarray([self._known[genotype] for genotype in genotypes])

    def minimised(self, values: Floats) -> Floats:
        """Objectives of rows of `true_values`, turned so that smaller is better."""
        signs = np.asarray([objective.minimized(1.0) for objective in self.objectives])
        points: Floats = values[:, : len(signs)] * signs
        return points

    def violation(self, values: Floats) -> Floats:
        """Total relative violation of the constraints, 0 where they hold."""
        columns = [one.metric for one in (*self.objectives, *self.extra)]
        total = np.zeros(len(values))
        for bound in self.constraints:
            column = values[:, columns.index(bound.metric)]
            for limit, beyond in ((bound.maximum, 1.0), (bound.minimum, -1.0)):
                if limit is not None:
                    total += np.maximum(0.0, beyond * (column - limit)) / max(abs(limit), 1.0)
        return total

    def observed(self, genotypes: Sequence[Genotype], seed: int, attempt: int = 0) -> Floats:
        """Values as they are measured: equal seed, genotype and attempt give equal values."""
        values = self.true_values(genotypes)
        if any(self.relative_noise):
            scale = np.asarray([*self.relative_noise, *(0.0 for _ in self.extra)])
            values = values * [
                1.0 + scale * np.random.default_rng((seed, attempt, *genotype)).normal(size=len(scale))
                for genotype in genotypes
            ]
        return values

    def observations(self, genotypes: Sequence[Genotype], seed: int, attempt: int = 0) -> list[Observation]:
        """`observed`, as our algorithms are told it."""
        metrics = [one.metric for one in (*self.objectives, *self.extra)]
        return [
            Observation(
                genotype=genotype,
                objectives=dict(zip(metrics, map(float, row), strict=True)),
                uncertainty={
                    metric: share * abs(float(value))
                    for metric, value, share in zip(metrics, row, self.relative_noise, strict=False)
                    if share > 0
                },
            )
            for genotype, row in zip(genotypes, self.observed(genotypes, seed, attempt), strict=True)
        ]

    def problem(self) -> SearchProblem:
        """The search, as our algorithms take it; cheap metrics (MACs, params) are known before evaluation."""
        metrics = [one.metric for one in (*self.objectives, *self.extra)]
        cheap = [(column, metric) for column, metric in enumerate(metrics) if is_cheap(metric)]

        def known_before(genotype: Genotype) -> CheapCheck:
            row = self.true_values([genotype])[0] if cheap else ()
            return CheapCheck({metric: float(row[column]) for column, metric in cheap}, {})

        return SearchProblem(
            space=self.space, objectives=self.objectives, constraints=self.constraints, cheap_filter=known_before
        )

    def shares(self, genotypes: Sequence[Genotype], frame: Frame, marks: Sequence[int] = MARKS) -> list[float]:
        """Share of the best hypervolume after so many distinct evaluations, by the true values.

        Args:
            genotypes: as evaluated, canonical, in order; repetitions are passed over.
        """
        values = self.true_values(list(dict.fromkeys(genotypes)))
        points, feasible = self.minimised(values), self.violation(values) == 0.0
        return [frame.reference.hypervolume(points[:mark][feasible[:mark]]) / frame.hypervolume for mark in marks]


@dataclass(frozen=True, slots=True)
class Family:
    """Worlds of one kind: run number `seed` searches instance ``seed % num_instances``.

    Attributes:
        name: in tables and on the command line.
        about: what it stands for, in a line.
        role: whether settings were chosen on it.
        make: the world of an instance number.
        num_instances: how many differ.
        needs: file in the data folder without which it is skipped; empty for generated worlds.
    """

    name: str
    about: str
    role: Role
    make: Callable[[int], World]
    num_instances: int = 1
    needs: str = ""
