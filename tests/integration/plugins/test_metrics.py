"""Metrics that packages bring are looked at elsewhere first, listed with their faults, and remembered by searches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_engine.domain.metrics import BUILT_IN, MACS, all_metrics, declaration_of, metric_named
from nas_engine.domain.plugins.door_survey import survey
from nas_engine.domain.plugins.doors import Door, PluginError, Provider
from nas_engine.domain.plugins.survey import INSPECTIONS
from nas_engine.domain.views.graph_metrics import metric_function
from server.candidates.search import UsedPlugin
from server.candidates.states import SearchState
from server.plugins.kinds import installed_plugins
from tests.support.packages import find_packages, forget, lay_out
from tests.support.worlds.brought_metrics import brought_metrics, uninstalled
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import WorkerWorld

DECLARE = """from hilnas import Goal, MetricDeclaration, MetricSource
IT = MetricDeclaration(
    name={0!r}, title="", unit="", goal=Goal.MINIMIZE, source=MetricSource.GRAPH, implementation={1!r}
)
"""
VALUES = """import time
def nodes(graph):
    return len(graph.nodes)
def nan(graph):
    return float("nan")
def sleep(*_):
    time.sleep(600)
"""
SPACE = "from hilnas import SpaceDeclaration\nIT = SpaceDeclaration(name={0!r}, title='', implementation={1!r})\n"
NODES = [{"metric": "macs"}, {"metric": "num_nodes"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    packages = tmp_path / "packages"
    packages.mkdir()
    return packages


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    yield
    forget()


def test_one_at_fault_is_listed_with_the_reason_and_the_others_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {
        "ends": ("import os\nos._exit(3)\n", "ended the process with exit status 3"),
        "asks": (
            "from nas_engine.domain.metrics import metric_named\nmetric_named('good')\n",
            "a declaration must not ask for what others bring",
        ),
        "unsettled": (
            DECLARE.format("unsettled", "json:loads").replace("title=", "settings=type(lambda: 0), title="),
            "PydanticSchemaGenerationError",
        ),
        "absent": ("import no_such_module\n", "No module named 'no_such_module'"),
        "raises": (
            DECLARE.format("raises", "json:loads"),
            "tried on a small network, it raised TypeError: the JSON object must be str",
        ),
        "nan": (
            DECLARE.format("nan", "small_values:nan"),
            "tried on a small network, it gave nan: it must be",
        ),
        "heavy": (DECLARE.format("heavy", "torch:numel"), "torch:numel imports torch: servers hold it, use numpy"),
        "macs": (DECLARE.format("macs", "json:loads"), "hilnas itself has one of that name"),
    }
    for name, (source, _) in faults.items():
        lay_out(folder, f"brings-{name}", "hilnas.metrics", name, source)
    (folder / "small_values.py").write_text(VALUES)
    lay_out(folder, "brings-good", "hilnas.metrics", "good", DECLARE.format("good", "small_values:nodes"))
    find_packages(monkeypatch, folder)
    assert list(all_metrics().brought) == [*(one.name for one in BUILT_IN), "good"]
    listed = {one.name: one.problem for one in installed_plugins() if one.door is Door.METRICS}
    assert listed.pop("good") == ""
    assert listed.keys() == faults.keys()
    for name, (_, reason) in faults.items():
        assert reason in listed[name]
    assert "brings_ends" not in sys.modules
    assert declaration_of(MACS).title == "Multiply-accumulate operations of one inference."


@pytest.mark.long
def test_a_metric_and_a_space_that_hang_are_given_up_and_the_others_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "small_values.py").write_text(VALUES)
    lay_out(folder, "a-sleeper", "hilnas.metrics", "asleep", DECLARE.format("asleep", "small_values:sleep"))
    lay_out(folder, "brings-good", "hilnas.metrics", "good", DECLARE.format("good", "small_values:nodes"))
    lay_out(folder, "sleeping-space", "hilnas.spaces", "abed", SPACE.format("abed", "small_values:sleep"))
    find_packages(monkeypatch, folder)
    found = survey(INSPECTIONS, timeout_s=6.0)
    assert list(found[Door.METRICS].found) == ["good"]
    said = [str(problem) for door in found.values() for problem in door.problems]
    assert len(said) == 2
    for who in ("asleep of a-sleeper 1.0", "abed of sleeping-space 1.0"):
        assert any(who in one and "did not import and answer within 6 s" in one for one in said)


def test_an_implementation_that_ends_its_process_does_not_end_this_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = DECLARE.format("late", "deadly:value").replace("MetricSource.GRAPH", "MetricSource.EVALUATED")
    lay_out(folder, "brings-late", "hilnas.metrics", "late", evaluated)
    (folder / "deadly.py").write_text("import os\nos._exit(5)\n")
    find_packages(monkeypatch, folder)
    with pytest.raises(PluginError, match=r"late of brings-late 1\.0.*exit status 5"):
        metric_function(declaration_of(metric_named("late")))


def test_a_search_remembers_the_package_of_its_metric(
    folder: Path, sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    world = WorkerWorld(sqlite_database, tmp_path)
    with brought_metrics(folder):
        search = world.search(objectives=NODES)
        used = UsedPlugin(door=Door.METRICS, name="num_nodes", provider=Provider("brought-metrics", "1.2.3"))
        assert search.plugins == (used,)
        (folder / "brought_metrics-1.2.3.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: brought-metrics\nVersion: 2.0.0\n"
        )
        forget()
        world.run_and_report()
        failed = world.searches.get_search(search.id)
        assert failed.state is SearchState.FAILED
        assert "num_nodes of brought-metrics 1.2.3 (hilnas.metrics)" in failed.reason
        assert "it is of brought-metrics 2.0.0" in failed.reason


def test_a_worker_without_the_package_refuses_the_search(
    folder: Path, sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    world = WorkerWorld(sqlite_database, tmp_path)
    with brought_metrics(folder):
        search = world.search(objectives=NODES)
        with uninstalled():
            world.run_and_report()
        failed = world.searches.get_search(search.id)
        assert failed.state is SearchState.FAILED
        assert "num_nodes of brought-metrics 1.2.3 (hilnas.metrics)" in failed.reason
        assert "on this worker it is not installed" in failed.reason
