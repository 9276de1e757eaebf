"""pymoo's NSGA-II behind the ask/tell protocol. The only module that imports pymoo.

pymoo gives the tournament, the mating loop and the generation step. Ours are: the operators (integer, canonical), the
admission of offspring (never asked before, cheap constraints hold), the survival (weighted crowding, constraints
first), the initial sample (filled), and the state (JSON, with rank and crowding, which cannot be recomputed).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo import __version__ as pymoo_version
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.crossover import Crossover as PymooCrossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.individual import Individual
from pymoo.core.mating import Mating
from pymoo.core.mutation import Mutation as PymooMutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.survival import Survival
from pymoo.core.termination import NoTermination
from pymoo.operators.selection.tournament import TournamentSelection

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import InfeasibleError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.uncertainty import value_text
from nas_engine.search import state_codec as codec
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.base import BaseSearchAlgorithm
from nas_engine.search.ledger import CandidateLedger
from nas_engine.search.survival import select_survivors
from nas_engine.search.variation.crossover import CrossOrMutate, StageBlockCrossover
from nas_engine.search.variation.mates import nearest_mates
from nas_engine.search.variation.mutation import HierarchicalMutation
from nas_engine.search.variation.operator_protocols import Crossover, Mutation
from nas_engine.settings.algorithms import ConstraintHandling, Nsga2Settings
from nas_engine.settings.base import CheckpointedSettings

ErrorsOf = Callable[[Sequence[Genotype]], Sequence[Sequence[float]]]

MAX_MATING_ROUNDS = 25
"""Rounds of mating per ask before the batch is topped up with random immigrants."""


class Nsga2(BaseSearchAlgorithm):
    """NSGA-II on a search space's integer encoding."""

    CROSSES_OR_MUTATES = False
    """Whether a child is crossed or else mutated (with the probability of mutation), instead of one after the other."""

    def __init__(
        self,
        problem: SearchProblem,
        settings: Nsga2Settings,
        seed: int,
        *,
        declared: CheckpointedSettings | None = None,
    ) -> None:
        """See class.

        Args:
            problem: what is searched; the objectives' weights weigh the crowding distance.
            settings: of the algorithm; the dominance of `problem` ranks survivors and decides tournaments.
            seed: of the generator.
            declared: the settings a checkpoint names, where another algorithm is built on this one.
        """
        identity = (declared or settings).identity()
        if problem.dominance is not Dominance.POINT:
            # Left out of checkpoints that were stored before there was another one.
            identity["dominance"] = problem.dominance.value
        super().__init__(problem, identity, seed)
        self._settings = settings
        self._weights = tuple(objective.weight for objective in problem.objectives)
        self._mutation = self._make_mutation()
        self._waiting: list[Genotype] = []
        self._num_rejected = 0
        self._pymoo = self._make_pymoo()

    @property
    def batch_size(self) -> int:
        """Candidates that complete the current generation: the initial sample first, then the offspring."""
        return max(1, self._generation_size - len(self._waiting))

    @property
    def _generation_size(self) -> int:
        if self._pymoo.is_initialized:
            return self._settings.offspring(self.num_observed, len(self._weights))
        return self._initial_sample

    @property
    def _initial_sample(self) -> int:
        """Candidates before any are bred; an algorithm built on this one may want more."""
        return self._settings.initial_sample(self.problem.space.size, len(self._weights))

    @property
    def _num_survivors(self) -> int:
        """Follows what was told, so that a checkpoint needs no state of it and a search may be extended."""
        return self._settings.survivors(self.num_observed, len(self._weights))

    @property
    def population(self) -> tuple[Genotype, ...]:
        """The current survivors."""
        return () if self._pymoo.pop is None else tuple(_genotype(individual) for individual in self._pymoo.pop)

    def front(self) -> tuple[Observation, ...]:
        """The feasible results of the whole search that none dominates, in the dominance of the problem."""
        return self.archive.confident_front() if self._confident else self.archive.front()

    @property
    def _confident(self) -> bool:
        return self.problem.dominance is Dominance.CONFIDENT

    def _errors(self, genotypes: Sequence[Genotype]) -> list[tuple[float, ...]]:
        """Standard errors of the objectives, as told last."""
        return [self.problem.standard_errors(self.archive[genotype]) for genotype in genotypes]

    @property
    def survivors(self) -> tuple[Genotype, ...]:
        """The population, and what waits for its generation to be full."""
        return (*self.population, *self._waiting)

    def _make_mutation(self) -> Mutation:
        """The mutation of offspring; an algorithm built on this one may bring its own."""
        return HierarchicalMutation(
            self.encoding,
            structural_probability=self._settings.structural_probability,
            mean_leaves=self._settings.mean_leaves,
        )

    def _make_mating_operators(self) -> tuple[PymooCrossover, PymooMutation]:
        settings = self._settings
        crossover = StageBlockCrossover(self.encoding, settings.block_probability)
        if self.CROSSES_OR_MUTATES:
            either = CrossOrMutate(crossover, self._mutation, settings.mutation_probability)
            return _PairCrossover(either, 1.0), _RowMutation(self._mutation, 0.0)
        return (
            _PairCrossover(crossover, settings.crossover_probability),
            _RowMutation(self._mutation, settings.mutation_probability),
        )

    def _make_pymoo(self) -> NSGA2:
        num_genes = len(self.encoding.num_choices)
        crossover, mutation = self._make_mating_operators()
        mating = Mating(
            _Parents(self._settings.mates),
            crossover,
            mutation,
            eliminate_duplicates=_Admission(self.ledger),
            n_max_iterations=MAX_MATING_ROUNDS,
        )
        algorithm = NSGA2(
            pop_size=self._settings.survivors(0, len(self._weights)),
            n_offsprings=self._settings.offspring(0, len(self._weights)),
            sampling=None,
            mating=mating,
            survival=_WeightedSurvival(self._weights, self._errors if self._confident else None),
            output=None,
        )
        if self._confident:
            # Values alone must not decide a tournament; ranks are those of confident dominance.
            algorithm.tournament_type = "comp_by_rank_and_crowding"
        bounds = np.asarray(self.encoding.num_choices) - 1
        definition = Problem(
            n_var=num_genes, n_obj=len(self._weights), n_ieq_constr=1, xl=np.zeros(num_genes, int), xu=bounds, vtype=int
        )
        # Our budget is authoritative: pymoo's default termination would end a search by itself.
        algorithm.setup(definition, termination=NoTermination(), seed=0)
        algorithm.random_state = self._rng
        return algorithm

    def _propose(self, num: int) -> list[Genotype]:
        if self._num_rejected > self._settings.rejection_limit:
            raise self._constraint_unmet()
        initial = not self._pymoo.is_initialized or len(self.ledger.asked) < self._initial_sample
        if initial or not self.population:
            return self.ledger.immigrants(num, self._rng)
        self._pymoo.n_offsprings = num
        offspring = self._pymoo.ask()
        # pymoo answers None and asks for termination when it finds nothing new.
        batch = [] if offspring is None else [_genotype(individual) for individual in offspring]
        return batch + self.ledger.immigrants(num - len(batch), self._rng)

    def _absorb(self, results: Sequence[Observation]) -> None:
        if self._settings.constraint_handling is ConstraintHandling.FEASIBILITY_FIRST:
            self._advance([observation.genotype for observation in results])
            return
        kept = [observation.genotype for observation in results if self.problem.violation(observation) == 0.0]
        self._num_rejected += len(results) - len(kept)
        self._waiting.extend(kept)
        if len(self._waiting) >= self._generation_size:
            self._advance(self._waiting)
            self._waiting, self._num_rejected = [], 0

    def _advance(self, genotypes: Sequence[Genotype]) -> None:
        self._pymoo.pop_size = self._num_survivors
        self._pymoo.tell(infills=self._individuals(genotypes))
        self._generation += 1

    def _keep_best(self, num: int) -> None:
        """Let the best `num` of the population survive."""
        self._pymoo.pop = self._pymoo.survival.do(
            self._pymoo.problem, self._pymoo.pop, n_survive=num, random_state=self._rng
        )

    def _absorb_revision(self, results: Sequence[Observation]) -> None:
        """Rank the survivors anew with the revised values; who survived earlier is not reconsidered.

        What waits for its generation to be full has not survived anything: it must meet the constraints now.
        """
        kept = [genotype for genotype in self._waiting if self.problem.violation(self.archive[genotype]) == 0.0]
        self._num_rejected += len(self._waiting) - len(kept)
        self._waiting = kept
        if not {observation.genotype for observation in results} & set(self.population):
            return
        population = self._individuals(self.population)
        self._pymoo.pop = self._pymoo.survival.do(
            self._pymoo.problem, population, n_survive=len(population), random_state=self._rng
        )

    def _choose_anew(self, told: Sequence[Observation]) -> None:
        """Let the best of everything told survive, by the constraints as they are now: some that missed the earlier
        ones may be among them. What waits for its generation to be full waits on.
        """
        self._num_rejected = 0
        rejects = self._settings.constraint_handling is ConstraintHandling.REJECT
        if not self._pymoo.is_initialized:
            if rejects:
                self._waiting = [observation.genotype for observation in self.archive.feasible()]
            return
        waiting = set(self._waiting)
        told = [observation for observation in told if observation.genotype not in waiting]
        if rejects:  # where nothing meets them the nearest are bred from, until something does
            told = [observation for observation in told if self.problem.violation(observation) == 0.0] or told
        if not told:
            return
        population = self._individuals([observation.genotype for observation in told])
        num = min(max(len(self.population), 1), len(population))
        self._pymoo.pop = self._pymoo.survival.do(
            self._pymoo.problem, population, n_survive=num, random_state=self._rng
        )

    def _absorb_withdrawal(self, genotypes: Set[Genotype]) -> None:
        self._waiting = [genotype for genotype in self._waiting if genotype not in genotypes]
        if self._pymoo.pop is not None:
            kept = [place for place, genotype in enumerate(self.population) if genotype not in genotypes]
            self._pymoo.pop = self._pymoo.pop[kept]

    def _individuals(self, genotypes: Sequence[Genotype]) -> Population:
        individuals = []
        for genotype in genotypes:
            observation = self.archive[genotype]
            individual = Individual()
            individual.X = np.asarray(genotype, dtype=np.int64)
            individual.F = np.asarray(self.problem.minimized(observation), dtype=np.float64)
            individual.G = np.asarray([self.problem.violation(observation)], dtype=np.float64)
            individual.H = np.zeros(0)
            individuals.append(individual)
        return Population.create(*individuals)

    def _constraint_unmet(self) -> InfeasibleError:
        seen = []
        for constraint in self.problem.constraints:
            values = [
                t.objectives[constraint.metric] for t in self.archive.results if constraint.metric in t.objectives
            ]
            if values:
                least, most = (value_text(one, constraint.metric.unit) for one in (min(values), max(values)))
                seen.append(f"{constraint.metric.name} from {least} to {most}")
        return InfeasibleError(
            f"{self._num_rejected} candidates of one generation violate the constraints (limit "
            f"{self._settings.rejection_limit}); evaluated so far: {'; '.join(seen) or 'none'}. Relax the constraint"
        )

    def _own_state(self) -> Mapping[str, JsonValue]:
        members = () if self._pymoo.pop is None else self._pymoo.pop
        return {
            "pymoo_version": pymoo_version,
            "initialized": bool(self._pymoo.is_initialized),
            "iteration": int(self._pymoo.n_iter or 0),
            "population": [
                {
                    "genotype": list(_genotype(individual)),
                    "rank": int(individual.get("rank")),
                    "crowding": codec.encode_float(float(individual.get("crowding"))),
                }
                for individual in members
            ],
            "waiting": [list(genotype) for genotype in self._waiting],
            "num_rejected": self._num_rejected,
        }

    def _load_own_state(self, state: Mapping[str, JsonValue]) -> None:
        choices = self.encoding.num_choices
        genotypes, ranks, crowdings = [], [], []
        for item in codec.as_sequence(codec.field_of(state, "population"), "population"):
            member = codec.as_mapping(item, "population member")
            genotype = codec.decode_genotype(codec.field_of(member, "genotype"), choices)
            if genotype not in self.archive:
                raise SearchStateError(f"checkpoint: survivor {genotype} has no result")
            genotypes.append(genotype)
            ranks.append(codec.as_int(codec.field_of(member, "rank"), "rank"))
            crowdings.append(codec.decode_float(codec.field_of(member, "crowding"), "crowding"))
        self._pymoo = self._make_pymoo()
        if bool(codec.field_of(state, "initialized")):
            population = self._individuals(genotypes)
            population.set("rank", ranks)
            population.set("crowding", crowdings)
            self._pymoo.pop = population
            self._pymoo.is_initialized = True
            self._pymoo.n_iter = codec.as_int(codec.field_of(state, "iteration"), "iteration")
        self._waiting = codec.decode_genotypes(codec.field_of(state, "waiting"), "waiting", choices)
        self._num_rejected = codec.as_int(codec.field_of(state, "num_rejected"), "num_rejected")


