"""What workers compute with: spaces, data sets in memory, a torch device, and the host's timing lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import structlog
import torch

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.images import AS_IT_IS, ImageForm
from nas_engine.settings.kinds.datasets import declared_datasets
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.data.source import DatasetSource, open_dataset
from server.artifacts.artifacts import Artifacts
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import EMBEDDED, DatasetCatalog

_log = structlog.get_logger("hilnas.worker")
T = TypeVar("T")
MAX_DATASETS = 2
Pause = Callable[[], AbstractContextManager[None]]


class WorkerResources:
    """Spaces, artifacts and data sets for the handlers of one worker; data sets are loaded once. Thread-safe."""

    def __init__(
        self,
        *,
        spaces: SpaceCatalog,
        datasets: DatasetCatalog,
        artifacts: Artifacts,
        folder: Path,
        device: torch.device,
        pause: Pause = nullcontext,
        host_lock: Path | None = None,
        pixels: PixelCache | None = None,
    ) -> None:
        """`folder` keeps weights and training checkpoints; `pause` is entered around every short torch step.

        `pixels` keeps decoded images that are looked at again and again.

        `host_lock` is what `pause` takes, for processes that cannot be given a function.
        """
        self.spaces = spaces
        self.artifacts = artifacts
        self.device = device
        self.folder = folder
        self.pause = pause
        self.host_lock = host_lock
        self.pixels = pixels
        self._registered = datasets
        self._dataset_lock = threading.Lock()
        self._dataset = lru_cache(maxsize=MAX_DATASETS)(self._open_dataset)
        folder.mkdir(parents=True, exist_ok=True)

    def dataset(
        self, name: str, space: SearchSpace, resolution: int | None = None, form: ImageForm = AS_IT_IS
    ) -> ImageDataset:
        """A data set brought to the channels and the (largest) resolution of a space, in the form a training wants.

        Raises:
            DatasetError: it cannot be read, or has another number of classes than the space.
        """
        channels, size, _ = space.input_shapes[-1]
        dataset = self.images(name, channels, resolution or size, form)
        if dataset.num_classes != space.num_classes:
            raise DatasetError(
                f"data set {name!r} has {dataset.num_classes} classes, the space {space.num_classes}: set num_classes"
            )
        return dataset

    def images(self, name: str, channels: int, size: int, form: ImageForm = AS_IT_IS) -> ImageDataset:
        """A data set brought to these channels and this size, whatever its classes. Raises DatasetError."""
        with self._dataset_lock:
            return self._dataset(name, size, channels, form)

    def source(
        self, name: str, space: SearchSpace, resolution: int | None = None, form: ImageForm = AS_IT_IS
    ) -> DatasetSource:
        """Where `dataset` reads from, for processes of their own. Raises DatasetError."""
        channels, size, _ = space.input_shapes[-1]
        return self._source(name, resolution or size, channels, form)

    def paused(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, each worked on while no board of this host times a block."""
        for batch in batches:
            with self.pause():
                yield batch

    def _open_dataset(self, name: str, image_size: int, channels: int, form: ImageForm) -> ImageDataset:
        dataset = replace(open_dataset(self._source(name, image_size, channels, form)), name=name)
        registered = self._registered.registered(name)
        if dataset.num_classes != registered.num_classes:
            found = declared_datasets().get(registered.kind)
            whose = "" if found.is_built_in else f" ({registered.kind} of {found.provider})"
            raise DatasetError(
                f"data set {name!r}{whose} has {dataset.num_classes} classes, "
                f"{registered.num_classes} are declared of it: correct one of the two"
            )
        for notice in dataset.notices:
            _log.warning("data set", dataset=name, notice=notice)
        return dataset

    def _source(self, name: str, image_size: int, channels: int, form: ImageForm) -> DatasetSource:
        registered = self._registered.registered(name)
        return DatasetSource(
            kind=registered.kind,
            path=None if registered.kind == EMBEDDED else registered.path,
            image_size=image_size,
            channels=channels,
            validation_fraction=registered.validation_fraction,
            seed=registered.seed,
            centre_crop=registered.centre_crop,
            settings=registered.settings,
            form=form,
        )
