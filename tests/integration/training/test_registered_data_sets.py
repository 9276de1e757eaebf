"""Data sets that the operator registers: what the file says reaches what workers open."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from structlog.testing import capture_logs

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.settings.presets import IMAGENET, TRAINING_PRESETS
from nas_engine.spaces.registry import create_space
from nas_engine.training.data.source import open_dataset
from server.jobs.worker.handlers import failure_of
from server.searches.presets import SEARCH_PRESETS
from server.spaces.datasets import DatasetCatalog
from server.spaces.worker import WorkerResources
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import TINY_SPACE, WorkerWorld

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "register_a_data_set.md"
SHOWN = re.compile(r"`datasets\.json`:\n\n```json\n(.*?)```", re.DOTALL)


def _shown() -> str:
    found = SHOWN.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def _world(database: TestDatabase, folder: Path) -> WorkerWorld:
    (folder / "world").mkdir()
    return WorkerWorld(database, folder / "world")


def _resources(world: WorkerWorld, registry: Path) -> WorkerResources:
    return WorkerResources(
        spaces=world.spaces,
        datasets=DatasetCatalog.from_file(registry),
        artifacts=world.artifacts,
        folder=registry.parent / "resources",
        device=torch.device("cpu"),
    )


def test_the_page_registers_what_the_presets_ask_for_prepared_as_published(
    sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    registry = tmp_path / "datasets.json"
    registry.write_text(_shown(), encoding="utf-8")
    datasets = DatasetCatalog.from_file(registry)
    asked = {preset.spec.dataset for preset in TRAINING_PRESETS.values()}
    asked |= {getattr(preset.spec.algorithm, "dataset", "imagenet") for preset in SEARCH_PRESETS.values()}
    assert asked == {one.name for one in datasets.all()}
    space = create_space("spos", {})
    source = _resources(_world(sqlite_database, tmp_path), registry).source("imagenet", space)
    prepared = (source.image_size, source.channels, source.centre_crop, source.validation_fraction)
    assert prepared == (IMAGENET.image_size, IMAGENET.channels, IMAGENET.centre_crop, IMAGENET.validation_fraction)


def test_workers_judge_by_the_registered_centre_of_images(sqlite_database: TestDatabase, tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[4:12, 4:12] = 255  # white where the centre crop lies
    for part, name in ((part, name) for part in ("train", "test") for name in ("a", "b")):
        folder = tmp_path / "images" / part / name
        folder.mkdir(parents=True)
        for number in range(5):
            Image.fromarray(pixels).save(folder / f"{number}.png")
    registry = tmp_path / "datasets.json"
    entry = {"kind": "folder", "path": str(tmp_path / "images"), "num_classes": 2}
    registry.write_text(json.dumps({"whole": entry, "centre": {**entry, "centre_crop": 0.5}}), encoding="utf-8")
    resources = _resources(_world(sqlite_database, tmp_path), registry)
    space = create_space(TINY_SPACE["id"], TINY_SPACE["parameters"])
    darkest = {
        name: int(open_dataset(resources.source(name, space)).test.load(np.array([0])).min())
        for name in ("whole", "centre")
    }
    assert darkest == {"whole": 0, "centre": 255}


@pytest.mark.parametrize("change", [{"centre_crop": 0}, {"centre_crop": 1.5}, {"kind": "npz", "centre_crop": 0.875}])
def test_centre_crops_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    registry = tmp_path / "datasets.json"
    entry = {"kind": "folder", "path": "/data/x", "num_classes": 2, **change}
    registry.write_text(json.dumps({"x": entry}), encoding="utf-8")
    with pytest.raises(DatasetError, match="centre_crop"):
        DatasetCatalog.from_file(registry)


def test_workers_say_what_they_do_not_read_and_report_every_problem(
    sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(15):
            Image.new("L", (8, 8), number).save(root / name / f"{number}.png")
    (root / "a" / "list.csv").write_text("x", encoding="utf-8")
    registry = tmp_path / "datasets.json"
    entry = {"kind": "folder", "path": str(root), "num_classes": 2}
    registry.write_text(json.dumps({"mine": entry}), encoding="utf-8")
    world = _world(sqlite_database, tmp_path)
    with capture_logs() as logs:
        _resources(world, registry).images("mine", 1, 8)
    assert [(line["dataset"], line["notice"]) for line in logs] == [
        ("mine", "not read: 1 file of other suffixes: 1 .csv (first a/list.csv)")
    ]
    for number in range(11):
        for name in ("a", "b"):
            (root / name / f"{number}.png").write_bytes(b"")
    with pytest.raises(DatasetError) as refused:
        _resources(world, registry).images("mine", 1, 8)
    failure = failure_of(refused.value)
    assert failure.type is FailureType.INVALID_INPUT
    assert f"{root} has 22 problems: - a/0.png cannot be decoded" in failure.message
    assert failure.message.count("cannot be decoded") == 20
    assert failure.message.endswith("- and 2 more")
