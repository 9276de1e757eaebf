"""What is compared with us, each as the stream of genotypes that it evaluates in one world.

Only distinct architectures count as evaluations, for everyone: a peer that repeats itself pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import optuna
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling

from nas_engine.domain.architecture import Genotype
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.base import ProposingSettings
from worlds.world import World

Stream = Callable[[World, int], Iterator[Genotype]]
"""(world, seed) -> genotypes in the order evaluated."""

MAX_REPEATS = 20
"""Bound on a peer that keeps proposing what it already evaluated: calls per evaluation of the budget."""


def evaluated(stream: Stream, world: World, seed: int, budget: int) -> list[Genotype]:
    """Up to `budget` distinct canonical genotypes that a search evaluates, in order."""
    distinct: dict[Genotype, None] = {}
    for genotype in islice(stream(world, seed), MAX_REPEATS * budget):
        distinct[genotype] = None
        if len(distinct) >= budget:
            break
    return list(distinct)


def ours(settings: ProposingSettings) -> Stream:
    """One of our algorithms, as the product drives it: generation by generation."""

    def stream(world: World, seed: int) -> Iterator[Genotype]:
        algorithm = create_algorithm(settings, world.problem(), seed)
        while batch := algorithm.ask(algorithm.batch_size):
            algorithm.tell(world.observations(batch, seed))
            yield from batch

    return stream


def pymoo_nsga2(population_size: int) -> Stream:
    """pymoo's NSGA-II with its documented operators for integers (pymoo.org/customization/discrete.html)."""

    def stream(world: World, seed: int) -> Iterator[Genotype]:
        problem = Problem(
            n_var=len(world.num_choices),
            n_obj=len(world.objectives),
            n_ieq_constr=int(bool(world.constraints)),
            xl=0,
            xu=world.num_choices - 1,
            vtype=int,
        )
        algorithm = NSGA2(
            pop_size=population_size,
            sampling=IntegerRandomSampling(),
            crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            eliminate_duplicates=True,
        )
        algorithm.setup(problem, termination=NoTermination(), seed=seed)
        while (offspring := algorithm.ask()) is not None:
            genotypes = [world.space.canonical([int(v) for v in row]) for row in offspring.get("X")]
            values = world.observed(genotypes, seed)
            offspring.set("F", world.minimised(values))
            if world.constraints:
                offspring.set("G", world.violation(values)[:, None])
            algorithm.tell(infills=offspring)
            yield from genotypes

    return stream


def optuna_search(sampler: Callable[[int], optuna.samplers.BaseSampler]) -> Stream:
    """An Optuna sampler, made of a seed, on categorical parameters."""

    def stream(world: World, seed: int) -> Iterator[Genotype]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(directions=["minimize"] * len(world.objectives), sampler=sampler(seed))
        while True:
            trial = study.ask()
            genotype = world.space.canonical(
                [int(trial.suggest_categorical(g.name, list(range(g.num_choices)))) for g in world.space.genes]
            )
            values = world.observed([genotype], seed)
            if world.constraints:
                trial.set_constraint("constraints", float(world.violation(values)[0]))
            study.tell(trial, world.minimised(values)[0].tolist())
            yield genotype

    return stream


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed)


def _gp(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed)


def _nsga2(seed: int, population_size: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(population_size=population_size, seed=seed)


NSGA2_PEERS: dict[str, Stream] = {
    "pymoo NSGA-II, 20": pymoo_nsga2(20),
    "pymoo NSGA-II, 100": pymoo_nsga2(100),
    "Optuna NSGA-II, 20": optuna_search(partial(_nsga2, population_size=20)),
    "Optuna NSGA-II, 50": optuna_search(partial(_nsga2, population_size=50)),
}
"""By name with the population: pymoo's page on integers has 20, its default is 100; Optuna's default is 50."""

SLOW_PEERS: dict[str, Stream] = {"Optuna TPE": optuna_search(_tpe)}
GP_PEERS: dict[str, Stream] = {"Optuna GP": optuna_search(_gp)}
