"""Search quality: our algorithms and their peers in a family of worlds (benchmarks/search/worlds).

    python benchmarks/search/search_quality.py [--worlds a,b] [--algorithms x,y] [--seeds 30] [--slow-seeds 10]
        [--processes 2] [--runs FILE] [--tuning] [--list]

HILNAS_DATA holds the published tables (`worlds/real.py` names them); worlds without their file are left out, with a
word. The peers need the extra `bench` (optuna). Searches of one seed are paired: they see the same world and the same
noise. With ``--runs FILE`` every run is appended to that file and none in it is run again, so that parts can be run
alone (fewer worlds, seeds, or a smaller ``--budget``) and printed together. Optuna's GP sampler is left out unless it
is named:

    python benchmarks/search/search_quality.py --worlds macro,cells,pairs --algorithms "Optuna GP" --slow-seeds 5
        --budget 200

Exit status 1 when a claim at the end does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from worlds.peers import GP_PEERS, NSGA2_PEERS, SLOW_PEERS, Stream, evaluated, ours
from worlds.real import held_out_errors
from worlds.references import frame_of, world_of
from worlds.registry import FAMILIES, is_there
from worlds.statistics import holm, mean_ranks, p_below, standard_error
from worlds.world import MARKS, Family, Role

from nas_engine.settings.algorithms import Nsga2Settings, PredictorAssistedSettings, RandomSearchSettings

NSGA2 = "NSGA-II"
PREDICTOR = "predictor-assisted"
PEER = "pymoo NSGA-II, 20"
"""What the predictor-assisted search is to reach in fewer evaluations: the stronger of pymoo's populations."""
OURS: dict[str, Stream] = {NSGA2: ours(Nsga2Settings()), "random search": ours(RandomSearchSettings())}
OURS_SLOW: dict[str, Stream] = {PREDICTOR: ours(PredictorAssistedSettings())}
"""Every one with the defaults that REST gives."""

CHEAP: dict[str, Stream] = {**OURS, **NSGA2_PEERS}
SLOW: dict[str, Stream] = {**OURS_SLOW, **SLOW_PEERS}
STREAMS: dict[str, Stream] = {**CHEAP, **SLOW, **GP_PEERS}
TOLERATED = 0.001
"""Mean share by which NSGA-II may be below a peer after 250 and 500 evaluations."""

SIGNIFICANT = 0.05

REACHED_BY, REACHED_FROM, REACHED_IN = 125, 500, 0.75
"""The predictor-assisted search is to be where `PEER` is after the second number of evaluations by the first, in this
share of the worlds; in the others it is never to be below it at the same number."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One search: shares of the best hypervolume at the marks, and the seconds that all of it took."""

    world: str
    algorithm: str
    seed: int
    shares: tuple[float, ...]
    evaluations: int
    seconds: float


def search(world_name: str, algorithm: str, seed: int, budget: int) -> Run:
    """Run one search."""
    instance = seed % FAMILIES[world_name].num_instances
    world, frame = world_of(world_name, instance), frame_of(world_name, instance)
    start = time.process_time()
    genotypes = evaluated(STREAMS[algorithm], world, seed, budget)
    seconds = time.process_time() - start
    marks = [mark for mark in MARKS if mark <= budget] or [budget]
    return Run(world_name, algorithm, seed, tuple(world.shares(genotypes, frame, marks)), len(genotypes), seconds)


