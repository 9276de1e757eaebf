"""A search remembers the packages it was started with; a worker that has others refuses it, and names both versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.metrics import TOP1
from nas_engine.domain.plugins.doors import Door, Provider
from server.candidates.search import UsedPlugin
from server.candidates.states import SearchState
from server.core.errors import InvalidSpecError
from server.jobs.states import JobKind
from server.spaces.datasets import DatasetCatalog
from tests.support.packages import find_packages, forget, lay_out
from tests.support.paths import ROOT
from tests.support.samples.table_results import table_bytes
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import EVALUATION, TINY_SPACE, WorkerWorld

CLIMB = {"kind": "hill_climb", "batch_size": 4}
SOURCES = ROOT / "docs" / "examples" / "algorithm_hill_climb"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example algorithm, version 1.0."""
    folder = tmp_path / "packages"
    folder.mkdir()
    install(folder, "1.0")
    find_packages(monkeypatch, folder)
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> object:
    yield
    forget()


def install(folder: Path, version: str, **changes: str) -> None:
    for old in folder.glob("*.dist-info"):
        shutil.rmtree(old)
    source = (SOURCES / "hilnas_hill_climb.py").read_text()
    for name, value in changes.items():
        source = source.replace('name="hill_climb",', f'name="hill_climb", {name}={value},')
    what = ("hilnas.algorithms", "hill_climb", source)
    lay_out(folder, "hilnas-hill-climb", *what, version=version, attribute="ALGORITHM")
    shutil.copy(SOURCES / "hilnas_hill_climb_search.py", folder)