def _genotype(individual: Any) -> Genotype:
    return tuple(int(value) for value in individual.X)


class _Parents(TournamentSelection):  # type: ignore[misc]
    """Winners of tournaments; the second parent is, of several winners, the nearest to the first in the objectives."""

    def __init__(self, num_mates: int) -> None:
        super().__init__(func_comp=binary_tournament)
        self._num_mates = num_mates

    def _do(
        self,
        problem: Problem,
        pop: Population,
        n_select: int,
        n_parents: int = 2,
        random_state: np.random.Generator | None = None,
        **kwargs: Any,
    ) -> NDArray[np.int64]:
        winners = super()._do(problem, pop, n_select, self._num_mates + 1, random_state=random_state, **kwargs)
        return nearest_mates(pop.get("F"), np.asarray(winners, dtype=np.int64))


class _PairCrossover(PymooCrossover):  # type: ignore[misc]
    """Our crossover, one pair of parents at a time."""

    def __init__(self, crossover: Crossover, probability: float) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=probability)
        self._crossover = crossover

    def _do(
        self, problem: Problem, X: NDArray[np.int64], *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> NDArray[np.int64]:
        del problem, args, kwargs
        children = np.empty_like(X)
        for pair in range(X.shape[1]):
            first, second = (tuple(int(v) for v in X[parent, pair]) for parent in (0, 1))
            children[0, pair], children[1, pair] = self._crossover(first, second, random_state)
        return children


class _RowMutation(PymooMutation):  # type: ignore[misc]
    """Our mutation, one child at a time."""

    def __init__(self, mutation: Mutation, probability: float) -> None:
        super().__init__(prob=1.0)
        self._mutation = mutation
        self._probability = probability

    def _do(
        self, problem: Problem, X: NDArray[np.int64], *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> NDArray[np.int64]:
        del problem, args, kwargs
        mutated = X.copy()
        for row in range(len(X)):
            if random_state.random() < self._probability:
                mutated[row] = self._mutation(tuple(int(v) for v in X[row]), random_state)
        return mutated


class _Admission(DuplicateElimination):  # type: ignore[misc]
    """Keeps the offspring that were never asked and that the cheap filter admits, reserving them as it goes.

    pymoo's own elimination compares with the current population only and knows nothing of the archive or of
    candidates in flight.
    """

    def __init__(self, ledger: CandidateLedger) -> None:
        super().__init__()
        self._ledger = ledger

    def do(self, pop: Population, *args: Any, **kwargs: Any) -> Population:
        """The admitted part of `pop`."""
        del args, kwargs
        kept = [individual for individual in pop if self._ledger.admit(_genotype(individual))]
        return Population.create(*kept)


class _WeightedSurvival(Survival):  # type: ignore[misc]
    """`select_survivors` in pymoo's interface."""

    def __init__(self, weights: tuple[float, ...], errors_of: ErrorsOf | None) -> None:
        super().__init__(filter_infeasible=False)
        self._weights = weights
        self._errors_of = errors_of

    def _do(
        self,
        problem: Problem,
        pop: Population,
        *args: Any,
        n_survive: int,
        random_state: np.random.Generator,
        **kwargs: Any,
    ) -> Population:
        del problem, args, kwargs
        points, violations = pop.get("F"), pop.get("G")[:, 0]
        errors = None if self._errors_of is None else self._errors_of([_genotype(individual) for individual in pop])
        chosen = select_survivors(points, violations, n_survive, self._weights, random_state, errors)
        survivors = pop[chosen.indices]
        survivors.set("rank", chosen.rank)
        survivors.set("crowding", chosen.crowding)
        return survivors
