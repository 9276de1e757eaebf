"""Latency prediction from few measurements: order (Kendall's tau) and intervals (coverage) on unseen networks.

    python benchmarks/boards/latency_prediction.py --data DIR [--devices 27] [--draws 10] [--json FILE]

DIR (or HILNAS_DATA) holds fbnet_latency.npz: 5,000 FBNet networks on 27 device settings, from
https://github.com/HayeonLee/HELP (MIT). Two more devices are generated over the same networks: one on which every
operator takes the longer of its arithmetic and its memory traffic (roofline), and one that runs all but one operator
fast, and that one on a slower unit with a transfer either way where its neighbours run elsewhere (cliffs, as NPUs have
them). Generated latencies carry 1 % noise; each is learned from several draws of measured networks, as how often
intervals hold differs by the draw (by 4 % after 50 measurements, however they are made), and the claim is of the mean.
The peers need the extra `engine` (scikit-learn).
What each operator costs in each layer is told to the predictor, as layer graphs tell it of a product's spaces.
Exit status 1 when a claim at the end does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from comparison import Row, report
from fbnet_layers import FBNET_STAGES, choice_costs
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.search_space import Gene

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WANTED_TAU = {50: 0.75, 100: 0.82, 300: 0.88}
"""Least mean Kendall's tau on FBNet's devices, by number of measurements."""

COVERAGE = 0.9
WANTED_COVERAGE = (0.85, 0.95)
NUM_UNSEEN = 1000


def _layers(options: tuple[str, ...]) -> tuple[Floats, Floats, Floats]:
    """Million MACs, Mbytes moved and depthwise share of every layer (rows) and operator (columns)."""
    channels, sizes = (16, 16, 24, 32, 64, 112, 184, 352), (112, 56, 28, 14, 14, 7, 7)
    macs, traffic, depthwise = [], [], []
    for stage, num_layers in enumerate(FBNET_STAGES):
        for layer in range(num_layers):
            wide_in, wide_out = channels[stage + (layer > 0)], channels[stage + 1]
            pixels = sizes[stage] ** 2
            row = []
            for option in options:
                kernel, expansion = (int(option[1]), int(option[4])) if option != "skip" else (0, 0)
                groups = 2 if option.endswith("g2") else 1
                wide = expansion * wide_in
                row.append(
                    (
                        pixels * wide * ((wide_in + wide_out) / groups + kernel**2) / 1e6,
                        4 * pixels * (wide_in + 2 * wide + wide_out) * (expansion > 0) / 1e6,
                        float(pixels * wide * kernel**2 / 1e6),
                    )
                )
            columns = np.asarray(row).T
            macs.append(columns[0])
            traffic.append(columns[1])
            depthwise.append(columns[2])
    return np.asarray(macs), np.asarray(traffic), np.asarray(depthwise)


def generated(architectures: Ints, options: tuple[str, ...]) -> Iterator[tuple[str, Floats]]:
    """Latencies in ms of the two generated devices."""
    macs, traffic, depthwise = _layers(options)
    layers = np.arange(architectures.shape[1])
    rng = np.random.default_rng(0)

    def noisy(latency: Floats) -> Floats:
        return np.asarray(latency * (1.0 + 0.01 * rng.normal(size=len(latency))))

    bound = np.maximum(macs / 40.0, traffic / 8.0) + 0.02 * (macs > 0)
    yield "roofline", noisy(2.0 + bound[layers, architectures].sum(axis=1))
    fast = macs / 400.0 + depthwise / 30.0 + 0.01
    slow = np.asarray([option == "k5_e6" for option in options])
    on_host = slow[architectures]
    cost = np.where(on_host, (macs / 25.0)[layers, architectures], fast[layers, architectures]).sum(axis=1)
    switches = np.abs(np.diff(np.pad(on_host, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1)
    yield "cliffs", noisy(1.0 + cost + 0.25 * switches)


def study(
    name: str, architectures: Ints, latency_ms: Floats, genes: tuple[Gene, ...], seed: int
) -> dict[int, dict[str, float]]:
    """Tau of everybody, and coverage and relative width of our intervals, by number of measurements."""
    one_hot = np.eye(genes[0].num_choices)[architectures].reshape(len(architectures), -1)
    found: dict[int, dict[str, float]] = {}
    for num in WANTED_TAU:
        order = np.random.default_rng(seed).permutation(len(architectures))
        known, unseen = order[:num], order[num : num + NUM_UNSEEN]
        target, truth = latency_ms[known], latency_ms[unseen]
        predictor = MetricPredictor(genes, LATENCY_US, costs=choice_costs(genes[0].options))
        predictor.fit(architectures[known].tolist(), (1000.0 * target).tolist())
        lower, upper = predictor.intervals(architectures[unseen].tolist(), COVERAGE)
        predictions: dict[str, Floats] = {
            "ours": predictor.predict(architectures[unseen].tolist()).mean,
            "linear per-operator table": RidgeCV(np.logspace(-3, 3, 13))
            .fit(one_hot[known], target)
            .predict(one_hot[unseen]),
            "random forest": RandomForestRegressor(200, random_state=0)
            .fit(one_hot[known], target)
            .predict(one_hot[unseen]),
        }
        found[num] = {who: kendall_tau(values, truth) or 0.0 for who, values in predictions.items()}
        found[num]["coverage"] = float(((lower <= 1000.0 * truth) & (1000.0 * truth <= upper)).mean())
        found[num]["width"] = float(np.median((upper - lower) / (1000.0 * truth)))
    line = "  ".join(f"{num}: {r['ours']:.3f} ({r['coverage']:.0%}, {r['width']:.0%})" for num, r in found.items())
    print(f"{name:16} tau (coverage, width)  {line}", flush=True)
    return found


def averaged(studies: list[dict[int, dict[str, float]]]) -> dict[int, dict[str, float]]:
    """The mean of every figure, and how many of the coverages lie where they are wanted."""
    found = {}
    for num in WANTED_TAU:
        found[num] = {key: float(np.mean([study[num][key] for study in studies])) for key in studies[0][num]}
        coverages = [study[num]["coverage"] for study in studies]
        found[num]["within"] = sum(WANTED_COVERAGE[0] <= one <= WANTED_COVERAGE[1] for one in coverages)
        found[num]["error"] = float(np.std(coverages, ddof=1) / len(coverages) ** 0.5) if len(coverages) > 1 else 0.0
    return found


def main() -> int:
    """Run the study; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HILNAS_DATA") or "/none"))
    parser.add_argument("--devices", type=int, default=27, help="number of FBNet's device settings [27]")
    parser.add_argument("--draws", type=int, default=10, help="of measured networks, per generated device [10]")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    path = arguments.data / "fbnet_latency.npz"
    if not path.is_file():
        parser.error(f"{path} is missing: give --data DIR (or HILNAS_DATA) with the file named in --help")
    with np.load(path, allow_pickle=False) as file:
        architectures, latency_ms = file["arch"].astype(np.int64), file["latency_ms"].astype(np.float64)
        options = tuple(str(name) for name in file["op_names"])
        names = [str(name) for name in file["devices"]]
    stages = [stage for stage, num_layers in enumerate(FBNET_STAGES) for _ in range(num_layers)]
    genes = tuple(Gene(f"layer{i}", options, f"stage{stage}") for i, stage in enumerate(stages))
    fbnet = [
        study(names[device], architectures, latency_ms[:, device], genes, device)
        for device in range(min(arguments.devices, len(names)))
    ]
    means = {"FBNet": averaged(fbnet)}
    for name, ms in generated(architectures, options):
        means[name] = averaged([study(name, architectures, ms, genes, seed) for seed in range(arguments.draws)])
    print("\ncoverage of the intervals: mean +- standard error (of so many, those within the bounds)")
    for name, found in means.items():
        total = len(fbnet) if name == "FBNet" else arguments.draws
        cells = (
            f"{n}: {r['coverage']:.3f} +-{r['error']:.3f} ({r['within']:.0f} of {total})" for n, r in found.items()
        )
        print(f"{name:16}" + "  ".join(cells))

    rows, missed = [], []
    for num, wanted in WANTED_TAU.items():
        tau = means["FBNet"][num]["ours"]
        for peer in ("linear per-operator table", "random forest"):
            theirs = means["FBNet"][num][peer]
            rows.append(Row(f"latency predictor, {num}, vs {peer}", tau, theirs, tau / theirs, "tau"))
        rows.append(Row(f"latency predictor, {num}, vs what is wanted", tau, wanted, tau / wanted, "tau"))
        if tau < wanted:
            missed.append(f"tau after {num} is {tau:.3f}, wanted {wanted}")
        for name, coverage in ((name, found[num]["coverage"]) for name, found in means.items()):
            rows.append(
                Row(f"coverage, {num}, {name}, vs {COVERAGE}", coverage, COVERAGE, coverage / COVERAGE, "share")
            )
            if not WANTED_COVERAGE[0] <= coverage <= WANTED_COVERAGE[1]:
                missed.append(f"intervals of {COVERAGE:.0%} after {num} on {name} hold for {coverage:.1%}")
    report(rows, arguments.json)
    print("holds" if not missed else "DOES NOT HOLD", *missed, sep="\n    ")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