class Runs:
    """The runs of a table, kept in a file where one is given."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        lines = file.read_text().splitlines() if file is not None and file.is_file() else []
        found = [Run(**{**json.loads(line), "shares": tuple(json.loads(line)["shares"])}) for line in lines]
        self._runs = {(run.world, run.algorithm, run.seed): run for run in found}

    def missing(self, wanted: Iterable[tuple[str, str, int]], num_marks: int) -> list[tuple[str, str, int]]:
        """What of `wanted` was not run, or not as far as this many marks."""
        return [one for one in wanted if one not in self._runs or len(self._runs[one].shares) < num_marks]

    def add(self, run: Run) -> None:
        """Keep a run."""
        self._runs[run.world, run.algorithm, run.seed] = run
        if self._file is not None:
            with self._file.open("a") as out:
                out.write(json.dumps({name: getattr(run, name) for name in Run.__slots__}) + "\n")

    def shares(self, world: str, algorithm: str, seeds: Sequence[int]) -> Floats:
        """Shares of the best hypervolume, (seeds, marks that all of them reached), of one algorithm in one world."""
        found = [self._runs[world, algorithm, seed].shares for seed in seeds]
        reached = min(map(len, found))
        return np.asarray([shares[:reached] for shares in found])

    def milliseconds(self, world: str, algorithm: str, seeds: Sequence[int]) -> float:
        """Mean of computing per evaluation of a run, evaluation included."""
        runs = [self._runs[world, algorithm, seed] for seed in seeds]
        return float(np.mean([1000.0 * run.seconds / run.evaluations for run in runs]))

    def seeds(self, world: str, *algorithms: str, mark: int = MARKS[0]) -> list[int]:
        """Seeds that all of `algorithms` were run with, as far as `mark` evaluations."""
        far = MARKS.index(mark) + 1
        found = [
            {s for (w, a, s), run in self._runs.items() if (w, a) == (world, algorithm) and len(run.shares) >= far}
            for algorithm in algorithms
        ]
        return sorted(set.intersection(*found))


def print_table(runs: Runs, worlds: Sequence[Family], algorithms: Sequence[str]) -> None:
    """Mean share and its standard error, per world and algorithm."""
    for family in worlds:
        frame = frame_of(family.name, 0)
        print(
            f"\n{family.name}: {family.about}; {'exact' if frame.is_exact else 'best-known'} hypervolume of "
            f"instance 0 {frame.hypervolume:.5f}, {family.num_instances} instances"
        )
        for algorithm in algorithms:
            seeds = runs.seeds(family.name, algorithm)
            if not seeds:
                continue
            shares = runs.shares(family.name, algorithm, seeds)
            errors = [f"+-{standard_error(column):.4f}" if len(seeds) > 1 else " " * 8 for column in shares.T]
            cells = [f"{column.mean():9.4f} {error}" for column, error in zip(shares.T, errors, strict=True)]
            cells += [" " * 18] * (len(MARKS) - len(cells))
            spent = runs.milliseconds(family.name, algorithm, seeds)
            print(f"  {algorithm:20}" + "".join(cells) + f"{spent:8.1f} ms/candidate  {len(seeds)} seeds")


def print_ranks(runs: Runs, worlds: Sequence[Family], algorithms: Sequence[str]) -> dict[str, list[float]]:
    """Mean rank over the worlds after each mark, of the mean shares."""
    present = [a for a in algorithms if all(len(runs.seeds(w.name, a, mark=MARKS[-1])) > 1 for w in worlds)]
    ranks: dict[str, list[float]] = {algorithm: [] for algorithm in present}
    for mark in range(len(MARKS)):
        means = {
            a: [float(runs.shares(w.name, a, runs.seeds(w.name, a, mark=MARKS[-1]))[:, mark].mean()) for w in worlds]
            for a in present
        }
        for algorithm, rank in mean_ranks(means).items():
            ranks[algorithm].append(rank)
    print("\nmean rank over the worlds" + "".join(f"{mark:>10}" for mark in MARKS))
    for algorithm, values in ranks.items():
        print(f"  {algorithm:23}" + "".join(f"{value:10.2f}" for value in values))
    return ranks


def nsga2_misses(runs: Runs, worlds: Sequence[Family], ranks: dict[str, list[float]]) -> list[str]:
    """Where our NSGA-II does not keep what is claimed of it, next to each peer's."""
    misses = []
    last = MARKS[-1]
    for peer in (peer for peer in NSGA2_PEERS if all(runs.seeds(w.name, NSGA2, peer, mark=last) for w in worlds)):
        for place, mark in enumerate(MARKS):
            pairs = {}
            for family in worlds:
                seeds = runs.seeds(family.name, NSGA2, peer, mark=last)
                pairs[family.name] = tuple(runs.shares(family.name, a, seeds)[:, place] for a in (NSGA2, peer))
            corrected = holm({name: p_below(*pair) for name, pair in pairs.items()})
            lowest = min(corrected, key=corrected.__getitem__)
            print(
                f"  below {peer} after {mark}: smallest p (Holm, one-sided) {corrected[lowest]:.3f} in {lowest}; "
                f"smallest difference of means {min(a.mean() - b.mean() for a, b in pairs.values()):+.4f}"
            )
            misses += [f"{n}, {mark}: below {peer}, p {p:.4f}" for n, p in corrected.items() if p < SIGNIFICANT]
            if mark >= 250:
                misses += [
                    f"{name}, {mark}: {a.mean():.4f} is below {peer}'s {b.mean():.4f} by more than {TOLERATED}"
                    for name, (a, b) in pairs.items()
                    if a.mean() < b.mean() - TOLERATED
                ]
            if peer in ranks and ranks[NSGA2][place] >= ranks[peer][place]:
                misses.append(f"mean rank after {mark}: {ranks[NSGA2][place]:.2f}, {peer} {ranks[peer][place]:.2f}")
    return misses


