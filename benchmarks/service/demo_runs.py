"""Several demos in a row, and whether each holds what the demo promises.

    python benchmarks/service/demo_runs.py 10 [--folder DIR] [--compare]

A demo holds where its front spans 3 times in measured latency, has four members in a row that differ in latency beyond
their 95 % intervals, and its two ends differ in test accuracy beyond the interval of the difference. Wall time depends
on what else the host does, so the processor's time and the load are printed beside it. Reports and logs stay in DIR, a
folder a run. Exit status 1 when a run failed or did not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_engine.domain.uncertainty import Interval, quantity_text

LEAST_SPAN = 3.0
LEAST_APART = 4
LONGEST_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """One run.

    Attributes:
        cpu_s: processor time of the demo and of every process it started.
        load: mean number of processes that wanted a processor in the last five minutes.
        report: what it wrote; None where it failed.
    """

    wall_s: float
    cpu_s: float
    load: float
    report: Mapping[str, Any] | None

    @property
    def gain(self) -> Interval | None:
        """Test accuracy of the slow end of the front less that of the fast one."""
        spread = (self.report or {}).get("spread") or {}
        gain = spread.get("test_gain")
        return None if gain is None else Interval(**gain)

    @property
    def misses(self) -> list[str]:
        """What it promises and does not hold, besides the time."""
        if self.report is None:
            return ["failed"]
        spread = self.report["spread"]
        gain = self.gain
        found = []
        if spread is None or spread["span"] < LEAST_SPAN:
            found.append("span")
        if spread is None or spread["num_apart"] < LEAST_APART:
            found.append("apart")
        if gain is None or gain.low is None or gain.low <= 0.0:
            found.append("ends")
        return found


def run_demo(folder: Path, more: Sequence[str]) -> Demo:
    """Run one demo in a folder of its own; its output goes to a file there."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "hilnas.cli.main", "demo", "--folder", str(folder / "demo"), *more]
    started_s = time.monotonic()
    with (folder / "output.txt").open("wb") as output:
        process = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), 1), (os.POSIX_SPAWN_DUP2, output.fileno(), 2)],
        )
        _, status, used = os.wait4(process, 0)
    wall_s = time.monotonic() - started_s
    file = folder / "demo" / "report.json"
    report = json.loads(file.read_text()) if status == 0 and file.is_file() else None
    return Demo(wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, load=os.getloadavg()[1], report=report)


def row(number: int, demo: Demo) -> str:
    """One line of the table."""
    if demo.report is None:
        return f"{number:>3}{demo.wall_s:>8.0f}{demo.cpu_s:>7.0f}{demo.load:>6.1f}  failed"
    spread = demo.report["spread"] or {"span": 1.0, "num_apart": 0}
    gain = "-" if demo.gain is None else quantity_text(demo.gain, "fraction", signed=True)
    kept = {rule: [c["keeps_bound"] for at in demo.report["shipped"] for c in at["choices"] if c["rule"] == rule]
            for rule in ("measured", "MACs", "predictor")}  # fmt: skip
    shown = "  ".join(f"{sum(each)}/{len(each)}" for each in kept.values())
    return (
        f"{number:>3}{demo.wall_s:>8.0f}{demo.cpu_s:>7.0f}{demo.load:>6.1f}{len(demo.report['front']):>7}"
        f"{spread['span']:>7.1f}{spread['num_apart']:>7}  {gain:<16}{shown:<17}{', '.join(demo.misses) or 'holds'}"
    )


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the demo several times and print whether it holds.")
    parser.add_argument("num", type=int, nargs="?", default=10, help="number of demos (default: 10)")
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept (default: a new folder)")
    parser.add_argument("--compare", action="store_true", help="as `make demo-compare`; outside the five minutes")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="demo-runs-"))
    print(f"runs are kept in {folder}")
    print("run  wall s  cpu s  load  front   span  apart  test accuracy   kept bounds      verdict")
    print("                                                slow - fast     meas MACs pred")
    demos = []
    for number in range(1, arguments.num + 1):
        demos.append(run_demo(folder / f"{number:02d}", ["--compare"] if arguments.compare else []))
        print(row(number, demos[-1]), flush=True)
    held = sum(not demo.misses for demo in demos)
    in_time = sum(demo.wall_s <= LONGEST_S for demo in demos)
    wall_s, cpu_s = (statistics.median(times) for times in ([d.wall_s for d in demos], [d.cpu_s for d in demos]))
    print(
        f"{held} of {len(demos)} hold; {in_time} within {LONGEST_S:.0f} s; median {wall_s:.0f} s of wall time, "
        f"{cpu_s:.0f} s of processor time"
    )
    return 0 if held == len(demos) else 1


if __name__ == "__main__":
    raise SystemExit(main())
