"""Images for the worker: data sets as spaces want them, on its device, with boards of the same host left in peace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import torch

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.search_space import SearchSpace
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.source import DatasetSource, SourceKind, open_dataset
from server.artifacts.artifacts import Artifacts
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import EMBEDDED, DatasetCatalog

T = TypeVar("T")
MAX_DATASETS = 2
Pause = Callable[[], AbstractContextManager[None]]


class ImageResources:
    """Spaces, artifacts and data sets. Thread-safe."""

    def __init__(
        self,
        *,
        spaces: SpaceCatalog,
        datasets: DatasetCatalog,
        artifacts: Artifacts,
        device: torch.device,
        pause: Pause = nullcontext,
    ) -> None:
        """`pause` is entered around every short torch step."""
        self.spaces = spaces
        self.artifacts = artifacts
        self.device = device
        self.pause = pause
        self._registered = datasets
        self._lock = threading.Lock()
        self._dataset = lru_cache(maxsize=MAX_DATASETS)(self._open_dataset)

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
