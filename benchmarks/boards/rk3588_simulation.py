"""Compiler-cycle latency of rebuilt model-zoo networks against Rockchip's published RK3588 figures.

Each network is converted to INT8 by the real toolkit (`make rknn`) with one random calibration image;
its cycle table at 1 GHz is the simulated latency. Published: single core, INT8, highest NPU clock,
from the README of rknn_model_zoo. It needs that table: ``--data DIR`` (or HILNAS_DATA) names the folder
with ``rknn_zoo_fps.json``.

What to read from it: whether the simulation puts networks in the right order and how far it is off.
The simulation is a lower bound by construction (no launch cost, activations and joins for nothing).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from comparison import Row, report
from scipy.stats import pearsonr, spearmanr
from zoo_networks import NETWORKS

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.domain.errors import ConversionError
from nas_engine.domain.measuring.cycle_table import simulate_latency
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.onnx_check import inspect_onnx
from nas_engine.export.rknn.converter import RknnConverter, find_converter
from nas_engine.export.rknn.process import PoolSettings
from nas_engine.export.rknn.settings import CalibrationBatch, RknnSettings

FILE = "rknn_zoo_fps.json"
COLUMN = "RK3588/@single_core"


@dataclass(frozen=True, slots=True)
class Simulated:
    """One network, converted.

    Attributes:
        published_ms, simulated_ms: latency of one image.
        num_layers: in the compiled model.
        num_fallbacks: layers on the CPU, which the simulation counts as free.
        seconds: the conversion took.
    """

    name: str
    published_ms: float
    simulated_ms: float
    num_layers: int
    num_fallbacks: int
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("HILNAS_DATA"), help=f"folder with {FILE}")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    if arguments.data is None or not (Path(arguments.data) / FILE).is_file():
        print(f"{FILE} is missing: it is the FPS table of rknn_model_zoo's README; name its folder with --data")
        return 2
    published_ms = _published_ms(Path(arguments.data) / FILE)
    try:
        converter = RknnConverter(PoolSettings(command=find_converter(), jobs_per_process=100))
    except ConversionError as error:
        print(error)
        return 2
    results = [_simulate(converter, name, published_ms[name]) for name in arguments.networks]
    warm_s = _simulate(converter, results[0].name, results[0].published_ms).seconds
    converter.close()
    report([*_network_rows(results), *_summary_rows(results)], arguments.json)
    _print_notes(results, warm_s)
    return 0


def _published_ms(file: Path) -> dict[str, float]:
    rows = json.loads(file.read_text())["rows"]
    return {row["model_name"]: 1e3 / float(row[COLUMN]) for row in rows if row["model_name"] in NETWORKS}


def _simulate(converter: RknnConverter, name: str, published_ms: float) -> Simulated:
    onnx = NETWORKS[name]()
    shape = inspect_onnx(onnx).inputs[0].shape
    image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    start = time.perf_counter()
    conversion = converter.convert(onnx, RknnSettings(dtype=Dtype.W8A8), calibration=CalibrationBatch(image))
    seconds = time.perf_counter() - start
    simulated = simulate_latency(conversion.table)
    fallbacks = len(conversion.table.cpu_fallbacks)
    print(f"{name}: {seconds:.1f} s, {simulated.num_layers} layers", file=sys.stderr)
    return Simulated(name, published_ms, simulated.latency_us / 1e3, simulated.num_layers, fallbacks, seconds)


def _network_rows(results: Sequence[Simulated]) -> list[Row]:
    return [
        Row(f"{r.name} (simulated, published)", r.simulated_ms, r.published_ms, r.published_ms / r.simulated_ms, "ms")
        for r in results
    ]


def _summary_rows(results: Sequence[Simulated]) -> list[Row]:
    """Rank and linear correlation against 1, and the error that is left after one factor for all networks."""
    if len(results) < 3:
        return []
    simulated = np.array([r.simulated_ms for r in results])
    published = np.array([r.published_ms for r in results])
    rows = [
        Row(f"{name}, {len(results)} networks", value, 1.0, 1.0 / value, "correlation")
        for name, value in (
            ("Spearman's rho", float(spearmanr(simulated, published).statistic)),
            ("Kendall's tau", kendall_tau(simulated, published) or 0.0),
            ("Pearson's r", float(pearsonr(simulated, published).statistic)),
        )
    ]
    error = statistics.mean(_left_out_errors(simulated, published))
    raw = float(np.mean(np.abs(simulated - published) / published))
    rows.append(Row("mean error, one fitted factor, network left out / no factor", error, raw, raw / error, "fraction"))
    return rows


def _left_out_errors(simulated: np.ndarray, published: np.ndarray) -> list[float]:
    """Relative error on each network with the factor fitted (median ratio) on the others."""
    errors = []
    for index in range(len(simulated)):
        rest = np.arange(len(simulated)) != index
        factor = float(np.median(published[rest] / simulated[rest]))
        errors.append(abs(factor * simulated[index] - published[index]) / published[index])
    return errors


def _print_notes(results: Sequence[Simulated], warm_s: float) -> None:
    first = results[0]
    print(f"conversion of {first.name}: cold process {first.seconds:.1f} s, warm {warm_s:.1f} s")
    print("warm conversions: " + ", ".join(f"{r.name} {r.seconds:.1f} s" for r in results[1:]))
    for r in results:
        if r.num_fallbacks:
            print(f"{r.name}: {r.num_fallbacks} of {r.num_layers} layers on the CPU, simulated as free")


if __name__ == "__main__":
    sys.exit(main())
