"""Metrics that a package brings, installed for one test: its files lie in a folder on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.packages import forget

DECLARATIONS = """
from dataclasses import dataclass

from hilnas import Goal, MetricDeclaration, MetricSource


@dataclass(frozen=True)
class Depth:
    every: int = 1


NODES = MetricDeclaration(
    name="num_nodes", title="Nodes of the graph.", unit="nodes", goal=Goal.MINIMIZE, source=MetricSource.GRAPH,
    implementation="brought_metrics_code:num_nodes", settings=Depth,
)
BROKEN = MetricDeclaration(
    name="broken", title="Never a number.", unit="", goal=Goal.MINIMIZE, source=MetricSource.GRAPH,
    implementation="brought_metrics_code:broken",
)
STUCK = MetricDeclaration(
    name="stuck", title="Never ends.", unit="", goal=Goal.MINIMIZE, source=MetricSource.GRAPH,
    implementation="brought_metrics_code:stuck",
)
SPREAD = MetricDeclaration(
    name="spread", title="Spread of the logits.", unit="", goal=Goal.MAXIMIZE, source=MetricSource.EVALUATED,
    implementation="brought_metrics_code:spread", label="spread of <logits>", column="spread", words="logit spread",
)
NAN = MetricDeclaration(
    name="nan", title="Never a number.", unit="", goal=Goal.MAXIMIZE, source=MetricSource.EVALUATED,
    implementation="brought_metrics_code:nan",
)
RAISES = MetricDeclaration(
    name="raises", title="Raises.", unit="", goal=Goal.MAXIMIZE, source=MetricSource.EVALUATED,
    implementation="brought_metrics_code:raises",
)
HANGS = MetricDeclaration(
    name="hangs", title="Never ends.", unit="", goal=Goal.MAXIMIZE, source=MetricSource.EVALUATED,
    implementation="brought_metrics_code:hangs",
)
"""
CODE = """
import time


def num_nodes(graph, settings):
    return len(graph.nodes) // settings.every


def broken(graph):
    return float("nan") if len(graph.nodes) > 10 else 1.0  # well where it is tried out


def stuck(graph):
    while len(graph.nodes) > 10:
        time.sleep(0.05)
    return 1


def spread(subnet, batches):
    found = [float(subnet(images).std()) for images, labels in batches]
    return sum(found) / len(found), None


def nan(subnet, batches):
    return float("nan"), None


def raises(subnet, batches):
    raise RuntimeError("no such thing")


def hangs(subnet, batches):
    while True:
        time.sleep(0.05)
"""
NAMES = ("num_nodes=NODES", "broken=BROKEN", "stuck=STUCK", "spread=SPREAD", "nan=NAN", "raises=RAISES", "hangs=HANGS")


@contextmanager
def brought_metrics(folder: Path) -> Iterator[None]:
    """Have the metrics of package ``brought-metrics`` 1.2.3 installed."""
    (folder / "brought_metrics.py").write_text(DECLARATIONS)
    (folder / "brought_metrics_code.py").write_text(CODE)
    described = folder / "brought_metrics-1.2.3.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-metrics\nVersion: 1.2.3\n")
    points = "".join(f"{name.replace('=', ' = brought_metrics:')}\n" for name in NAMES)
    (described / "entry_points.txt").write_text(f"[hilnas.metrics]\n{points}")
    sys.path.insert(0, str(folder))
    forget()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for module in ("brought_metrics", "brought_metrics_code"):
            sys.modules.pop(module, None)
        forget()


@contextmanager
def uninstalled() -> Iterator[None]:
    """Have them gone for a while."""
    path = list(sys.path)
    sys.path[:] = [folder for folder in path if not (Path(folder) / "brought_metrics.py").exists()]
    forget()
    try:
        yield
    finally:
        sys.path[:] = path
        forget()
