"""What-if boards: the true hypervolume of the front that few measurements on a new board estimate.

    python benchmarks/boards/what_if.py [--data DIR] [--seeds 10] [--measured 16] [--json FILE]

A search has been run on one board; of another, its candidates are measured --measured times, chosen by
`nas_engine.cost.transfer.planning`. The front is then estimated by `nas_engine.cost.transfer.transfer`, and its members
get their true latencies: the hypervolume of these, over that of measuring every candidate on the new board, is the
share. Beside it: the share of the known board's front as it is, which needs no measurement; the share after the 8
measurements that were said to settle it, and after 8 random ones; how often the 95 % intervals hold the true latency of
what was not measured, and by how much estimates are off.

Simulated boards take a time for every node of the layer graphs of a MobileNet space (SCARLET's first); see
tests/support/samples/simulated_boards.py. Measurements on them carry 1 % noise, the truth does not. With DIR (or
HILNAS_DATA) and fbnet_latency.npz in it, pairs of real boards of FBNet's networks are shown too, from
https://github.com/HayeonLee/HELP (MIT); their measurements are taken as the truth. Accuracy is of our making: it grows
with what is computed and saturates, and each choice has a worth of its own, drawn anew for every seed. Half of a
search's candidates are the best by rank on the known board, the others random, as an evolutionary search leaves them.
Exit status 1 where a mean share is below .95.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import moocore
import numpy as np
from comparison import Row, report
from fbnet_layers import choice_costs
from numpy.typing import NDArray

from nas_engine.cost.transfer.covariance import NetworkCovariance
from nas_engine.cost.transfer.planning import first_measurements, next_measurements
from nas_engine.cost.transfer.transfer import LatencyTransfer, estimate_all
from nas_engine.domain.search_space import Form, Gene
from nas_engine.domain.views.operator_totals import operator_totals
from nas_engine.spaces.registry import create_space
from tests.support.samples.simulated_boards import BOARDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WANTED_SHARE = 0.95
NUM_CANDIDATES = 300
NUM_NEXT = 8
NUM_SIMULATED = 900
NOISE = 0.01
SPACE = {"input_size": 64, "num_classes": 10}
SIMULATED_PAIRS = (("cpu", "npu"), ("cpu", "launches"), ("npu", "small cache"), ("small cache", "npu"))
REAL_PAIRS = (("gold_6226", "titan_rtx_64"), ("raspi4", "1080ti_1"), ("1080ti_1", "fpga"), ("pixel3", "raspi4"))


@dataclass(frozen=True, slots=True)
class Pair:
    """Networks on two boards: latencies as measured, microseconds, the new board's true ones; totals and genotypes."""

    name: str
    old: Floats
    new: Floats
    truth: Floats
    totals: Floats
    genotypes: Ints


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed's figures; shares are of the hypervolume of measuring all."""

    share: float
    old_share: float
    share_after_8: float
    share_after_8_random: float
    coverage: float
    error: float


def simulated() -> Iterator[Pair]:
    """Pairs of boards of our own making."""
    space = create_space("scarlet-s1", SPACE)
    rng = np.random.default_rng(0)
    genotypes = [_leaning(space.genes, rng) for _ in range(NUM_SIMULATED)]
    totals: list[Floats] = []
    latencies: dict[str, list[float]] = {name: [] for pair in SIMULATED_PAIRS for name in pair}
    for genotype in genotypes:
        graph = space.graph(space.decode(genotype), Form.DEPLOYED)
        assert graph is not None
        totals.append(operator_totals(graph).ravel())
        for name, found in latencies.items():
            found.append(BOARDS[name](graph))
    for old, new in SIMULATED_PAIRS:
        measured = [np.asarray(latencies[name]) * (1.0 + NOISE * rng.normal(size=NUM_SIMULATED)) for name in (old, new)]
        columns = np.asarray(latencies[new]), np.asarray(totals), np.asarray(genotypes)
        yield Pair(f"{old} -> {new}", *measured, *columns)


def _leaning(genes: Sequence[Gene], rng: np.random.Generator) -> tuple[int, ...]:
    """A network that prefers some choices: drawn choice by choice, all networks would cost about the same."""
    num = max(gene.num_choices for gene in genes)
    liking = rng.dirichlet(np.full(num, 2.0))
    shares = [liking[: gene.num_choices] + 1e-6 for gene in genes]
    return tuple(int(rng.choice(len(share), p=share / share.sum())) for share in shares)


def real(data: Path) -> Iterator[Pair]:
    """Pairs of FBNet's boards; none without the data."""
    file = data / "fbnet_latency.npz"
    if not file.is_file():
        print("fbnet_latency.npz is not there: pairs of simulated boards alone", file=sys.stderr)
        return
    with np.load(file, allow_pickle=False) as table:
        genotypes, names = table["arch"].astype(np.int64), [str(one) for one in table["devices"]]
        latency_us, options = 1000.0 * table["latency_ms"].astype(np.float64), [str(one) for one in table["op_names"]]
    costs = choice_costs(options).table
    totals = costs[genotypes + len(options) * np.arange(genotypes.shape[1])].sum(axis=1)
    for old, new in REAL_PAIRS:
        columns = latency_us[:, names.index(old)], latency_us[:, names.index(new)]
        yield Pair(f"{old} -> {new}", *columns, columns[1], totals, genotypes)