def predictor_misses(runs: Runs, worlds: Sequence[Family]) -> list[str]:
    """Where the predictor-assisted search does not keep what is claimed of it, next to `PEER` with the same seeds."""
    misses, slower = [], []
    early, late = MARKS.index(REACHED_BY), MARKS.index(REACHED_FROM)
    told = [f for f in worlds if runs.seeds(f.name, PREDICTOR, PEER, mark=REACHED_BY)]
    for family in told:
        seeds = [s for s in runs.seeds(family.name, PREDICTOR, mark=REACHED_BY) if s in runs.seeds(family.name, PEER)]
        ours_, peer = (runs.shares(family.name, a, seeds) for a in (PREDICTOR, PEER))
        if peer.shape[1] <= late:
            continue
        at, goal = float(ours_[:, early].mean()), float(peer[:, late].mean())
        p = p_below(ours_[:, early], peer[:, late])
        verdict = "reaches" if at >= goal else "does not reach"
        print(
            f"  {family.name}: {at:.4f} after {REACHED_BY} {verdict} {PEER}'s {goal:.4f} after {REACHED_FROM} "
            f"(p of being below {p:.3f}, {len(seeds)} seeds)"
        )
        if at < goal:
            slower.append(family.name)
            misses += [
                f"{family.name}, {MARKS[m]}: {ours_[:, m].mean():.4f} is below {PEER}'s {peer[:, m].mean():.4f}"
                for m in range(ours_.shape[1])
                if ours_[:, m].mean() < peer[:, m].mean()
            ]
    for mark in range(len(MARKS)):
        p_values = {}
        for family in told:
            seeds = runs.seeds(family.name, PREDICTOR, PEER, mark=MARKS[mark])
            if len(seeds) > 1:
                pair = (runs.shares(family.name, a, seeds)[:, mark] for a in (PREDICTOR, PEER))
                p_values[family.name] = p_below(*pair)
        misses += [f"{n}, {MARKS[mark]}: below {PEER}, p {p:.4f}" for n, p in holm(p_values).items() if p < SIGNIFICANT]
    if len(slower) > (1.0 - REACHED_IN) * len(told):
        misses.append(f"{', '.join(slower)}: more than a quarter of {len(told)} worlds are not reached")
    return misses


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", help="names, comma between [all that are reported]")
    parser.add_argument("--algorithms", help="names, semicolon between [all but Optuna GP]")
    parser.add_argument("--seeds", type=int, default=30, help="of the cheap algorithms [30]")
    parser.add_argument("--slow-seeds", type=int, default=10, help="of the others [10]")
    parser.add_argument("--budget", type=int, default=MARKS[-1], help="evaluations per search [500]")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=Path, help="file that runs are read from and appended to")
    parser.add_argument("--tuning", action="store_true", help="the worlds that settings are chosen on")
    parser.add_argument("--list", action="store_true", help="print worlds and algorithms")
    arguments = parser.parse_args()
    role = Role.TUNING if arguments.tuning else Role.REPORTED
    chosen = (
        [name.strip() for name in arguments.worlds.split(",")]
        if arguments.worlds
        else [f.name for f in FAMILIES.values() if f.role is role]
    )
    names = [a.strip() for a in arguments.algorithms.split(";")] if arguments.algorithms else [*CHEAP, *SLOW]
    for known, asked in ((FAMILIES, chosen), (STREAMS, names)):
        if unknown := [name for name in asked if name not in known]:
            parser.error(f"unknown {', '.join(unknown)}: known are {'; '.join(known)}")
    arguments.worlds, arguments.algorithms = [FAMILIES[name] for name in chosen], names
    return arguments


def main() -> int:
    """Run what is missing, print the table; 1 when a claim does not hold."""
    arguments = _arguments()
    if arguments.list:
        print("\n".join([*(f"{f.name}: {f.about} ({f.role.value})" for f in FAMILIES.values()), *STREAMS]))
        return 0
    worlds = [family for family in arguments.worlds if is_there(family)]
    for family in arguments.worlds:
        if not is_there(family):
            print(f"{family.name} is left out: HILNAS_DATA holds no {family.needs}")
    runs = Runs(arguments.runs)
    num_marks = max(1, sum(mark <= arguments.budget for mark in MARKS))
    wanted = (
        (family.name, algorithm, seed)
        for family in worlds
        for algorithm in arguments.algorithms
        for seed in range(arguments.seeds if algorithm in CHEAP else arguments.slow_seeds)
    )
    missing = runs.missing(wanted, num_marks)
    with ProcessPoolExecutor(arguments.processes) as pool:
        for run in (
            pool.map(search, *zip(*((*one, arguments.budget) for one in missing), strict=True)) if missing else ()
        ):
            runs.add(run)
    print(f"hypervolume as a share of the best, mean +- standard error, after {', '.join(map(str, MARKS))} evaluations")
    print_table(runs, worlds, arguments.algorithms)
    print("", *held_out_errors(), sep="\n")
    misses, is_judged = [], False
    if PREDICTOR in arguments.algorithms and PEER in arguments.algorithms:
        print("\nthe predictor-assisted search and " + PEER)
        misses += predictor_misses(runs, worlds)
        is_judged = True
    if arguments.budget >= MARKS[-1] and NSGA2 in arguments.algorithms:
        ranks = print_ranks(runs, worlds, arguments.algorithms)
        misses += nsga2_misses(runs, worlds, ranks)
        is_judged = True
    if is_judged:
        print("the claims " + ("hold" if not misses else "DO NOT HOLD"), *misses, sep="\n    ")
    else:
        print("no claim is about these algorithms and this budget")
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
