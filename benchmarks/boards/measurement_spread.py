"""A/A spread: one model measured again and again on this host, with the measurement protocol and in the usual way.

The usual way is one dropped run and the mean of a loop (TVM's time_evaluator and rknn_benchmark do so). The protocol is
the agent's own `quick` profile in a fresh process each time, with the host-wide lock. Both see the same host in turns.
The figure is the spread between repetitions of the same measurement: (max - min) / median, and the CV. The protocol
also says which of its measurements to trust: those without a flag are given apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from comparison import Row, report

from device_agent.child.process import ChildMeasurer
from device_agent.measuring.device import MeasuringSettings
from device_agent.measuring.procedure import MeasureRequest
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.golden import golden_onnx
from device_agent.runtime.onnxruntime import OnnxRuntime
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.stop import StopToken
from nas_engine.domain.host.host_lock import default_lock_path
from nas_engine.domain.measurement import Dtype, LatencyStats, MeasurementProfile

USUAL_RUNS = 10  # rknn_benchmark's default loop
SETTINGS = SessionSettings(format="onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--model", type=Path, help="an ONNX file; default: the golden model")
    parser.add_argument("--profile", default="quick", choices=("quick", "standard"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hilnas-spread-") as folder:
        model = arguments.model or Path(folder) / "golden.onnx"
        if arguments.model is None:
            model.write_bytes(golden_onnx())
        usual_us, measured, valid_us = _measure(model, arguments.repetitions, arguments.profile)
    rows = [
        _row("median of the protocol (p50)", [s.p50_us for s in measured], usual_us),
        _row("minimum of the protocol", [s.min_us for s in measured], usual_us),
    ]
    report(rows, arguments.json)
    print(f"(max - min) / median of {arguments.repetitions} repetitions, in percent; peer: mean of {USUAL_RUNS} runs")
    for name, values in (
        ("p50", [s.p50_us for s in measured]),
        ("min", [s.min_us for s in measured]),
        ("usual", usual_us),
    ):
        cv = statistics.stdev(values) / statistics.mean(values)
        print(f"  {name:<6} median {statistics.median(values):9.1f} us, CV {cv:6.1%}")
    spread = f", spread of their medians {_spread_percent(valid_us):.2f} %" if len(valid_us) > 1 else ""
    print(f"  {len(valid_us)} of {arguments.repetitions} measurements carry no flag{spread}")


def _measure(model: Path, repetitions: int, profile: str) -> tuple[list[float], list[LatencyStats], list[float]]:
    """Means of the usual way, statistics of the protocol, and the medians of those without a flag."""
    settings = MeasuringSettings(
        runtime=RuntimeName.ONNXRUNTIME, options=RuntimeOptions(), lock_path=default_lock_path()
    )
    request = MeasureRequest(
        model=model, settings=SETTINGS, profile=MeasurementProfile.named(profile), dtype=Dtype.FP32
    )
    measurer = ChildMeasurer(settings)
    usual_us: list[float] = []
    measured: list[LatencyStats] = []
    valid_us: list[float] = []
    try:
        for number in range(repetitions):
            usual_us.append(_usual_us(model))
            measurement = measurer.measure(request, StopToken(), lambda _: None, 120.0)
            measured.append(measurement.stats(np.random.default_rng(number)))
            if not measurement.flags:
                valid_us.append(measured[-1].p50_us)
    finally:
        measurer.close()
    return usual_us, measured, valid_us


def _usual_us(model: Path) -> float:
    """One dropped run, then the mean of a loop."""
    session = OnnxRuntime().load(model, SETTINGS).session
    session.run()
    start_ns = time.perf_counter_ns()
    for _ in range(USUAL_RUNS):
        session.run()
    return (time.perf_counter_ns() - start_ns) / USUAL_RUNS / 1e3


def _row(name: str, ours_us: list[float], peer_us: list[float]) -> Row:
    ours, peer = _spread_percent(ours_us), _spread_percent(peer_us)
    return Row(name, ours, peer, peer / ours, "%")


def _spread_percent(values: list[float]) -> float:
    return 100.0 * (max(values) - min(values)) / statistics.median(values)


if __name__ == "__main__":
    main()