def test_the_same_version_searches_and_goes_on_after_a_restart(
    installed: Path, sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    world = WorkerWorld(sqlite_database, tmp_path)
    whole = world.ran(algorithm=CLIMB)
    assert (whole.state, whole.progress.num_complete) == (SearchState.COMPLETED, 12)
    used = UsedPlugin(door=Door.ALGORITHMS, name="hill_climb", provider=Provider("hilnas-hill-climb", "1.0"))
    assert whole.plugins == (used,)
    resumed = world.search(algorithm=CLIMB)
    while (job := world.claim()) is not None:
        world.do(job)
        world.restart()
    assert [c.genotype for c in world.candidates(resumed)] == [c.genotype for c in world.candidates(whole)]


def test_a_worker_with_another_version_refuses_the_search_and_names_both(
    installed: Path, sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    world = WorkerWorld(sqlite_database, tmp_path)
    search = world.search(algorithm=CLIMB)
    install(installed, "2.0")
    forget()
    world.run_and_report()
    failed = world.searches.get_search(search.id)
    assert failed.state is SearchState.FAILED
    assert "hill_climb of hilnas-hill-climb 1.0" in failed.reason
    assert "it is of hilnas-hill-climb 2.0" in failed.reason
    assert "install the same version" in failed.reason


def test_a_worker_without_the_package_refuses_the_search(
    installed: Path, sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    world = WorkerWorld(sqlite_database, tmp_path)
    search = world.search(algorithm=CLIMB)
    shutil.rmtree(next(installed.glob("*.dist-info")))
    forget()
    world.run_and_report()
    failed = world.searches.get_search(search.id)
    assert failed.state is SearchState.FAILED
    assert "on this worker it is not installed" in failed.reason


def test_another_version_between_two_evaluations_ends_the_search_and_loses_no_value(
    tmp_path: Path, sqlite_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    shapes = (ROOT / "docs" / "examples" / "dataset_shapes" / "hilnas_shapes.py").read_text()
    what = ("hilnas-shapes", "hilnas.datasets", "shapes", shapes)
    lay_out(folder, *what, version="1.0", attribute="SHAPES")
    find_packages(monkeypatch, folder)
    world = WorkerWorld(sqlite_database, tmp_path)
    search = world.search(
        objectives=[{"metric": "top1"}, {"metric": "macs"}],
        supernet=world.ready_supernet(dataset="shapes").id,
        evaluation=EVALUATION,
        algorithm={"kind": "random", "batch_size": 4},
        budget={"num_candidates": 8},
    )
    num_evaluated = 0
    while num_evaluated < 2:
        job = world.claim()
        assert job is not None
        world.do(job)
        num_evaluated += job.kind is JobKind.EVALUATE
    shutil.rmtree(next(folder.glob("*.dist-info")))
    lay_out(folder, *what, version="2.0", attribute="SHAPES")
    forget()
    world.restart()
    world.run_and_report()
    failed = world.searches.get_search(search.id)
    assert failed.state is SearchState.FAILED
    assert "an evaluation failed" in failed.reason
    assert "shapes of hilnas-shapes 1.0" in failed.reason
    assert "it is of hilnas-shapes 2.0" in failed.reason
    ends = [(candidate.state.value, candidate.reason) for candidate in world.candidates(search)]
    assert ends == [("complete", "")] * 2 + [("failed", "the search was failed")] * 2
    assert all(TOP1 in candidate.values for candidate in world.candidates(search)[:2])
    # With the version put back, another search begins with what this one found.
    shutil.rmtree(next(folder.glob("*.dist-info")))
    lay_out(folder, *what, version="1.0", attribute="SHAPES")
    forget()
    world.restart()
    again = world.search(
        objectives=[{"metric": "top1"}, {"metric": "macs"}],
        supernet=failed.spec.supernet,
        evaluation=EVALUATION,
        algorithm={"kind": "random", "batch_size": 4},
        budget={"num_candidates": 4},
        warm_start={"search": search.id},
    )
    world.run()
    assert world.searches.get_search(again.id).state is SearchState.COMPLETED


def test_its_settings_are_checked_where_it_is_launched(
    installed: Path, sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    world = WorkerWorld(sqlite_database, tmp_path)
    with pytest.raises(InvalidSpecError) as caught:
        world.search(algorithm={"kind": "hill_climb", "batch_size": "many", "num_changes": 9})
    assert [violation.pointer for violation in caught.value.violations] == [
        "/algorithm/batch_size",
        "/algorithm/num_changes",
    ]
    shifted = {"shifting": {}, "supernet": world.ready_supernet().id, "objectives": [{"metric": "top1"}]}
    with pytest.raises(InvalidSpecError, match="shifting does not go with hill_climb: its package does not say so"):
        world.search(algorithm=CLIMB, **shifted)


@pytest.mark.parametrize(
    ("spaces", "space", "reason"),
    [
        ("dense", TINY_SPACE, "hill_climb searches densely connected spaces, 'spos' is none"),
        ("graphs", {"id": "mine"}, "space 'mine' is a table of results: .* take another one"),
    ],
)
def test_a_space_that_it_does_not_search_is_refused_where_it_is_launched(
    installed: Path, sqlite_database: TestDatabase, tmp_path: Path, spaces: str, space: dict[str, Any], reason: str
) -> None:
    install(installed, "1.0", spaces=f'__import__("hilnas").SearchedSpaces("{spaces}")')
    forget()
    world = WorkerWorld(sqlite_database, tmp_path)
    stored = world.artifacts.put(table_bytes(3), "application/json")
    world.space_tables.register("mine", stored.sha256, world.spaces)
    with pytest.raises(InvalidSpecError, match=reason) as caught:
        world.search(space=space, algorithm=CLIMB, objectives=[{"metric": "macs"}])
    assert [violation.pointer for violation in caught.value.violations] == ["/algorithm"]
    install(installed, "1.0")
    forget()
    assert (
        world.search(space=space, algorithm=CLIMB, objectives=[{"metric": "macs"}]).spec.algorithm.kind == "hill_climb"
    )


def test_a_registered_data_set_whose_package_is_at_fault_is_left_out_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    source = (ROOT / "docs" / "examples" / "dataset_shapes" / "hilnas_shapes.py").read_text()
    lay_out(folder, "hilnas-shapes", "hilnas.datasets", "shapes", source, attribute="SHAPES")
    lay_out(folder, "no-shapes", "hilnas.datasets", "forms", "import no_such_module\n")
    find_packages(monkeypatch, folder)
    registered = {
        "noisy": {"kind": "shapes", "num_classes": 3, "settings": {"noise": 0.6}},
        "wrong": {"kind": "shapes", "num_classes": 3, "settings": {"noise": 2, "colour": "red"}},
        "gone": {"kind": "forms", "num_classes": 3},
    }
    path = tmp_path / "datasets.json"
    path.write_text(json.dumps(registered))
    catalog = DatasetCatalog.from_file(path)
    assert [one.name for one in catalog.all()] == ["fashion-mnist-12k", "noisy", "shapes"]
    noisy = catalog.describe("noisy")
    assert noisy is not None
    assert (noisy.kind, str(noisy.provider), noisy.image_shape) == ("shapes", "hilnas-shapes 1.0", (1, 28, 28))
    assert "data set 'wrong' cannot be used: colour: unknown" in catalog.absence("wrong")
    assert "forms of no-shapes 1.0" in catalog.absence("gone")
