"""Test images of a search's data set as an image set for its device, and the float network's answers to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
import torch

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.measuring.image_set import MAX_IMAGES, MEDIA_TYPE, ImageSetFile, Preprocessing, write_image_set
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.evaluation.accuracy import predict
from nas_engine.settings.images import ImageForm
from nas_engine.supernet.execute import Calibrated
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from server.classifying.classification import ReferencePredictions
from server.spaces.worker import WorkerResources

MAX_PIXEL_BYTES = 512 * 2**20  # of one set: what a board's cache and a download should hold
DRAW_SEED = 0  # the same images for every model of every search
MAX_KEPT = 2
BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, eq=False)
class StoredImages:
    """An image set that is an artifact."""

    sha256: str
    images: ImageSetFile


class FinalImages:
    """Makes image sets of data sets' test images; keeps the last ones. Thread-safe."""

    def __init__(self, resources: WorkerResources) -> None:
        self._resources = resources
        self._lock = threading.Lock()
        self._stored = lru_cache(maxsize=MAX_KEPT)(self._store)

    def answers(
        self,
        dataset: str,
        form: ImageForm,
        graph: LayerGraph,
        weights: Mapping[str, torch.Tensor],
        statistics: Mapping[str, BatchStatistics],
        *,
        num_images: int | None,
        stopped: Callable[[], bool],
    ) -> ReferencePredictions | None:
        """What a network answers in float to the test images in its own resolution; None where stopped.

        Args:
            dataset: registered name.
            form: in which its images were trained on.
            graph, weights, statistics: as its accuracy was taken with.
            num_images: evenly drawn; None takes all, as far as 512 MiB of pixels hold them.
            stopped: asked before every batch.

        Raises:
            DatasetError, WeightsError: images cannot be read, a logit is not finite.
        """
        channels, height, _ = graph.input_shape
        with self._lock:
            stored = self._stored(dataset, channels, height, num_images, form)
        norm = Calibrated(CalibratedStatistics.from_values(statistics, self._resources.device))
        batches = self._resources.paused(self._batches(stored.images, stopped))
        predictions = predict(graph, weights, norm, batches)
        if len(predictions) != stored.images.header.num_images:
            return None
        return ReferencePredictions(
            images_sha256=stored.sha256,
            num_classes=stored.images.header.num_classes,
            predictions=predictions,
            labels=stored.images.labels_N,
        )

    def _batches(self, images: ImageSetFile, stopped: Callable[[], bool]) -> Iterator[torch.Tensor]:
        for start in range(0, images.header.num_images, BATCH_SIZE):
            if stopped():
                return
            with self._lock:  # one stream for all
                x_NCHW = images.inputs(start, min(start + BATCH_SIZE, images.header.num_images))
            on_device = torch.from_numpy(x_NCHW).to(self._resources.device)
            yield on_device.contiguous(memory_format=torch.channels_last)

    def _store(self, name: str, channels: int, size: int, num_images: int | None, form: ImageForm) -> StoredImages:
        dataset = self._resources.images(name, channels, size, form)
        split = dataset.test
        largest = min(len(split), MAX_IMAGES, MAX_PIXEL_BYTES // int(np.prod(split.image_shape)))
        wanted = max(1, min(num_images or largest, largest))
        drawn = np.random.default_rng(DRAW_SEED).choice(len(split), size=wanted, replace=False)
        chosen = np.sort(drawn).astype(np.int64)
        normalisation = dataset.normalisation
        how = Preprocessing(
            mean=tuple(255.0 * value for value in normalisation.mean),
            std=tuple(255.0 * value for value in normalisation.std),
        )
        content = write_image_set(f"{name} test", split.load(chosen), split.labels[chosen], how, dataset.num_classes)
        stored = self._resources.artifacts.put(content, MEDIA_TYPE)
        return StoredImages(stored.sha256, ImageSetFile(BytesIO(content)))
