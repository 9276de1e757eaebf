"""Held-out and calibration images of a set that is read from its files: a worker decodes them once, in its home."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas_engine.settings.images import AS_IT_IS, ImageForm
from nas_engine.settings.training import TrainingSpec
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.data.folder import load_folder
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.bootstrap.settings import Settings
from server.bootstrap.worker import _pixel_cache
from server.candidates.spec import SearchSpec
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.worker import WorkerResources
from server.training.worker.accuracies import Accuracies
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import SPEC

SPACE = create_space("spos", {"input_size": 32, "stage_repeats": [1, 1, 1, 1], "num_classes": 2})


class FilesAlone(WorkerResources):
    """A worker for which every set is too large for memory."""

    def images(self, name: str, channels: int, size: int, form: ImageForm = AS_IT_IS) -> ImageDataset:
        """The set of that name beside its folder."""
        return load_folder(
            self.folder.parent / name, image_size=size, channels=channels, validation_fraction=0.3, seed=0,
            in_memory_bytes=0,
        ).in_form(form)  # fmt: skip


@pytest.mark.parametrize("images", ["plain", "augmented"])
def test_a_worker_keeps_what_it_judges_candidates_by(
    sqlite_database: TestDatabase, tmp_path: Path, images: str
) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "set" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(path)
    cache = _pixel_cache(Settings(home=tmp_path, min_free_bytes=0))
    assert isinstance(cache, PixelCache)
    assert cache.folder == tmp_path / "worker" / "pixels"
    assert _pixel_cache(Settings(home=tmp_path, pixel_cache_bytes=0)) is None

    evaluation = {
        "num_calibration_batches": 2,
        "batch_size": 5,
        "calibration": "reference",
        "calibration_images": images,
    }
    spec = SearchSpec.model_validate({**SPEC, "dataset": "set", "evaluation": evaluation})
    training = TrainingSpec.model_validate(
        {"name": "t", "space": {"id": "spos"}, "dataset": "set", "augmentation": "imagenet", "iterations": 1}
    )
    weights = WeightStore.create(SPACE.supernet_graphs(), torch.Generator().manual_seed(0))
    genotype = (0, 1, 2, 3)

    def accuracy(kept: PixelCache | None) -> object:
        resources = FilesAlone(
            spaces=SpaceCatalog(),
            datasets=DatasetCatalog(()),
            artifacts=Artifacts(sqlite_database.uow, FileByteStore(tmp_path / "artifacts")),
            folder=tmp_path / "worker",
            device=torch.device("cpu"),
            pixels=kept,
        )
        found = Accuracies(resources).evaluate(
            SPACE.decode(genotype), SPACE, weights, spec=spec, training=training, split="validation",
            stopped=lambda: False,
        )  # fmt: skip
        assert found is not None
        return found.accuracy

    expected = accuracy(None)
    assert not cache.folder.exists()
    assert accuracy(cache) == expected
    first = {path.name: path.stat().st_ino for path in cache.folder.glob("*.pixels")}
    assert len(first) >= 2 + 2  # batches of calibration, and of the 10 images that are looked at
    assert accuracy(cache) == expected
    assert first.items() <= {path.name: path.stat().st_ino for path in cache.folder.glob("*.pixels")}.items()
