"""CONVERT jobs: the model file of one architecture, from which a measuring job follows."""

from __future__ import annotations

from collections.abc import Callable

from server.catalog.spaces import EngineSpaceCatalog
from server.service.artifacts import Artifacts
from server.service.errors import InvalidValueError
from server.service.values.artifact import ModelFormat, WeightsOrigin
from server.service.values.job import Job, LeaseRef
from server.service.values.payloads import ConvertPayload, read_payload
from server.service.worker_results import Conversion, WorkerResults

ONNX_MEDIA_TYPE = "application/onnx"
LATENCY_SEED = 0  # fixed, so that equal architectures give equal files (ADR 5)


class ConvertHandler:
    """Does CONVERT jobs."""

    def __init__(self, results: WorkerResults, spaces: EngineSpaceCatalog, artifacts: Artifacts) -> None:
        self._results = results
        self._spaces = spaces
        self._artifacts = artifacts

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Export one architecture with seeded random weights."""
        payload = read_payload(ConvertPayload, job.payload)
        if payload.format is not ModelFormat.ONNX:
            raise InvalidValueError(
                f"this worker makes onnx files, not {payload.format.value}: set up the RKNN converter"
            )
        if stopped():
            return
        architecture = payload.architecture.architecture()
        model = self._spaces.export_onnx(architecture, batch=payload.batch, seed=LATENCY_SEED)
        stored = self._artifacts.put(model, ONNX_MEDIA_TYPE)
        self._results.record_conversion(
            lease, Conversion(sha256=stored.sha256, format=ModelFormat.ONNX, weights=WeightsOrigin.RANDOM)
        )
