"""What handlers share: spaces, data sets, supernets and the host's timing lock. Loaded once, kept while used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.training import TrainingSpec
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.source import DatasetSource, SourceKind, open_dataset
from server.artifacts.artifacts import Artifacts
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import EMBEDDED, DatasetCatalog
from server.training.supernet import training_spec_of
from server.training.supernets import Supernets

T = TypeVar("T")
MAX_DATASETS = 2
MAX_SUPERNETS = 2
Pause = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class LoadedSupernet:
    """Weights of one version, ready to run.

    Attributes:
        spec: how it was trained: space, data set, resolution.
        weights: on the worker's device, channels_last.
    """

    version_id: str
    spec: TrainingSpec
    space: SearchSpace
    weights: WeightStore


class Resources:
    """Everything handlers need besides their job. Thread-safe."""

    def __init__(
        self,
        *,
        spaces: SpaceCatalog,
        datasets: DatasetCatalog,
        supernets: Supernets,
        artifacts: Artifacts,
        folder: Path,
        device: torch.device,
        pause: Pause = nullcontext,
        host_lock: Path | None = None,
    ) -> None:
        """`folder` keeps weights and training checkpoints; `pause` is entered around every short torch step.

        `host_lock` is what `pause` takes, for processes that cannot be given a function.
        """
        self.spaces = spaces
        self.artifacts = artifacts
        self.supernets = supernets
        self.device = device
        self.folder = folder
        self.pause = pause
        self.host_lock = host_lock
        self._registered = datasets
        self._lock = threading.Lock()
        self._dataset = lru_cache(maxsize=MAX_DATASETS)(self._open_dataset)
        self._supernet = lru_cache(maxsize=MAX_SUPERNETS)(self._load_supernet)
        folder.mkdir(parents=True, exist_ok=True)

    def space(self, spec: TrainingSpec) -> SearchSpace:
        """The space a training spec names."""
        return self.spaces.space(spec.space.id, spec.space.parameters)

    def dataset(self, name: str, space: SearchSpace, resolution: int | None = None) -> ImageDataset:
        """A data set brought to the channels and the (largest) resolution of a space.

        Raises:
            DatasetError: it cannot be read, or has another number of classes than the space.
        """
        channels, size, _ = space.input_shapes[-1]
        with self._lock:
            dataset = self._dataset(name, resolution or size, channels)
        if dataset.num_classes != space.num_classes:
            raise DatasetError(
                f"data set {name!r} has {dataset.num_classes} classes, the space {space.num_classes}: set num_classes"
            )
        return dataset

    def images(self, name: str, channels: int, size: int) -> ImageDataset:
        """A data set brought to these channels and this size, whatever its classes. Raises DatasetError."""
        with self._lock:
            return self._dataset(name, size, channels)

    def training_spec(self, version_id: str) -> TrainingSpec:
        """How the supernet of a version was trained. Raises NotFoundError."""
        return self.supernets.get(self.supernets.version(version_id).supernet_id).spec

    def supernet(self, version_id: str) -> LoadedSupernet:
        """The weights of one supernet version. Raises NotFoundError, WeightsError."""
        with self._lock:
            return self._supernet(version_id)

    def weights_file(self, sha256: str) -> Path:
        """A local file with the bytes of an artifact."""
        path = self.folder / "weights" / f"{sha256}.safetensors"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_bytes(self.artifacts.read(sha256))
            partial.replace(path)
        return path

    def paused(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, each worked on while no board of this host times a block."""
        for batch in batches:
            with self.pause():
                yield batch

    def source(self, name: str, space: SearchSpace, resolution: int | None = None) -> DatasetSource:
        """Where `dataset` reads from, for processes of their own. Raises DatasetError."""
        channels, size, _ = space.input_shapes[-1]
        return self._source(name, resolution or size, channels)

    def _open_dataset(self, name: str, image_size: int, channels: int) -> ImageDataset:
        return replace(open_dataset(self._source(name, image_size, channels)), name=name)

    def _source(self, name: str, image_size: int, channels: int) -> DatasetSource:
        registered = self._registered.registered(name)
        return DatasetSource(
            kind=SourceKind(registered.kind),
            path=None if registered.kind == EMBEDDED else registered.path,
            image_size=image_size,
            channels=channels,
            validation_fraction=registered.validation_fraction,
            seed=registered.seed,
            centre_crop=registered.centre_crop,
        )

    def _load_supernet(self, version_id: str) -> LoadedSupernet:
        version = self.supernets.version(version_id)
        spec = self.supernets.get(version.supernet_id).spec
        space = self.space(training_spec_of(version, spec))
        weights = WeightStore.load(self.weights_file(version.weights_sha256), space.supernet_graphs())
        return LoadedSupernet(version_id, spec, space, weights.to(self.device, channels_last=True))
