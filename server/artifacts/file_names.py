"""What a model file is called for whoever saves it: space, architecture, data type, chip; and what it is."""

from __future__ import annotations

import re

from nas_engine.export.model_metadata import LATENCY_PROBE
from server.artifacts.artifact import ModelFormat, WeightsOrigin

_ODD = re.compile(r"[^A-Za-z0-9._+-]+")
_SHORT_ARCH = 12
_EXTENSIONS = {ModelFormat.ONNX: "onnx", ModelFormat.RKNN: "rknn", ModelFormat.RKNN_CYCLES: "cycles.json"}


def model_file_name(
    space_id: str, arch_id: str, dtype: str, format: ModelFormat, weights: WeightsOrigin, target: str | None = None
) -> str:
    """Name a model file, such as ``spos-29520446bbb1-w8a8-rk3588.rknn``.

    A file with random weights is called a latency probe, one that was trained stand-alone says so.
    """
    said = {WeightsOrigin.RANDOM: "latency-probe-random-weights", WeightsOrigin.RETRAINED: "retrained"}
    parts = [space_id, arch_id[:_SHORT_ARCH], said.get(weights, ""), dtype, target or ""]
    stem = "-".join(_ODD.sub("-", part) for part in parts if part).strip("-.") or arch_id[:_SHORT_ARCH]
    return f"{stem[:180]}.{_EXTENSIONS[format]}"


def title_of(weights: WeightsOrigin) -> str:
    """What people are told a file is."""
    match weights:
        case WeightsOrigin.RANDOM:
            return LATENCY_PROBE
        case WeightsOrigin.INHERITED:
            return "model, weights inherited from the supernet"
        case WeightsOrigin.RETRAINED:
            return "model, trained stand-alone"
