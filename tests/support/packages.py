"""Packages with one entry point each, laid out as an installer lays them out; and where they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_engine.domain import metrics
from nas_engine.domain.plugins import apart, door_survey
from nas_engine.domain.plugins import survey as plugin_survey
from nas_engine.domain.views import graph_metrics
from nas_engine.settings.kinds import algorithms as algorithm_kinds
from nas_engine.settings.kinds import datasets as dataset_kinds
from nas_engine.spaces import registry
from server.plugins import kinds
from server.spaces import catalog


def lay_out(
    folder: Path, package: str, group: str, name: str, source: str, *, version: str = "1.0", attribute: str = "IT"
) -> None:
    """Put a package of one module into a folder; `source` is its text, and `attribute` what the entry point names."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{attribute}\n", encoding="utf-8")


def find_packages(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have this process find what lies in a folder, and look at it anew."""
    monkeypatch.syspath_prepend(str(folder))
    forget()


def forget() -> None:
    """Let everything that was looked at once be looked at again."""
    for remembered in (
        plugin_survey.surveyed,
        door_survey.resolved,
        apart.process_of,
        metrics.all_metrics,
        graph_metrics.metric_function,
        graph_metrics._guard,
        catalog._bounds,
        algorithm_kinds.surveyed_algorithms,
        algorithm_kinds.declared_algorithms,
        dataset_kinds.surveyed_datasets,
        dataset_kinds.declared_datasets,
        registry.declared_spaces,
        registry.parameters_schema,
        kinds.algorithms,
        kinds.dataset_kinds_known,
        catalog._space,
    ):
        remembered.cache_clear()