def accuracies(genotypes: Ints, totals: Floats, rng: np.random.Generator) -> Floats:
    """Accuracies of our making: they grow with what is computed, and each choice has a worth of its own."""
    size = np.log(totals.reshape(len(totals), -1).sum(axis=1))
    worth = rng.normal(0.0, 0.5, (genotypes.shape[1], int(genotypes.max()) + 1))
    taste = worth[np.arange(genotypes.shape[1]), genotypes].mean(axis=1)
    quality = (size - size.mean()) / size.std() + 1.0 * (taste - taste.mean()) / taste.std()
    return np.asarray(0.80 - 0.15 * np.exp(-0.6 * quality))


def outcome(pair: Pair, seed: int, num_measured: int) -> Outcome:
    """Let one search be finished, and carry its front over."""
    rng = np.random.default_rng(seed)
    errors = 1.0 - accuracies(pair.genotypes, pair.totals, rng)
    ranks = moocore.pareto_rank(np.column_stack([pair.old, errors]))
    best = np.argsort(ranks, kind="stable")[: NUM_CANDIDATES // 2]
    others = np.setdiff1d(np.arange(len(ranks)), best)
    rows = np.concatenate([best, rng.choice(others, NUM_CANDIDATES - len(best), replace=False)])
    old, new, errors = pair.old[rows], pair.new[rows], errors[rows]
    covariance = NetworkCovariance(old.tolist(), pair.totals[rows], pair.genotypes[rows].tolist())
    truth = np.column_stack([pair.truth[rows], errors])
    spread = truth.max(axis=0) - truth.min(axis=0)
    reference = truth.max(axis=0) + 0.1 * spread
    whole = moocore.hypervolume(truth, ref=reference)

    def share(latency: Floats) -> float:
        members = moocore.is_nondominated(np.column_stack([latency, errors]), keep_weakly=True)
        return float(moocore.hypervolume(truth[members], ref=reference) / whole)

    def estimated(measured: list[int]) -> tuple[LatencyTransfer, Floats]:
        transfer = LatencyTransfer(covariance, measured, new[measured].tolist())
        latency = np.exp(transfer.logs(np.arange(len(new)))[0])
        latency[measured] = new[measured]
        return transfer, latency

    measured = first_measurements(covariance, np.column_stack([old, errors]), num_measured)
    transfer, latency = estimated(measured)
    found = estimate_all(transfer)
    unseen = np.setdiff1d(np.arange(len(new)), measured)
    settling, _ = next_measurements(transfer, errors[:, None], NUM_NEXT)
    return Outcome(
        share=share(latency),
        old_share=share(old),
        share_after_8=share(estimated([*measured, *settling])[1]),
        share_after_8_random=share(estimated([*measured, *rng.choice(unseen, NUM_NEXT, replace=False).tolist()])[1]),
        coverage=float(((found.low <= new) & (new <= found.high))[unseen].mean()),
        error=float(np.abs(found.values / new - 1.0)[unseen].mean()),
    )


def main() -> int:
    """Run the study; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HILNAS_DATA") or "/none"))
    parser.add_argument("--seeds", type=int, default=10, help="searches of each pair [10]")
    parser.add_argument("--measured", type=int, default=16, help="measurements on the new board, 10 to 20 [16]")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(
        f"{'':28} share (least)   known front   +8 chosen  +8 random   coverage  error   "
        f"[{arguments.measured} of {NUM_CANDIDATES} measured, {arguments.seeds} seeds]"
    )
    rows, failed = [], []
    for pair in (*simulated(), *real(arguments.data)):
        outcomes = [outcome(pair, seed, arguments.measured) for seed in range(arguments.seeds)]
        mean = {name: float(np.mean([getattr(one, name) for one in outcomes])) for name in Outcome.__slots__}
        least = min(one.share for one in outcomes)
        print(
            f"{pair.name:28} {mean['share']:.3f} ({least:.3f})   {mean['old_share']:.3f}         "
            f"{mean['share_after_8']:.3f}      {mean['share_after_8_random']:.3f}       {mean['coverage']:.1%}     "
            f"{mean['error']:.1%}",
            flush=True,
        )
        rows.append(
            Row(f"{pair.name}: share", mean["share"], mean["old_share"], mean["old_share"] / mean["share"], "1")
        )
        if mean["share"] < WANTED_SHARE:
            failed.append(pair.name)
    report(rows, arguments.json)
    for name in failed:
        print(f"NOT MET: the front of {name} has less than {WANTED_SHARE} of the hypervolume")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
