"""RKNN files for boards and for their simulation: both come of one conversion by the real toolkit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas_engine.domain.errors import ExportError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.rknn.converter import RknnConverter
from nas_engine.export.rknn.settings import CalibrationBatch, RknnSettings
from nas_engine.training.data.dataset import ImageDataset
from server.artifacts.artifacts import Artifacts

RKNN_MEDIA_TYPE = "application/vnd.rockchip.rknn"
CYCLES_MEDIA_TYPE = "application/vnd.hilnas.rknn-cycles+json"
LOG_MEDIA_TYPE = "text/plain"
DEFAULT_TARGET = "rk3588"
CALIBRATION_IMAGES = 64
CALIBRATION_SEED = 0  # the same images for every candidate of every search


@dataclass(frozen=True, slots=True)
class RknnFiles:
    """The artifacts of one conversion.

    Attributes:
        model_sha256: the .rknn file.
        cycles_sha256: the compiler's cycle table, as simulated boards take it.
        cpu_operators: operators the compiler left to the CPU, in order.
        log_sha256: what the toolkit printed; None where that was not kept.
    """

    model_sha256: str
    cycles_sha256: str
    cpu_operators: tuple[str, ...]
    log_sha256: str | None = None


class RknnMaker:
    """Converts ONNX models and stores what comes of it. Thread-safe."""

    def __init__(self, converter: RknnConverter, artifacts: Artifacts) -> None:
        self._converter = converter
        self._artifacts = artifacts

    def make(
        self,
        onnx: bytes,
        dtype: Dtype,
        *,
        calibration: CalibrationBatch | None,
        arch_id: str | None,
        target_platform: str = DEFAULT_TARGET,
    ) -> RknnFiles:
        """Convert and store one model.

        Raises:
            ConversionError: with the kind of failure; one that would repeat itself is remembered.
            ExportError: the data type cannot be converted to, or images for w8a8 are missing.
        """
        settings = RknnSettings(dtype=dtype, target_platform=target_platform)
        made = self._converter.convert(onnx, settings, calibration=calibration, arch_id=arch_id)
        model = self._artifacts.put(made.model, RKNN_MEDIA_TYPE)
        cycles = self._artifacts.put(made.table.to_json().encode(), CYCLES_MEDIA_TYPE)
        operators = tuple(layer.operator for layer in made.table.cpu_fallbacks)
        log = self._artifacts.put(made.log.encode(), LOG_MEDIA_TYPE).sha256 if made.log else None
        return RknnFiles(model.sha256, cycles.sha256, operators, log)

    def close(self) -> None:
        """End the converter processes."""
        self._converter.close()


def calibration_images(dataset: ImageDataset, shape_CHW: tuple[int, int, int]) -> CalibrationBatch:
    """Training images as the network takes them: always the same ones of a data set, normalised.

    Raises:
        ExportError: the data set's images have another shape than the network's input.
    """
    split, normalisation = dataset.train, dataset.normalisation
    height, width, channels = split.image_shape
    if (channels, height, width) != shape_CHW:
        raise ExportError(f"images of {dataset.name} are {(channels, height, width)}, the network takes {shape_CHW}")
    rng = np.random.default_rng(CALIBRATION_SEED)
    chosen = np.sort(rng.choice(len(split), size=min(CALIBRATION_IMAGES, len(split)), replace=False))
    pixels_NHWC = split.load(chosen).astype(np.float32) / 255.0
    mean, std = (np.asarray(values, dtype=np.float32) for values in (normalisation.mean, normalisation.std))
    return CalibrationBatch(np.ascontiguousarray(((pixels_NHWC - mean) / std).transpose(0, 3, 1, 2)))
