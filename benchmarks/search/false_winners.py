"""False winners: how often a front measured with noise reports what is truly dominated, with and without re-measuring.

    python benchmarks/search/false_winners.py [--worlds noisy,pairs,additive] [--seeds 20] [--budget 200]
        [--noise 0.004,0.03] [--processes 2] [--runs FILE]

The predictor-assisted search runs in worlds that answer with noise (standard errors as shares of accuracy and of
latency), once as it is and once with `remeasure`, by the rule and the limits of the server: members of the front whose
latency is not known to 2 % are measured once more, and the second value replaces the first. Both searches of a seed see
the same noise. What is reported is then held against the true values of everything that was evaluated:

- dominated: share of the front's members that another evaluated candidate truly dominates
- picks: share of the picks (the most accurate within the quarters of the front's span of latencies) that are
- too late: share of the picks that truly miss the bound they were picked for
- luck: mean of true latency over reported latency, less 1, on the front
- share: of the best hypervolume, by the true values of everything that was evaluated
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from worlds.references import frame_of, world_of
from worlds.registry import FAMILIES
from worlds.statistics import standard_error
from worlds.world import World

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.dominance import CONFIDENCE_Z
from nas_engine.domain.metrics import LATENCY_US, TOP1
from nas_engine.search.algorithm import Observation
from nas_engine.search.algorithms.predictor_assisted import PredictorAssistedSearch
from nas_engine.settings.algorithms import PredictorAssistedSettings
from server.searches.worker.remeasure import CANDIDATES_PER_REMEASUREMENT, NOISY

FIGURES = ("dominated", "picks", "too late", "luck", "share", "measured again", "front")
QUARTERS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Run:
    """One search: its figures in the order of `FIGURES`."""

    world: str
    noise: tuple[float, ...]
    budget: int
    remeasured: bool
    seed: int
    figures: tuple[float, ...]


def search(world_name: str, noise: tuple[float, ...], budget: int, remeasured: bool, seed: int) -> Run:
    """Run one search, and hold its front against the truth."""
    instance = seed % FAMILIES[world_name].num_instances
    world = replace(world_of(world_name, instance), relative_noise=noise)
    algorithm = PredictorAssistedSearch(world.problem(), PredictorAssistedSettings(), seed)
    again: set[Genotype] = set()
    while algorithm.num_observed < budget:
        batch = algorithm.ask(min(algorithm.batch_size, budget - algorithm.num_observed))
        if not batch:
            break
        algorithm.tell(world.observations(batch, seed))
        if remeasured:
            # The search has asked its next candidates by then, and goes on without waiting.
            _measure_again(algorithm, world, seed, again)
    while remeasured and _measure_again(algorithm, world, seed, again):
        pass
    figures = (*_held_against_the_truth(algorithm, world), len(again), len(algorithm.front()))
    evaluated = [result.genotype for result in algorithm.results]
    share = world.shares(evaluated, frame_of(world_name, instance), [budget])[0]
    return Run(world_name, noise, budget, remeasured, seed, (*figures[:4], share, *figures[4:]))


def _measure_again(algorithm: PredictorAssistedSearch, world: World, seed: int, again: set[Genotype]) -> bool:
    """Measure what the server would (server/searches/worker/remeasure.py); whether there was any."""
    doubted = [
        (-o.uncertainty[LATENCY_US] / o.objectives[LATENCY_US], place, o)
        for place, o in enumerate(algorithm.front())
        if o.genotype not in again and o.uncertainty[LATENCY_US] * CONFIDENCE_Z > NOISY * o.objectives[LATENCY_US]
    ]
    left = algorithm.num_asked // CANDIDATES_PER_REMEASUREMENT - len(again)
    chosen: list[Observation] = [o for *_, o in sorted(doubted, key=lambda one: one[:2])[: max(left, 0)]]
    for before in chosen:
        after = world.observations([before.genotype], seed, attempt=1)[0]
        latency = {LATENCY_US: after.objectives[LATENCY_US]}
        error = {LATENCY_US: after.uncertainty[LATENCY_US]}
        objectives, uncertainty = {**before.objectives, **latency}, {**before.uncertainty, **error}
        algorithm.revise([replace(before, objectives=objectives, uncertainty=uncertainty)])
        again.add(before.genotype)
    return bool(chosen)


def _held_against_the_truth(algorithm: PredictorAssistedSearch, world: World) -> tuple[float, float, float, float]:
    """The first four of `FIGURES`."""
    front = algorithm.front()
    truth = world.minimised(world.true_values([result.genotype for result in algorithm.results]))
    points = world.minimised(world.true_values([member.genotype for member in front]))
    beaten = [bool(((truth <= point).all(axis=1) & (truth < point).any(axis=1)).any()) for point in points]
    told = np.asarray([member.objectives[LATENCY_US] for member in front])
    top1 = np.asarray([member.objectives[TOP1] for member in front])
    true_latency = world.true_values([member.genotype for member in front])[:, 1]
    picks, late = [], []
    for quarter in QUARTERS:
        bound = float(told.min() + quarter * np.ptp(told))
        pick = int(np.argmax(np.where(told <= bound, top1, -np.inf)))
        picks.append(beaten[pick])
        late.append(bool(true_latency[pick] > bound))
    return (
        float(np.mean(beaten)),
        float(np.mean(picks)),
        float(np.mean(late)),
        float(np.mean(true_latency / told) - 1.0),
    )


def report(runs: Sequence[Run], world: str) -> None:
    """Print what came in one world, and the paired difference."""
    by_arm = {arm: {run.seed: run.figures for run in runs if run.remeasured is arm} for arm in (False, True)}
    seeds = sorted(by_arm[False].keys() & by_arm[True].keys())
    without, with_it = (np.asarray([by_arm[arm][seed] for seed in seeds]) for arm in (False, True))
    print(f"\n{world}, {len(seeds)} seeds" + " " * 8 + "".join(f"{name:>20}" for name in FIGURES))
    for label, table in (("as it is", without), ("measured again", with_it), ("difference", with_it - without)):
        cells = (f"{column.mean():11.4f} +-{standard_error(column):.4f}" for column in table.T)
        print(f"  {label:18}" + "".join(f"{cell:>20}" for cell in cells))


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", default="noisy,pairs,additive", help="of accuracy and latency, without constraints")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--noise", default="0.004,0.03", help="standard errors, relative [0.004,0.03]")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=Path, help="file that runs are read from and appended to")
    arguments = parser.parse_args()
    noise = tuple(float(share) for share in arguments.noise.split(","))
    worlds = arguments.worlds.split(",")
    lines = arguments.runs.read_text().splitlines() if arguments.runs is not None and arguments.runs.is_file() else []
    tuples = ("noise", "figures")
    stored = [Run(**{k: tuple(v) if k in tuples else v for k, v in json.loads(line).items()}) for line in lines]
    runs = [run for run in stored if run.noise == noise and run.budget == arguments.budget]
    known = {(run.world, run.remeasured, run.seed) for run in runs}
    missing = [
        (world, noise, arguments.budget, remeasured, seed)
        for seed in range(arguments.seeds)
        for world in worlds
        for remeasured in (False, True)
        if (world, remeasured, seed) not in known
    ]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for run in pool.map(search, *zip(*missing, strict=True)) if missing else ():
            runs.append(run)
            if arguments.runs is not None:
                with arguments.runs.open("a") as out:
                    out.write(json.dumps({name: getattr(run, name) for name in Run.__slots__}) + "\n")
    for world in worlds:
        report([run for run in runs if run.world == world], world)


if __name__ == "__main__":
    main()
