"""Draws accuracy against measured latency of a demo's candidates.

python -m server.bootstrap.demo.picture demo/report.json docs/images/demo_front.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.bootstrap.demo.specs import DEVICE_TYPE

Entry = Mapping[str, Any]
_MARKERS = {"MACs": ("^", "C1"), "predictor": ("s", "C2"), "random": ("D", "C3")}


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw a report as an SVG: candidates, the front with its intervals, bounds, and what other rules pick there."""
    import matplotlib as mpl  # slow to import; only the demo draws with it

    mpl.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, ScalarFormatter

    mpl.rcParams["svg.hashsalt"] = "hilnas"  # the same report gives the same file
    figure, axes = pyplot.subplots(figsize=(7.5, 4.8), layout="constrained")
    if report.get("random"):
        axes.scatter(*_points(report["random"]), s=16, marker="x", color="C3", alpha=0.5, label="drawn at random")
    axes.scatter(*_points(report["candidates"]), s=16, color="0.6", label="candidates")
    front = report["front"]
    if front:
        axes.errorbar(
            *_points(front),
            xerr=_errors(front, "latency_us", 1.0),
            yerr=_errors(front, "top1", 100.0),
            fmt="o-",
            color="C0",
            capsize=2,
            label="Pareto front, 95 % intervals",
        )
    named = set[str]()
    for at in report["shipped"]:
        axes.axvline(at["bound_us"], color="0.3", linestyle=":", linewidth=1)
        for choice in at["choices"]:
            if choice["rule"] in _MARKERS:
                marker, colour = _MARKERS[choice["rule"]]
                label = f"picked by {choice['rule']} for a dotted bound"
                axes.plot(
                    *_points([choice]),
                    marker,
                    markersize=9,
                    markerfacecolor="none",
                    color=colour,
                    label=None if label in named else label,
                )
                named.add(label)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("measured median latency, us")
    axes.set_ylabel("top-1 on validation images, %")
    axes.set_title(f"Fashion-MNIST, {DEVICE_TYPE}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _points(entries: Sequence[Entry]) -> tuple[list[float], list[float]]:
    return [one["latency_us"]["value"] for one in entries], [100.0 * one["top1"]["value"] for one in entries]


def _errors(entries: Sequence[Entry], metric: str, factor: float) -> tuple[list[float], list[float]]:
    """How far the intervals reach below and above the values; nowhere where they are not known."""
    below, above = list[float](), list[float]()
    for one in entries:
        value, low, high = (one[metric][name] for name in ("value", "low", "high"))
        below.append(0.0 if low is None else factor * max(value - low, 0.0))
        above.append(0.0 if high is None else factor * max(high - value, 0.0))
    return below, above


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
