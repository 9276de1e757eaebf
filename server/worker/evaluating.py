"""EVALUATE jobs: calibrate a subnet's BN, classify held-out images; for finalists also export the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.environment import Dtype
from nas_engine.domain.errors import FormsDifferError, InvalidArchitectureError
from nas_engine.domain.latency_key import latency_key
from nas_engine.domain.search_space import Form
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.evaluation.accuracy import Evaluated, evaluate
from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin
from nas_engine.export.onnx import export_onnx
from nas_engine.spaces.els import inherited_weights
from nas_engine.supernet.calibration import CalibrationMode
from nas_engine.training.augmentation import NO_AUGMENTATION
from nas_engine.training.data import ImageDataset
from nas_engine.training.randomness import Randomness
from nas_engine.training.stream import CalibrationBatches, PlainBatches, TrainingStream
from server.service.searches import Searches
from server.service.spec import EvaluationSpec, SearchSpec
from server.service.values.artifact import ModelFormat, WeightsOrigin
from server.service.values.job import Job, LeaseRef
from server.service.values.payloads import EvaluatePayload, read_payload
from server.service.worker_results import Accuracy, Conversion, WorkerResults
from server.worker.resources import LoadedSupernet, Resources

T = TypeVar("T")
ONNX_MEDIA_TYPE = "application/onnx"
CALIBRATION_SEED = 0  # calibration images are the same for every candidate of every search
MAX_PREPARED = 4
_MODES = {"cumulative": CalibrationMode.CUMULATIVE, "reference": CalibrationMode.EXPONENTIAL}


class EvaluateHandler:
    """Does EVALUATE jobs. Search accuracy is on validation images, the final report on test images."""

    def __init__(self, searches: Searches, results: WorkerResults, resources: Resources) -> None:
        self._searches = searches
        self._results = results
        self._resources = resources
        self._lock = threading.Lock()
        self._calibration = lru_cache(maxsize=MAX_PREPARED)(self._prepare_calibration)
        self._held_out = lru_cache(maxsize=MAX_PREPARED)(self._prepare_held_out)

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Evaluate one candidate; returns early once stopped."""
        payload = read_payload(EvaluatePayload, job.payload)
        spec = self._searches.get(payload.search_id).spec
        supernet = self._resources.supernet(payload.supernet_version_id)
        architecture = payload.architecture.architecture()
        found = self._evaluate(architecture, supernet, spec, payload.split, stopped)
        if found is None:
            return
        accuracy = Accuracy(top1=found.accuracy.top1, num_images=found.accuracy.num_images)
        final = self._export(architecture, supernet, found.statistics, spec) if payload.split == "test" else None
        self._results.record_accuracy(lease, accuracy, final)

    def _evaluate(
        self,
        architecture: Architecture,
        supernet: LoadedSupernet,
        spec: SearchSpec,
        split: str,
        stopped: Callable[[], bool],
    ) -> Evaluated | None:
        settings = spec.evaluation
        name = spec.dataset or supernet.spec.dataset
        dataset = self._resources.dataset(name, supernet.space, supernet.spec.resolution)
        graph = supernet.space.graph(architecture, Form.SUPERNET)
        if graph is None:
            raise InvalidArchitectureError(f"space {architecture.space_id} has no layer graphs: nothing to evaluate")
        with self._lock:
            calibration = self._calibration(name, dataset, settings)
            held_out = self._held_out(name, dataset, settings, split)
        try:
            return evaluate(
                graph,
                supernet.weights,
                calibration_NCHW=self._resources.paused(_until_stopped(calibration, stopped)),
                held_out=self._resources.paused(_until_stopped(held_out, stopped)),
                mode=_MODES[settings.calibration],
            )
        except _StoppedError:
            return None

    def _export(
        self,
        architecture: Architecture,
        supernet: LoadedSupernet,
        statistics: Mapping[str, BatchStatistics],
        spec: SearchSpec,
    ) -> Conversion | None:
        """The stand-alone network as ONNX; None where the two forms differ, so that nothing can be inherited."""
        space = supernet.space
        deployed, trained = (space.graph(architecture, form) for form in (Form.DEPLOYED, Form.SUPERNET))
        assert deployed is not None
        assert trained is not None
        arrays: dict[str, NDArray[np.float32]] = supernet.weights.arrays()
        try:
            weights = inherited_weights(trained, deployed, arrays)
        except FormsDifferError:
            return None
        batch = 1 if spec.device is None else spec.device.batch
        key = latency_key(deployed, batch=batch, dtype=Dtype.FP32)
        metadata = ModelMetadata(arch_id=architecture.arch_id, latency_key=key, weights=WeightOrigin.INHERITED)
        model = export_onnx(deployed, weights, statistics, batch=batch, metadata=metadata)
        stored = self._resources.artifacts.put(model, ONNX_MEDIA_TYPE)
        return Conversion(
            sha256=stored.sha256,
            format=ModelFormat.ONNX,
            weights=WeightsOrigin.INHERITED,
            supernet_version_id=supernet.version_id,
        )

    def _prepare_calibration(self, _name: str, dataset: ImageDataset, settings: EvaluationSpec) -> CalibrationBatches:
        stream = TrainingStream(
            dataset,
            batch_size=min(settings.batch_size, len(dataset.train)),
            augmentation=NO_AUGMENTATION,
            randomness=Randomness(CALIBRATION_SEED),
            device=self._resources.device,
        )
        return CalibrationBatches(stream, settings.num_calibration_batches)

    def _prepare_held_out(
        self, _name: str, dataset: ImageDataset, settings: EvaluationSpec, split: str
    ) -> PlainBatches:
        limit = settings.num_validation_batches
        return PlainBatches(
            dataset.test if split == "test" else dataset.validation,
            dataset.normalisation,
            batch_size=settings.batch_size,
            device=self._resources.device,
            # The final report looks at every test image.
            max_images=None if limit is None or split == "test" else limit * settings.batch_size,
        )


class _StoppedError(Exception):
    """The job was cancelled or lost between two batches."""


def _until_stopped(batches: Iterable[T], stopped: Callable[[], bool]) -> Iterator[T]:
    """The batches; raises _StoppedError before the next one once `stopped()`."""
    for batch in batches:
        if stopped():
            raise _StoppedError
        yield batch
