"""Search quality on a real table (NAS-Bench-Macro), and latency prediction on real devices (FBNet, 27 settings).

    python benchmarks/search_quality.py --data DIR [--seeds 20] [--json FILE]

DIR (or HILNAS_DATA) holds nasbench_macro_cifar10.npz and fbnet_latency.npz: NAS-Bench-Macro from
https://github.com/xiusu/NAS-Bench-Macro (Apache-2.0), the FBNet latencies from https://github.com/HayeonLee/HELP (MIT).
The peers need the extra `bench` (optuna).

Hypervolume: accuracy and MACs scaled by the table's minimum and maximum, reference point 1.1, as a share of the true
front's. Only distinct architectures count as evaluations, for everyone: a peer that repeats itself pays nothing for it.
Exit status 1 when a claim at the end does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import optuna
from comparison import Row, report
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV

from nas_engine.cost.predictor import MetricPredictor, PredictorModel
from nas_engine.cost.rank_correlation import kendall_tau
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import LATENCY_US, MACS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.domain.search_space import Gene
from nas_engine.search.algorithm import CheapFilter, Observation, SearchProblem
from nas_engine.search.cheap_filter import filter_of
from nas_engine.search.factory import create_algorithm
from nas_engine.search.pareto import HypervolumeReference
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    PredictorAssistedSettings,
    RandomSearchSettings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from nas_engine.settings.base import CheckpointedSettings
from nas_engine.spaces.tables.files import nas_bench_macro
from nas_engine.spaces.tables.space import TableSpace

OBJECTIVES = (Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE))
MARKS = (100, 125, 250, 500)
POPULATION = 20
FBNET_STAGES = (1, 4, 4, 4, 4, 4, 1)
"""Searchable layers per stage (Wu et al. 2019, Table 1)."""
MAX_REPEATS = 20
"""Bound on a peer that keeps proposing what it already evaluated: calls per evaluation of the budget."""

Floats = NDArray[np.float64]
Stream = Iterator[Genotype]


@dataclass(frozen=True, slots=True)
class World:
    """The table as a lookup."""

    table: TableSpace
    values: dict[Genotype, dict[Metric, float]]
    reference: HypervolumeReference
    true_hypervolume: float

    @classmethod
    def of(cls, table: TableSpace) -> World:
        """Read every row once; scale by the table's own extremes."""
        values = {g: {m: v.value for m, v in table.lookup(g).items()} for g in table.rows}
        points = np.asarray([_point(row) for row in values.values()])
        reference = HypervolumeReference.spanning(points)
        return cls(table, values, reference, reference.hypervolume(points))

    def observe(self, genotype: Genotype) -> Observation:
        """A row as a result."""
        row = self.values[genotype]
        return Observation(genotype=genotype, objectives={metric: row[metric] for metric in (TOP1, MACS)})

    def cheap(self, maximum_macs: float | None = None) -> CheapFilter:
        """MACs are known before evaluation, as for any architecture."""
        bounds = [] if maximum_macs is None else [Constraint(MACS, maximum=maximum_macs)]
        return filter_of(self.table, bounds)

    def shares(self, stream: Stream) -> list[float]:
        """Hypervolume share after each of `MARKS` distinct evaluations."""
        distinct: dict[Genotype, None] = {}
        for genotype in islice(stream, MAX_REPEATS * MARKS[-1]):
            distinct[genotype] = None
            if len(distinct) >= MARKS[-1]:
                break
        points = np.asarray([_point(self.values[genotype]) for genotype in distinct])
        return [self.reference.hypervolume(points[:mark]) / self.true_hypervolume for mark in MARKS]


def _point(row: dict[Metric, float]) -> tuple[float, ...]:
    return tuple(objective.minimized(row[objective.metric]) for objective in OBJECTIVES)


def our_stream(config: CheckpointedSettings, world: World, seed: int) -> Stream:
    """What one of our algorithms evaluates."""
    algorithm = create_algorithm(
        config, SearchProblem(space=world.table, objectives=OBJECTIVES, cheap_filter=world.cheap()), seed
    )
    while batch := algorithm.ask(algorithm.batch_size):
        algorithm.tell([world.observe(genotype) for genotype in batch])
        yield from batch


