"""CONVERT jobs: the model file of one architecture or of a user's own model; a measuring job follows from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO

from nas_engine.domain.errors import ExportError, InvalidArchitectureError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.measuring.image_set import ImageSetFile
from nas_engine.export.onnx_check import inspect_onnx
from nas_engine.export.rknn.settings import CalibrationBatch
from nas_engine.settings.images import ImageForm
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.core.errors import InvalidValueError
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.measuring.conversion import ConversionResults, ConvertedModel
from server.measuring.payloads import ConvertPayload
from server.measuring.worker.rknn import CALIBRATION_IMAGES, RknnMaker, calibration_images
from server.spaces.worker import WorkerResources

ONNX_MEDIA_TYPE = "application/onnx"
LATENCY_SEED = 0  # fixed, so that equal architectures give equal files (ADR 5)


class ConvertHandler:
    """Does CONVERT jobs; those for RKNN boards only where there is a converter."""

    def __init__(
        self,
        results: ConversionResults,
        calibration_dataset: Callable[[ConvertPayload], tuple[str, ImageForm]],
        resources: WorkerResources,
        rknn: RknnMaker | None = None,
    ) -> None:
        """Start.

        Args:
            results: takes what was made.
            calibration_dataset: names the data set that calibrates a w8a8 conversion, and the form of its images;
                raises where there is none.
            resources: of the worker.
            rknn: makes RKNN files; None on a worker without a converter.
        """
        self._results = results
        self._calibration_dataset = calibration_dataset
        self._resources = resources
        self._rknn = rknn

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Export, and convert where the board needs it; seeded random weights: good for latency only."""
        payload = read_payload(ConvertPayload, job.payload)
        onnx = self._onnx(payload)
        if stopped():
            return
        if payload.format is ModelFormat.ONNX:
            stored = self._resources.artifacts.put(onnx, ONNX_MEDIA_TYPE)
            self._results.record(lease, _made(payload, stored.sha256, ModelFormat.ONNX))
            return
        self._convert(payload, onnx, lease)

    def _convert(self, payload: ConvertPayload, onnx: bytes, lease: LeaseRef) -> None:
        if self._rknn is None:
            raise InvalidValueError(
                f"this worker makes no {payload.format.value} files: set up the converter (make rknn)"
            )
        dtype = payload.dtype
        calibration = self._calibration(payload, onnx) if dtype is Dtype.W8A8 else None
        files = self._rknn.make(
            onnx,
            dtype,
            calibration=calibration,
            arch_id=payload.arch_id,
            target_platform=payload.target_platform,
        )
        if payload.npu_only and files.cpu_operators:
            raise ExportError(f"npu_only: the compiler leaves operators to the CPU: {', '.join(files.cpu_operators)}")
        made = partial(_made, payload, cpu_operators=files.cpu_operators, log_sha256=files.log_sha256)
        model = made(files.model_sha256, ModelFormat.RKNN)
        cycles = made(files.cycles_sha256, ModelFormat.RKNN_CYCLES)
        wanted, other = (model, cycles) if payload.format is ModelFormat.RKNN else (cycles, model)
        self._results.record(lease, wanted, other)

    def _onnx(self, payload: ConvertPayload) -> bytes:
        if payload.source_sha256 is not None:
            return self._resources.artifacts.read(payload.source_sha256)
        if payload.operator is not None:
            wanted, spaces = payload.operator, self._resources.spaces
            dtype = payload.dtype
            operators = spaces.operators(wanted.space_id, wanted.parameters, batch=payload.batch, dtype=dtype)
            if wanted.latency_key not in operators:
                raise InvalidArchitectureError(f"space {wanted.space_id!r} has no operator {wanted.latency_key}")
            return spaces.export_operator(operators[wanted.latency_key], batch=payload.batch, seed=LATENCY_SEED)
        if payload.architecture is None:
            raise InvalidValueError("a conversion needs an architecture, an operator or a model of a user's own")
        architecture = payload.architecture.architecture()
        return self._resources.spaces.export_onnx(architecture, batch=payload.batch, seed=LATENCY_SEED)

    def _calibration(self, payload: ConvertPayload, onnx: bytes) -> CalibrationBatch:
        """The first images of an uploaded set, or of the search's data set in the size the network takes."""
        if payload.batch != 1:
            raise ExportError(f"w8a8 is calibrated image by image: batch is {payload.batch}, make it 1")
        inputs = inspect_onnx(onnx).inputs
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ExportError("w8a8 is calibrated with images: the model must have one input (1, C, H, W)")
        if payload.calibration_images_sha256 is not None:
            uploaded = ImageSetFile(BytesIO(self._resources.artifacts.read(payload.calibration_images_sha256)))
            wanted, shape = tuple(inputs[0].shape), uploaded.header.input_shape(1)
            if shape != wanted:
                raise ExportError(f"the model takes {wanted}, the calibration images are {shape}: pack them so")
            return CalibrationBatch(uploaded.inputs(0, min(CALIBRATION_IMAGES, uploaded.header.num_images)))
        _, channels, height, width = inputs[0].shape
        name, form = self._calibration_dataset(payload)
        dataset = self._resources.images(name, channels, height, form)
        return calibration_images(dataset, (channels, height, width))


def _made(
    payload: ConvertPayload,
    sha256: str,
    format: ModelFormat,
    cpu_operators: tuple[str, ...] = (),
    log_sha256: str | None = None,
) -> ConvertedModel:
    """A file that was made. Of an architecture it has random weights, of an ONNX file those of the file."""
    trained = payload.source_sha256 is not None
    return ConvertedModel(
        sha256=sha256,
        format=format,
        weights=WeightsOrigin(payload.weights) if trained else WeightsOrigin.RANDOM,
        supernet_version_id=payload.supernet_version_id if trained else None,
        cpu_operators=cpu_operators,
        log_sha256=log_sha256,
    )
