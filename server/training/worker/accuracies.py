"""Accuracies as the specs of searches want them taken: prepared images, calibration, held-out images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import torch

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metric import Metric
from nas_engine.domain.plugins.guard import PassingError
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.evaluation.accuracy import Evaluated, evaluate
from nas_engine.evaluation.evaluated_metrics import evaluate_metric
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.training import AugmentationName, TrainingSpec
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.stream import CalibrationBatches, PlainBatches, TrainingStream
from nas_engine.training.evaluator import calibration_augmentation
from nas_engine.training.optimization import Arithmetic
from nas_engine.training.randomness import Randomness
from server.candidates.spec import SearchSpec
from server.spaces.worker import WorkerResources

T = TypeVar("T")
CALIBRATION_SEED = 0  # calibration images are the same for every candidate of every search
MAX_PREPARED = 4


class Accuracies:
    """Takes accuracies; keeps prepared images. Thread-safe."""

    def __init__(self, resources: WorkerResources) -> None:
        self._resources = resources
        self._lock = threading.Lock()
        self._calibration = lru_cache(maxsize=MAX_PREPARED)(self._prepare_calibration)
        self._held_out = lru_cache(maxsize=MAX_PREPARED)(self._prepare_held_out)

    def evaluate(
        self,
        architecture: Architecture,
        space: SearchSpace,
        weights: Mapping[str, torch.Tensor],
        *,
        spec: SearchSpec,
        training: TrainingSpec,
        split: str,
        stopped: Callable[[], bool],
    ) -> Evaluated | None:
        """Calibrate on training images, classify the images of a split; None where stopped.

        Args:
            architecture: of `space`.
            space: with as many classes as the data set.
            weights: of a supernet of the space, on the worker's device.
            spec: of the search: data set, how much to look at.
            training: how the supernet was trained: data set where the search names none, images, augmentation.
            split: validation or test.
            stopped: asked before every batch.

        Raises:
            InvalidArchitectureError: the space is a table.
            WeightsError: an activation is not finite.
        """
        name = spec.dataset or training.dataset
        dataset = self._resources.dataset(name, space, training.resolution, training.image_form)
        with self._lock:
            calibration = self._calibration(name, dataset, spec.evaluation, training.augmentation)
            held_out = self._held_out(name, dataset, spec.evaluation, split)
        try:
            with Arithmetic(spec.evaluation.precision, self._resources.device).autocast():
                return evaluate(
                    supernet_graph(space, architecture),
                    weights,
                    calibration_NCHW=self._resources.paused(_until_stopped(calibration, stopped)),
                    held_out=self._resources.paused(_until_stopped(held_out, stopped)),
                    mode=spec.evaluation.calibration,
                )
        except _StoppedError:
            return None

    def evaluate_metric(
        self,
        metric: Metric,
        architecture: Architecture,
        space: SearchSpace,
        weights: Mapping[str, torch.Tensor],
        *,
        spec: SearchSpec,
        training: TrainingSpec,
        stopped: Callable[[], bool],
    ) -> tuple[float, float | None] | None:
        """Have an evaluated metric of others computed on validation images; None where stopped.

        Raises:
            PluginError: it raised, gave what is no value of it, or did not end.
        """
        name = spec.dataset or training.dataset
        dataset = self._resources.dataset(name, space, training.resolution, training.image_form)
        with self._lock:
            calibration = self._calibration(name, dataset, spec.evaluation, training.augmentation)
            held_out = self._held_out(name, dataset, spec.evaluation, "validation")
        try:
            return evaluate_metric(
                metric,
                spec.metric_settings().get(metric.name),
                supernet_graph(space, architecture),
                weights,
                calibration_NCHW=self._resources.paused(_until_stopped(calibration, stopped)),
                held_out=self._resources.paused(_until_stopped(held_out, stopped)),
                mode=spec.evaluation.calibration,
            )
        except _StoppedError:
            return None

    def _prepare_calibration(
        self, _name: str, dataset: ImageDataset, settings: EvaluationSettings, trained_with: AugmentationName
    ) -> CalibrationBatches:
        kept = replace(dataset, train=dataset.train.kept_in(self._resources.pixels))
        stream = TrainingStream(
            kept,
            batch_size=min(settings.batch_size, len(dataset.train)),
            augmentation=calibration_augmentation(settings, trained_with),
            randomness=Randomness(CALIBRATION_SEED),
            device=self._resources.device,
        )
        try:
            return CalibrationBatches(stream, settings.num_calibration_batches)
        finally:
            stream.close()

    def _prepare_held_out(
        self, _name: str, dataset: ImageDataset, settings: EvaluationSettings, split: str
    ) -> PlainBatches:
        limit = settings.num_validation_batches
        images = dataset.test if split == "test" else dataset.validation
        return PlainBatches(
            images.kept_in(self._resources.pixels),
            dataset.normalisation,
            batch_size=settings.held_out_batch_size,
            device=self._resources.device,
            # The final report looks at every test image.
            max_images=None if limit is None or split == "test" else limit * settings.held_out_batch_size,
        )


def supernet_graph(space: SearchSpace, architecture: Architecture) -> LayerGraph:
    """The SUPERNET graph of an architecture. Raises InvalidArchitectureError: the space is a table."""
    graph = space.graph(architecture, Form.SUPERNET)
    if graph is None:
        raise InvalidArchitectureError(f"space {space.space_id!r} has no layer graphs: nothing to train or evaluate")
    return graph


class _StoppedError(PassingError):
    """The job was cancelled or lost between two batches."""


def _until_stopped(batches: Iterable[T], stopped: Callable[[], bool]) -> Iterator[T]:
    """The batches; raises _StoppedError before the next one once `stopped()`."""
    for batch in batches:
        if stopped():
            raise _StoppedError
        yield batch
