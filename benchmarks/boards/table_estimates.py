"""Estimates from latency tables on simulated boards: how often their intervals hold, and by how much they err.

    python benchmarks/boards/table_estimates.py [--seeds 10] [--networks 20] [--json FILE]

On each of three simulated boards (tests/support/samples/simulated_boards.py) every operator of a space is timed alone,
with 1 % noise, and so are --networks networks of a report, drawn as reports draw them. The table is calibrated by these
(`nas_engine.cost.calibrated_tables`), and estimates 200 other networks, which nothing has seen: printed are the share
of their noisy latencies within the intervals of 90 %, the share that the served quality said, mean absolute error of
the estimates and of the bare sums, median width of the intervals, and Kendall's tau. A whole network takes what its
operators take, less 15 % of all but the longest of each block (what is fused), and 150 us to start.
Beside it, with `--peer`, the error of a predictor that is fitted to the same networks alone.
Exit status 1 where a board's mean coverage is not within 85 to 95 %.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from comparison import Row, report
from numpy.typing import NDArray

from nas_engine.cost.calibrated_tables.table_fit import fit_table
from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.cost.prediction.served_fit import NOMINAL, fit_served
from nas_engine.cost.sampled_networks import NetworkSampler
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.operator_graphs import cut_operators
from nas_engine.spaces.registry import create_space
from tests.support.samples.simulated_boards import BOARDS, Board, board_table

Floats = NDArray[np.float64]

NOISE = 0.01
START_US = 150.0
FUSED = 0.15
NUM_NEW = 200
COVERAGE = (0.85, 0.95)
BOARD_NAMES = ("cpu", "npu", "small cache")
SPACES = {
    "spos": {"input_size": 64, "num_classes": 10},
    "densenas-mbv2": {"input_size": 64, "num_classes": 10},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of one seed; errors and widths are fractions of the latency."""

    coverage: float
    said: float
    error: float
    bare_error: float
    width: float
    tau: float


def drawn(space: SearchSpace, num: int, seed: int) -> list[Genotype]:
    """Different networks, as a report draws them."""
    sampler = NetworkSampler(space, board_table(space, BOARDS["cpu"]), logit_std=1.0, seed=seed)
    found: dict[Genotype, None] = {}
    for number in range(20 * num):
        network = sampler.draw(number)
        if network is not None:
            found[network.genotype] = None
        if len(found) == num:
            break
    return list(found)


def network_us(space: SearchSpace, genotype: Genotype, board: Board) -> float:
    """What a board takes for a whole network: less than its operators take alone, and a start of its own."""
    graph = space.graph(space.decode(genotype), Form.DEPLOYED)
    assert graph is not None
    blocks: dict[str, list[float]] = {}
    for part in cut_operators(graph):
        blocks.setdefault(part.block.split(".")[0], []).append(board(part.graph))
    return START_US + sum(max(times) + (1.0 - FUSED) * (sum(times) - max(times)) for times in blocks.values())


def outcome(
    space: SearchSpace, board: Board, genotypes: list[Genotype], truth: Floats, seed: int, num_networks: int
) -> tuple[Outcome, list[int], Floats]:
    """One board's table and report, and networks that neither saw."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(genotypes))
    seen, new = order[:num_networks], order[num_networks : num_networks + NUM_NEW]
    measured = truth * (1.0 + NOISE * rng.normal(size=len(truth)))
    table = board_table(space, board, NOISE, seed)
    found = fit_table(space, table, [genotypes[i] for i in seen], measured[seen].tolist())
    assert found is not None
    served, quality = found
    others, wanted = [genotypes[i] for i in new], measured[new]
    said = served.estimate(others)
    sums = served.sums.of(np.asarray(others))
    figures = Outcome(
        coverage=float(((said.low <= wanted) & (wanted <= said.high)).mean()),
        said=quality.coverage,
        error=float(np.abs(said.values / wanted - 1.0).mean()),
        bare_error=float(np.abs(sums / wanted - 1.0).mean()),
        width=float(np.median((said.high - said.low) / wanted)),
        tau=kendall_tau(said.values, wanted) or 0.0,
    )
    return figures, seen.tolist(), measured


def peer_error(space: SearchSpace, genotypes: list[Genotype], measured: Floats, seen: list[int]) -> float:
    """Mean error of a predictor of the same networks alone."""
    chosen = [genotypes[i] for i in seen]
    try:
        found = fit_served(space.genes, LATENCY_US, chosen, measured[seen].tolist(), [0.0] * len(seen))
    except EngineError as error:
        print(f"no peer: {error}", file=sys.stderr)
        return float("nan")
    assert found is not None
    new = np.setdiff1d(np.arange(len(genotypes)), seen)
    values = found[0].estimate([genotypes[i] for i in new]).values
    return float(np.abs(values / measured[new] - 1.0).mean())


def main() -> int:
    """Run the study; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="tables and reports of each board [10]")
    parser.add_argument("--networks", type=int, default=20, help="networks of the report [20]")
    parser.add_argument("--spaces", nargs="+", default=list(SPACES), choices=list(SPACES))
    parser.add_argument("--peer", action="store_true", help="fit predictors to the same networks, of the first seed")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(
        f"{'':28} coverage (said)   error   bare sum  width   tau    peer's error   "
        f"[{arguments.networks} networks, {arguments.seeds} seeds, {NUM_NEW} new each; nominal {NOMINAL:.0%}]"
    )
    rows, failed = [], []
    for space_id in arguments.spaces:
        space = create_space(space_id, SPACES[space_id])
        genotypes = drawn(space, arguments.networks + 2 * NUM_NEW, seed=11)
        for name in BOARD_NAMES:
            board = BOARDS[name]
            truth = np.asarray([network_us(space, one, board) for one in genotypes])
            made = [
                outcome(space, board, genotypes, truth, seed, arguments.networks) for seed in range(arguments.seeds)
            ]
            mean = {field: float(np.mean([getattr(one[0], field) for one in made])) for field in Outcome.__slots__}
            _, seen, measured = made[0]
            peer = peer_error(space, genotypes, measured, seen) if arguments.peer else float("nan")
            label = f"{space_id}, {name}"
            print(
                f"{label:28} {mean['coverage']:.1%} ({mean['said']:.1%})    {mean['error']:.2%}   "
                f"{mean['bare_error']:.1%}     {mean['width']:.1%}   {mean['tau']:.3f}  {peer:.2%}",
                flush=True,
            )
            rows.append(
                Row(f"{label}: error", mean["error"], mean["bare_error"], mean["bare_error"] / mean["error"], "1")
            )
            if not COVERAGE[0] <= mean["coverage"] <= COVERAGE[1]:
                failed.append(label)
    report(rows, arguments.json)
    for label in failed:
        print(f"NOT MET: intervals of {label} hold outside {COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
