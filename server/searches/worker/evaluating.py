"""EVALUATE jobs: calibrate a subnet's BN, classify held-out images; for front members also export the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import FormsDifferError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metrics import metric_named
from nas_engine.domain.search_space import Form
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin
from nas_engine.export.onnx import export_onnx
from nas_engine.spaces.els import inherited_weights
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.candidates.candidate import HeldOutAccuracy
from server.candidates.payloads import EvaluatePayload
from server.candidates.search import Search
from server.candidates.used_plugins import check_plugins
from server.classifying.worker import FinalImages
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.measuring.conversion import ConvertedModel
from server.searches.evaluation_results import EvaluationResults
from server.searches.searches import Searches
from server.spaces.worker import WorkerResources
from server.training.worker.accuracies import Accuracies, supernet_graph
from server.training.worker.supernets import LoadedSupernet, LoadedSupernets

ONNX_MEDIA_TYPE = "application/onnx"


class EvaluateHandler:
    """Does EVALUATE jobs. Search accuracy is on validation images, the final report on test images."""

    def __init__(
        self,
        searches: Searches,
        results: EvaluationResults,
        resources: WorkerResources,
        supernets: LoadedSupernets,
        accuracies: Accuracies,
    ) -> None:
        self._searches = searches
        self._results = results
        self._resources = resources
        self._supernets = supernets
        self._accuracies = accuracies
        self._images = FinalImages(resources)

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Evaluate one candidate; returns early once stopped."""
        payload = read_payload(EvaluatePayload, job.payload)
        search = self._searches.get_search(payload.search_id)
        check_plugins(search.plugins)
        spec = search.spec
        supernet = self._supernets.load(payload.supernet_version_id)
        architecture = payload.architecture.architecture()
        if payload.metric is not None:
            metric = metric_named(payload.metric)
            value = self._accuracies.evaluate_metric(
                metric,
                architecture,
                supernet.space,
                supernet.weights,
                spec=spec,
                training=supernet.spec,
                stopped=stopped,
            )
            if value is not None:
                self._results.record_value(lease, metric, *value)
            return
        found = self._accuracies.evaluate(
            architecture,
            supernet.space,
            supernet.weights,
            spec=spec,
            training=supernet.spec,
            split=payload.split,
            stopped=stopped,
        )
        if found is None:
            return
        accuracy = HeldOutAccuracy(top1=found.accuracy.top1, num_images=found.accuracy.num_images)
        final = self._export(architecture, supernet, found.statistics, search) if payload.split == "test" else None
        if final is None or not spec.final.on_device_accuracy:
            self._results.record(lease, accuracy, final, answers=found.accuracy.answers)
            return
        predicted = self._images.answers(
            spec.dataset or supernet.spec.dataset,
            supernet.spec.image_form,
            supernet_graph(supernet.space, architecture),
            supernet.weights,
            found.statistics,
            num_images=spec.final.num_images,
            stopped=stopped,
        )
        if predicted is not None:
            self._results.record(lease, accuracy, final, predicted, found.accuracy.answers)

    def _export(
        self,
        architecture: Architecture,
        supernet: LoadedSupernet,
        statistics: Mapping[str, BatchStatistics],
        search: Search,
    ) -> ConvertedModel | None:
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
        device = search.spec.device
        batch = 1 if device is None else device.batch
        key = latency_key(deployed, batch=batch, dtype=Dtype.FP32)
        metadata = ModelMetadata(
            arch_id=architecture.arch_id,
            latency_key=key,
            weights=WeightOrigin.INHERITED,
            space=architecture.space_id,
            search=search.id,
        )
        model = export_onnx(deployed, weights, statistics, batch=batch, metadata=metadata)
        stored = self._resources.artifacts.put(model, ONNX_MEDIA_TYPE)
        return ConvertedModel(
            sha256=stored.sha256,
            format=ModelFormat.ONNX,
            weights=WeightsOrigin.INHERITED,
            supernet_version_id=supernet.version_id,
        )
