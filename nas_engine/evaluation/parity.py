"""Runs an architecture on both sides, torch execution and ONNX Runtime, and compares the outputs.

Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from nas_engine.domain.errors import ExportError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.export.onnx import NO_COEFFICIENTS, export_onnx
from nas_engine.supernet.execute import Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics

Array = NDArray[np.float32]
TOLERANCE = 1e-4  # largest relative error an export may have
_ERRORS_ONLY = 3  # ONNX Runtime's log level


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far the exported model's outputs are from the torch execution's.

    Attributes:
        max_absolute_error: largest difference of one output element.
        max_relative_error: that, over the largest magnitude of torch's answer (an element-wise ratio
            would be unbounded where an output is close to 0).
        num_images: images compared.
    """

    max_absolute_error: float
    max_relative_error: float
    num_images: int


def measure_parity(
    graph: LayerGraph,
    weights: Mapping[str, Array],
    statistics: Mapping[str, BatchStatistics],
    images_NCHW: Array,
    *,
    coefficients: Mapping[str, Array] = NO_COEFFICIENTS,
) -> Parity:
    """Export the graph, run both sides on the images, single-threaded, and compare.

    Raises:
        ExportError: an answer is not finite, or ONNX Runtime refuses the model.
        WeightsError, InvalidGraphError: as `export_onnx` and `forward`.
    """
    model = export_onnx(graph, weights, statistics, batch=images_NCHW.shape[0], coefficients=coefficients)
    exported_NK = run_onnx(model, images_NCHW)
    with torch.inference_mode():
        executed_NK = forward(
            torch.from_numpy(images_NCHW),
            graph,
            weights=_tensors(weights),
            coefficients=_tensors(coefficients),
            norm=Calibrated(CalibratedStatistics.from_values(statistics, torch.device("cpu"))),
        ).numpy()
    return compare(executed_NK, exported_NK)


def require_parity(parity: Parity, *, tolerance: float = TOLERANCE) -> None:
    """Refuse an export that differs from its source.

    Raises:
        ExportError: the relative error is above `tolerance`.
    """
    if not parity.max_relative_error <= tolerance:
        raise ExportError(
            f"the exported model differs from its source by {parity.max_relative_error:.2e} "
            f"(relative, over {parity.num_images} images), allowed is {tolerance:.0e}: do not deploy it"
        )


def compare(expected_NK: Array, actual_NK: Array) -> Parity:
    """The error of `actual_NK` against `expected_NK`.

    Raises:
        ExportError: shapes differ, or a value is not finite.
    """
    if expected_NK.shape != actual_NK.shape:
        raise ExportError(f"outputs have shapes {expected_NK.shape} and {actual_NK.shape}: not the same network")
    if not (np.isfinite(expected_NK).all() and np.isfinite(actual_NK).all()):
        raise ExportError("an answer holds NaN or infinity: the weights or statistics overflow")
    error = float(np.abs(expected_NK - actual_NK).max())
    # All-zero outputs that agree have error 0; any difference from them is infinitely large.
    magnitude = float(np.abs(expected_NK).max())
    relative = 0.0 if error == 0.0 else error / magnitude if magnitude else float("inf")
    return Parity(max_absolute_error=error, max_relative_error=relative, num_images=expected_NK.shape[0])


def run_onnx(model: bytes, images_NCHW: Array) -> Array:
    """The single output of a single-input model, by ONNX Runtime on one CPU thread.

    Raises:
        ExportError: ONNX Runtime refuses the model or the images.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (output_NK,) = session.run(None, {session.get_inputs()[0].name: images_NCHW})
    except Exception as error:  # ONNX Runtime has no common base class for its errors
        raise ExportError(f"ONNX Runtime cannot run the model: {error}") from error
    result: Array = np.asarray(output_NK, dtype=np.float32)
    return result


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
