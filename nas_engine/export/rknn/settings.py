"""What a conversion to RKNN is asked to do: settings, calibration images, provenance and the cache key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import ExportError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.measuring.environment import Dtype

MAX_CUSTOM_STRING_BYTES = 1024  # toolkit limit
_SCHEMA = 1  # part of the cache key: change it when what is stored changes


class QuantisationAlgorithm(Enum):
    """How activation ranges are chosen. MMSE takes 20 times as long as NORMAL: not for a search loop."""

    NORMAL = "normal"
    KL_DIVERGENCE = "kl_divergence"
    MMSE = "mmse"


class QuantisationMethod(Enum):
    """How finely weights are scaled: one scale per channel or one per layer."""

    CHANNEL = "channel"
    LAYER = "layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class RknnSettings:
    """Settings of one conversion; the defaults are the toolkit's own.

    Attributes:
        dtype: FP16, or W8A8, which needs calibration images.
        target_platform: the board's chip as the toolkit names it.
        mean, std: per input channel, subtracted and divided by on the board, so that it takes raw
            images; None where the model takes normalised images.
        algorithm, method: of W8A8.
        optimization_level: 0 to 3.
        single_core_mode: a smaller file that runs on one NPU core only.
    """

    dtype: Dtype
    target_platform: str = "rk3588"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    algorithm: QuantisationAlgorithm = QuantisationAlgorithm.NORMAL
    method: QuantisationMethod = QuantisationMethod.CHANNEL
    optimization_level: int = 3
    single_core_mode: bool = False

    def __post_init__(self) -> None:
        if self.dtype is Dtype.FP32:
            raise ExportError("RKNN models run in fp16 or w8a8, not in fp32")
        if not 0 <= self.optimization_level <= 3:
            raise ExportError(f"optimization_level is {self.optimization_level}: it goes from 0 to 3")
        if (self.mean is None) != (self.std is None):
            raise ExportError("mean and std are given together or not at all")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise ExportError(f"mean has {len(self.mean)} channels and std {len(self.std)}")
            if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and min(self.std) > 0):
                raise ExportError("mean and std must be finite, and std positive")

    @property
    def is_quantised(self) -> bool:
        """Whether weights and activations are integers, so that calibration images are needed."""
        return self.dtype is Dtype.W8A8

    def toolkit_options(self) -> dict[str, JsonValue]:
        """Keyword arguments of the toolkit's ``config``, without the provenance."""
        options: dict[str, JsonValue] = {
            "target_platform": self.target_platform,
            "optimization_level": self.optimization_level,
            "single_core_mode": self.single_core_mode,
        }
        if self.is_quantised:
            options["quantized_dtype"] = self.dtype.value
            options["quantized_algorithm"] = self.algorithm.value
            options["quantized_method"] = self.method.value
        if self.mean is not None and self.std is not None:
            options["mean_values"] = [list(self.mean)]
            options["std_values"] = [list(self.std)]
        return options


class CalibrationBatch:
    """Images that show a quantised conversion the ranges of its activations. Immutable.

    Attributes:
        images_NCHW: (N, C, H, W), float32 or uint8, in the form in which the board's runtime gets
            them (raw where the settings hold mean and std, else normalised).
        digest: sha256 (hex) of type, shape and values: what a conversion is cached under.
    """

    def __init__(self, images_NCHW: NDArray[Any]) -> None:
        if images_NCHW.ndim != 4 or images_NCHW.shape[0] < 1:
            raise ExportError(
                f"calibration images have shape {images_NCHW.shape}: give (images, channels, height, width)"
            )
        if images_NCHW.dtype not in (np.float32, np.uint8):
            raise ExportError(f"calibration images are {images_NCHW.dtype}: give float32 or uint8")
        if not np.isfinite(images_NCHW).all():
            raise ExportError("a calibration image holds NaN or infinity")
        self.images_NCHW = np.ascontiguousarray(images_NCHW).copy()
        self.images_NCHW.setflags(write=False)
        header = f"{self.images_NCHW.dtype.str};{self.images_NCHW.shape};".encode()
        self.digest = hashlib.sha256(header + self.images_NCHW.tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionKey:
    """Everything that a converted model depends on.

    The toolkit's files differ from run to run for equal inputs, so this, and never the hash of the
    result, says whether two conversions are the same.

    Attributes:
        provenance: what the ONNX file says about itself; written into the result, no part of the key: it follows from
            the file's hash.
    """

    onnx_sha256: str
    settings: RknnSettings
    calibration_digest: str | None
    toolkit_version: str
    arch_id: str | None
    provenance: str = ""

    def document(self) -> Mapping[str, JsonValue]:
        """Settings and versions the cache key is the digest of."""
        return {
            "schema": _SCHEMA,
            "onnx_sha256": self.onnx_sha256,
            "options": self.settings.toolkit_options(),
            "calibration_digest": self.calibration_digest,
            "toolkit_version": self.toolkit_version,
            "arch_id": self.arch_id,
        }

    @property
    def sha256(self) -> str:
        """Hash (hex) of the canonical JSON of `document`."""
        return hashlib.sha256(canonical_json(self.document()).encode()).hexdigest()

    def custom_string(self) -> str:
        """Provenance that is stored in the model file and can be read on the board."""
        said = self.provenance or f"arch_id={self.arch_id or '-'}"
        text = f"hilnas;{said};onnx={self.onnx_sha256};conversion={self.sha256}"
        if len(text.encode()) > MAX_CUSTOM_STRING_BYTES:
            raise ExportError(f"the provenance is longer than {MAX_CUSTOM_STRING_BYTES} bytes: arch_id is not a hash")
        return text


def make_key(
    onnx: bytes,
    settings: RknnSettings,
    calibration: CalibrationBatch | None,
    *,
    toolkit_version: str,
    arch_id: str | None,
) -> ConversionKey:
    """The key of one conversion.

    Raises:
        ExportError: a quantised conversion without images, or images for one that is not.
    """
    if settings.is_quantised and calibration is None:
        raise ExportError("w8a8 needs calibration images: give some of the training set")
    return ConversionKey(
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        settings=settings,
        calibration_digest=calibration.digest if settings.is_quantised and calibration is not None else None,
        toolkit_version=toolkit_version,
        arch_id=arch_id,
    )
