"""Held-out and calibration images of a set that is read from its files: a worker decodes them once, in its home."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.search_space import Form
from nas_engine.search.densenas import search_architecture
from nas_engine.settings.densenas import DenseNasSettings, DerivedFrom
from nas_engine.settings.images import AS_IT_IS, ImageForm
from nas_engine.settings.strategies import StandaloneSettings
from nas_engine.settings.training import AugmentationName, TrainingSettings, TrainingSpec
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.data.folder import load_folder
from nas_engine.training.strategies.retrain import retrain
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
from tests.support.worlds.table_world import DENSE_SPACE
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


def write_images(folder: Path, num_images: int) -> None:
    """Pictures of two classes in a data set's folder."""
    rng = np.random.default_rng(0)
    for number in range(num_images):
        path = folder / "set" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(path)


@pytest.mark.parametrize("images", ["plain", "augmented"])
def test_a_worker_keeps_what_it_judges_candidates_by(
    sqlite_database: TestDatabase, tmp_path: Path, images: str
) -> None:
    write_images(tmp_path, 40)
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


def kept_files(cache: PixelCache) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in cache.folder.glob("*.pixels")}


def loaded(folder: Path, size: int) -> ImageDataset:
    """That set as files alone: training images, a few held-out ones, and a fifth to test with."""
    return load_folder(
        folder / "set", image_size=size, channels=3, validation_fraction=0.3, seed=0, in_memory_bytes=0
    )  # fmt: skip


def test_what_trained_networks_are_judged_by_is_decoded_once(tmp_path: Path) -> None:
    write_images(tmp_path, 40)
    cache = PixelCache(tmp_path / "pixels", 1 << 30, min_free_bytes=0)
    dataset = loaded(tmp_path, 32)
    graph = SPACE.graph(SPACE.decode((0, 1, 2, 3)), Form.DEPLOYED)
    assert graph is not None
    training = TrainingSettings(iterations=1, batch_size=8, augmentation=AugmentationName.NONE)
    settings = StandaloneSettings(num_calibration_batches=1, evaluation_batch_size=4)

    def judged(images: ImageDataset) -> object:
        found = retrain(graph, images, training, settings, device=torch.device("cpu"))
        return found.validation, found.test

    expected = judged(dataset)
    assert judged(dataset.judged_in(cache)) == expected
    first = kept_files(cache)
    # Batches of held-out and of test images, and none of the training images, which come in another order each time.
    assert len(first) == -(-len(dataset.validation) // 4) + -(-len(dataset.test) // 4)
    assert judged(dataset.judged_in(cache)) == expected
    assert kept_files(cache) == first
    assert judged(dataset.judged_in(None)) == expected


def test_what_epochs_of_a_derivation_are_compared_by_is_decoded_once(tmp_path: Path) -> None:
    write_images(tmp_path, 60)
    cache = PixelCache(tmp_path / "pixels", 1 << 30, min_free_bytes=0)
    dataset = loaded(tmp_path, 8)
    parameters = {**DENSE_SPACE["parameters"], "num_classes": 2, "input_channels": 3}
    space = create_space("densenas-mbv2", parameters)
    assert isinstance(space, DenseSpace)
    settings = DenseNasSettings(
        dataset="set", epochs=3, first_architecture_epoch=1, batch_size=8, cost_base=1.5, augmentation="none",
        augment_architecture_images=False, derived_from=DerivedFrom.BEST_EPOCH,
    )  # fmt: skip

    def searched(pixels: PixelCache | None) -> object:
        found = search_architecture(
            space, mac_costs(space), dataset, settings, cost_factor=0.1, seed=0, device=torch.device("cpu"),
            pixels=pixels,
        )  # fmt: skip
        return found.architecture, found.report.best_epoch, found.report.best_top1

    expected = searched(None)
    assert searched(cache) == expected
    first = kept_files(cache)
    # Once each, whichever epoch; the images of architecture steps come in another order each time.
    assert len(first) == -(-len(dataset.validation) // 8)
    assert searched(cache) == expected
    assert kept_files(cache) == first