def pymoo_stream(world: World, seed: int) -> Stream:
    """pymoo's NSGA-II with its documented operators for integers."""
    num_choices = np.asarray([gene.num_choices for gene in world.table.genes])
    problem = Problem(n_var=len(num_choices), n_obj=2, xl=0, xu=num_choices - 1, vtype=int)
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    algorithm.setup(problem, termination=NoTermination(), seed=seed)
    while (offspring := algorithm.ask()) is not None:
        genotypes = [tuple(int(v) for v in row) for row in offspring.get("X")]
        offspring.set("F", np.asarray([_point(world.values[genotype]) for genotype in genotypes]))
        algorithm.tell(infills=offspring)
        yield from genotypes


def optuna_stream(world: World, seed: int) -> Stream:
    """Optuna's NSGA-II sampler on categorical parameters."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    while True:
        trial = study.ask()
        genotype = tuple(
            int(trial.suggest_categorical(gene.name, list(range(gene.num_choices)))) for gene in world.table.genes
        )
        study.tell(trial, _point(world.values[genotype]))
        yield genotype


OURS: dict[str, CheckpointedSettings] = {
    "NSGA-II": Nsga2Settings(population_size=POPULATION),
    "SCARLET NSGA-II": ScarletNsga2Settings(population_size=POPULATION),
    "binned evolution": BinnedEvolutionSettings(population_size=50, num_mutation=10, num_crossover=10),
    "predictor-assisted": PredictorAssistedSettings(),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """One requirement, and where it is missed."""

    text: str
    missed: tuple[str, ...]


def hypervolume_study(world: World, num_seeds: int) -> tuple[list[Row], list[Claim]]:
    """Every algorithm and peer for every seed: rows, and what is required of them."""
    makers: dict[str, Callable[[int], Stream]] = {
        name: (lambda seed, config=config: our_stream(config, world, seed))  # type: ignore[misc]
        for name, config in OURS.items()
    }
    peers = {
        "random search": lambda seed: our_stream(RandomSearchSettings(), world, seed),
        "pymoo NSGA-II": lambda seed: pymoo_stream(world, seed),
        "Optuna NSGA-II": lambda seed: optuna_stream(world, seed),
    }
    shares: dict[str, Floats] = {}
    print(f"hypervolume as a share of the true front's, mean +- standard error, {num_seeds} seeds")
    print(f"{'':20}" + "".join(f"{mark:>18}" for mark in MARKS) + f"{'s per seed':>14}")
    for name, maker in {**makers, **peers}.items():
        start = time.perf_counter()
        shares[name] = np.asarray([world.shares(maker(seed)) for seed in range(num_seeds)])
        seconds = (time.perf_counter() - start) / num_seeds
        cells = zip(shares[name].mean(axis=0), _standard_error(shares[name]), strict=True)
        print(f"{name:20}" + "".join(f"{m:10.4f} +-{e:.4f}" for m, e in cells) + f"{seconds:14.2f}", flush=True)
    rows = [
        Row(f"{ours}, {mark} evaluations, vs {peer}", a, b, a / b, "share of the true hypervolume")
        for ours in OURS
        for peer in peers
        for mark, a, b in zip(MARKS, shares[ours].mean(axis=0), shares[peer].mean(axis=0), strict=True)
    ]
    nsga2, assisted = shares["NSGA-II"].mean(axis=0), shares["predictor-assisted"].mean(axis=0)
    early, late = assisted[MARKS.index(125)], nsga2[MARKS.index(500)]
    rows.append(Row("predictor-assisted, 125, vs our NSGA-II, 500", early, late, early / late, "share"))
    return rows, _claims(shares, list(peers))


def _standard_error(shares: Floats) -> Floats:
    error: Floats = shares.std(axis=0, ddof=1) / np.sqrt(len(shares))
    return error


def _claims(shares: dict[str, Floats], peers: Sequence[str]) -> list[Claim]:
    """What is required of us: not below any peer by more than one standard error; 125 with predictors for 500."""
    claims = []
    ours, our_error = shares["NSGA-II"].mean(axis=0), _standard_error(shares["NSGA-II"])
    for peer in peers:
        means = shares[peer].mean(axis=0)
        below = [
            f"after {mark}: {a:.4f} is more than one standard error ({error:.4f}) below {b:.4f}"
            for mark, a, b, error in zip(MARKS, ours, means, our_error, strict=True)
            if a < b - error
        ]
        claims.append(Claim(f"NSGA-II is not below {peer} by more than one standard error", tuple(below)))
    early, late = shares["predictor-assisted"].mean(axis=0)[MARKS.index(125)], ours[MARKS.index(500)]
    missed = () if early >= late else (f"{early:.4f} is below {late:.4f}",)
    claims.append(Claim("predictor-assisted reaches NSGA-II's hypervolume of 500 evaluations within 125", missed))
    return claims


def single_objective_study(world: World, num_seeds: int) -> list[Row]:
    """SPOS's evolution: best accuracy under a MACs limit (the table's median), next to random search."""
    limit = float(np.median([row[MACS] for row in world.values.values()]))
    top1 = (OBJECTIVES[0],)
    best = max(row[TOP1] for row in world.values.values() if row[MACS] <= limit)
    means = []
    for config in (SposEvolutionSettings(), RandomSearchSettings()):
        found = []
        for seed in range(num_seeds):
            algorithm = create_algorithm(
                config, SearchProblem(space=world.table, objectives=top1, cheap_filter=world.cheap(limit)), seed
            )
            while algorithm.num_asked < MARKS[-1]:
                batch = algorithm.ask(min(algorithm.batch_size, MARKS[-1] - algorithm.num_asked))
                algorithm.tell([world.observe(genotype) for genotype in batch])
            found.append(max(observation.objectives[TOP1] for observation in algorithm.results))
        means.append(float(np.mean(found)))
    print(f"best top-1 under {limit / 1e6:.1f} M MACs in the table: {best:.5f}")
    return [Row("SPOS evolution, 500, vs random search", means[0], means[1], means[0] / means[1], "best top-1")]


def latency_study(path: Path) -> list[Row]:
    """Kendall's tau on unseen FBNet networks, mean over the 27 device settings."""
    with np.load(path, allow_pickle=False) as file:
        architectures, latency_ms = file["arch"].astype(np.int64), file["latency_ms"].astype(np.float64)
        options = tuple(str(name) for name in file["op_names"])
    stages = [stage for stage, num_layers in enumerate(FBNET_STAGES) for _ in range(num_layers)]
    genes = tuple(Gene(f"layer{i}", options, f"stage{stage}") for i, stage in enumerate(stages))
    one_hot = np.eye(len(options))[architectures].reshape(len(architectures), -1)
    rows = []
    for num in (50, 100, 300):
        taus: dict[str, list[float]] = {"ours": [], "linear per-operator table": [], "random forest": []}
        for device in range(latency_ms.shape[1]):
            order = np.random.default_rng(device).permutation(len(architectures))
            known, unseen = order[:num], order[num : num + 1000]
            target, truth = latency_ms[known, device], latency_ms[unseen, device]
            predictor = MetricPredictor(genes, LATENCY_US, PredictorModel.GAUSSIAN_PROCESS)
            predictor.fit(architectures[known].tolist(), (1000.0 * target).tolist())
            linear = RidgeCV(np.logspace(-3, 3, 13)).fit(one_hot[known], target)
            forest = RandomForestRegressor(200, random_state=0).fit(one_hot[known], target)
            predictions = {
                "ours": predictor.predict(architectures[unseen].tolist()).mean,
                "linear per-operator table": linear.predict(one_hot[unseen]),
                "random forest": forest.predict(one_hot[unseen]),
            }
            for name, predicted in predictions.items():
                taus[name].append(kendall_tau(predicted.tolist(), truth.tolist()) or 0.0)
        means = {name: float(np.mean(values)) for name, values in taus.items()}
        rows += [
            Row(f"latency predictor, {num} measurements, vs {peer}", means["ours"], tau, means["ours"] / tau, "tau")
            for peer, tau in means.items()
            if peer != "ours"
        ]
    return rows


def _num_seeds(text: str) -> int:
    num = int(text)
    if num < 2:
        raise argparse.ArgumentTypeError("a standard error needs at least 2 seeds")
    return num


def main() -> int:
    """Run all studies; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HILNAS_DATA") or "/none"))
    parser.add_argument("--seeds", type=_num_seeds, default=20, help="at least 2 [20]")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    macro, fbnet = arguments.data / "nasbench_macro_cifar10.npz", arguments.data / "fbnet_latency.npz"
    for path in (macro, fbnet):
        if not path.is_file():
            parser.error(f"{path} is missing: give --data DIR (or HILNAS_DATA) with the tables named in --help")
    world = World.of(nas_bench_macro(macro))
    rows, claims = hypervolume_study(world, arguments.seeds)
    rows += single_objective_study(world, arguments.seeds)
    rows += latency_study(fbnet)
    report(rows, arguments.json)
    for claim in claims:
        print(f"{'DOES NOT HOLD' if claim.missed else 'holds'}: {claim.text}", *claim.missed, sep="\n    ")
    return 1 if any(claim.missed for claim in claims) else 0


if __name__ == "__main__":
    sys.exit(main())
