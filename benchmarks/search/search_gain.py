"""Expected against realised gain: what queued candidates were expected to add, and what the stop rule `plateau` costs.

    python benchmarks/search/search_gain.py [--worlds a,b] [--algorithms x;y] [--seeds 10] [--processes 2] [--runs FILE]
        [--tuning] [--share 0.005] [--num-candidates 50]

Searches run to their whole budget, as the product drives them, and every step says what the product would say. The
realised gain of a candidate is by true values, in the frame of the world: the predictions see neither. Its rank
correlation with the expected one (Kendall's tau-b, Spearman's rho) is taken within each search, over every candidate
of which something was expected. Where `plateau` holds for the first time the search would have ended; its cost is
what the rest of the budget still added, as a share of the final hypervolume.

The defaults of the rule were chosen on the tuning families (--tuning); the claims are read from the others.
Exit status 1 when one does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from worlds.references import frame_of, world_of
from worlds.registry import FAMILIES, families
from worlds.world import Family, Role, World

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.domain.architecture import Genotype
from nas_engine.search.algorithm import SearchAlgorithm
from nas_engine.search.algorithms.predictor_assisted import PredictorAssistedSearch
from nas_engine.search.factory import create_algorithm
from nas_engine.search.pareto import HypervolumeReference, non_dominated
from nas_engine.search.predicting.outlook import Outlook
from nas_engine.settings.algorithms import Nsga2Settings, PredictorAssistedSettings, RandomSearchSettings
from nas_engine.settings.base import CheckpointedSettings
from nas_engine.settings.stopping import PlateauSettings

BUDGET = 500
MOST_COST = 0.01
"""Share of the final hypervolume that `plateau` may cost in the median world."""

ALGORITHMS: dict[str, CheckpointedSettings] = {
    "predictor-assisted": PredictorAssistedSettings(),
    "NSGA-II": Nsga2Settings(),
    "random search": RandomSearchSettings(),
}
DEFAULTS = ("predictor-assisted", "NSGA-II")


@dataclass(frozen=True, slots=True)
class Run:
    """One search.

    Attributes:
        expected: gain per candidate as it was asked; None where nothing was said.
        reached: hypervolume by true values after each candidate.
        steps: candidates told, and whether the rule held then: share of the last ones, and of the next ones.
        seconds: that expecting took, of the process.
    """

    world: str
    algorithm: str
    seed: int
    expected: list[float | None]
    reached: list[float]
    steps: list[tuple[int, float | None, float | None]]
    seconds: float

    @property
    def pairs(self) -> tuple[list[float], list[float]]:
        """Expected and realised gains, where something was expected."""
        found = [i for i, gain in enumerate(self.expected) if gain is not None and i and self.reached[i - 1] > 0.0]
        return (
            [float(self.expected[i] or 0.0) for i in found],
            [self.reached[i] / self.reached[i - 1] - 1.0 for i in found],
        )

    def stopped_after(self, rule: PlateauSettings) -> int:
        """Candidates evaluated when the rule held; all of them where it never did."""
        held = (num for num, last, following in self.steps if rule.is_reached(num, last, following))
        return next(held, len(self.reached))

    def cost(self, rule: PlateauSettings) -> float:
        """Share of the final hypervolume that stopping gave away."""
        return 1.0 - self.reached[self.stopped_after(rule) - 1] / self.reached[-1]


def search(world_name: str, algorithm_name: str, seed: int, window: int) -> Run:
    """Run one search to the end."""
    instance = seed % FAMILIES[world_name].num_instances
    world, reference = world_of(world_name, instance), frame_of(world_name, instance).reference
    algorithm = create_algorithm(ALGORITHMS[algorithm_name], world.problem(), seed)
    run = Run(world_name, algorithm_name, seed, [], [], [], 0.0)
    expected: dict[Genotype, float] = {}
    front = np.zeros((0, len(world.objectives)))
    point: tuple[float, ...] | None = None
    seconds = 0.0
    while len(run.reached) < BUDGET:
        batch = algorithm.ask(min(algorithm.batch_size, BUDGET - len(run.reached)))
        if not batch:
            break
        start = time.process_time()
        own = algorithm.predictors() if isinstance(algorithm, PredictorAssistedSearch) else None
        outlook = Outlook(world.problem(), algorithm.results, predictors=own, reference_point=point)
        forecast = outlook.forecast(batch)
        shares = outlook.last_share(window), outlook.next_share(forecast, window, expected)
        seconds += time.process_time() - start
        run.steps.append((len(run.reached), *shares))
        for place, genotype in enumerate(batch):
            gain = None if forecast.gains is None else forecast.gains[place]
            run.expected.append(gain)
            if gain is not None:
                expected[genotype] = gain
            front = _with(world, front, genotype)
            run.reached.append(reference.hypervolume(front))
        algorithm.tell(world.observations(batch, seed))
        point = point or _reference_point(world, algorithm)
    return Run(world_name, algorithm_name, seed, run.expected, run.reached, run.steps, seconds)


def _with(world: World, front: np.ndarray, genotype: Genotype) -> np.ndarray:
    """The true front with one more candidate."""
    values = world.true_values([genotype])
    if world.violation(values)[0] > 0.0:
        return front
    points = np.vstack([front, world.minimised(values)])
    return points[non_dominated(points)]


def _reference_point(world: World, algorithm: SearchAlgorithm) -> tuple[float, ...] | None:
    """A tenth of the span beyond the worst of the first generation, as the server fixes it."""
    problem = world.problem()
    rows = [problem.minimized(o) for o in algorithm.results if problem.violation(o) == 0.0]
    if not rows:
        return None
    frame = HypervolumeReference.spanning(rows)
    ends = np.asarray(frame.nadir) + frame.margin * (np.asarray(frame.nadir) - np.asarray(frame.ideal))
    return tuple(o.minimized(float(end)) for o, end in zip(world.objectives, ends, strict=True))


def read(file: Path | None) -> list[Run]:
    """The runs that a file holds."""
    lines = file.read_text().splitlines() if file is not None and file.is_file() else []
    return [Run(**{**json.loads(line), "steps": [tuple(s) for s in json.loads(line)["steps"]]}) for line in lines]


def report(runs: Sequence[Run], worlds: Sequence[Family], algorithm: str, rule: PlateauSettings) -> list[str]:
    """Print a table of one algorithm; returns what of the claims does not hold."""
    print(
        f"\n{algorithm}{'':22}{'tau':>6}{'rho':>7}{'promised/came':>15}{'stopped after':>16}{'cost [%]':>10}"
        f"{'worst [%]':>11}{'ms/candidate':>14}{'seeds':>7}"
    )
    misses, costs = [], []
    for family in worlds:
        of_world = [run for run in runs if (run.world, run.algorithm) == (family.name, algorithm)]
        if not of_world:
            continue
        pairs = [run.pairs for run in of_world]
        tau = float(np.mean([kendall_tau(*pair) or 0.0 for pair in pairs]))
        rho = float(np.mean([np.nan_to_num(spearmanr(*pair).statistic) for pair in pairs]))
        promised = sum(sum(expected) for expected, _ in pairs) / max(sum(sum(came) for _, came in pairs), 1e-12)
        cost = [run.cost(rule) for run in of_world]
        stops = [run.stopped_after(rule) for run in of_world]
        took = 1e3 * sum(run.seconds for run in of_world) / sum(len(run.reached) for run in of_world)
        costs.append(float(np.mean(cost)))
        print(
            f"  {family.name:{len(algorithm) + 20}}{tau:6.2f}{rho:7.2f}{promised:15.1f}{np.mean(stops):16.0f}"
            f"{100 * np.mean(cost):10.2f}{100 * max(cost):11.2f}{took:14.1f}{len(of_world):7}"
        )
        if tau <= 0.0 or rho <= 0.0:
            misses.append(f"{algorithm}, {family.name}: tau {tau:.3f}, rho {rho:.3f}")
    if costs:
        print(f"  median world: cost {100 * np.median(costs):.2f} %, largest {100 * max(costs):.2f} %")
        if np.median(costs) > MOST_COST:
            misses.append(f"{algorithm}: plateau costs {np.median(costs):.2%} in the median world")
    return misses


def _arguments() -> argparse.Namespace:
    rule = PlateauSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", help="names, comma between [all that are reported]")
    parser.add_argument("--algorithms", default=";".join(DEFAULTS), help=f"of {'; '.join(ALGORITHMS)}")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=Path, help="file that runs are read from and appended to")
    parser.add_argument("--tuning", action="store_true", help="the worlds that the rule was chosen on")
    parser.add_argument("--share", type=float, default=rule.share, help=f"of the rule [{rule.share}]")
    parser.add_argument("--num-candidates", type=int, default=rule.num_candidates, help=f"[{rule.num_candidates}]")
    arguments = parser.parse_args()
    chosen = families(Role.TUNING if arguments.tuning else Role.REPORTED)
    if arguments.worlds:
        chosen = [FAMILIES[name] for name in arguments.worlds.split(",")]
    arguments.worlds = chosen
    arguments.algorithms = [name.strip() for name in arguments.algorithms.split(";")]
    return arguments


def main() -> int:
    """Run what is missing, print the tables; 1 when a claim does not hold."""
    arguments = _arguments()
    runs = read(arguments.runs)
    known = {(run.world, run.algorithm, run.seed) for run in runs}
    missing = [
        (family.name, algorithm, seed, arguments.num_candidates)
        for seed in range(arguments.seeds)
        for algorithm in arguments.algorithms
        for family in arguments.worlds
        if (family.name, algorithm, seed) not in known
    ]
    if missing:
        with ProcessPoolExecutor(arguments.processes) as pool:
            for run in pool.map(search, *zip(*missing, strict=True)):
                runs.append(run)
                if arguments.runs is not None:
                    with arguments.runs.open("a") as out:
                        out.write(json.dumps({name: getattr(run, name) for name in Run.__slots__}) + "\n")
    rule = PlateauSettings(share=arguments.share, num_candidates=arguments.num_candidates)
    print(f"plateau: {rule.share:.2%} over {rule.num_candidates} candidates, budget {BUDGET}")
    misses = [miss for name in arguments.algorithms for miss in report(runs, arguments.worlds, name, rule)]
    print("\nthe claims hold" if not misses else "\nDOES NOT HOLD:", *misses, sep="\n    ")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
