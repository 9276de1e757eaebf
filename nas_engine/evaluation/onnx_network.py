"""A calibrated network in ONNX Runtime: what classifies held-out images on a processor.

Batch normalisation is folded into the convolutions and activations are fused with them. Shapes: N images, C channels,
H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.errors import ExportError
from nas_engine.domain.layer_graph import LayerGraph, Shape, WeightedSum
from nas_engine.export.onnx import export_onnx
from nas_engine.supernet.execute import require_input
from nas_engine.supernet.norm_statistics import CalibratedStatistics

_ERRORS_ONLY = 3  # ONNX Runtime's log level


class OnnxNetwork:
    """Answers of an exported network, with as many threads as torch uses in the thread that made it."""

    def __init__(self, model: bytes, input_shape: Shape) -> None:
        """Raises ExportError: ONNX Runtime refuses the model."""
        # Loaded here: it starts threads, and a process that is forked after that dies when it ends.
        import onnxruntime

        self._input_shape = input_shape
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            raise ExportError(f"ONNX Runtime cannot run the model: {error}") from error
        self._input: str = self._session.get_inputs()[0].name

    def logits(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """logits_NK of a batch of images, which may have any memory format.

        Raises:
            InvalidGraphError: they have another shape than the graph's input.
        """
        require_input(x_NCHW, self._input_shape)
        (logits_NK,) = self._session.run(None, {self._input: x_NCHW.contiguous().numpy()})
        return torch.from_numpy(logits_NK)


def onnx_network(
    graph: LayerGraph, weights: Mapping[str, torch.Tensor], statistics: CalibratedStatistics
) -> OnnxNetwork | None:
    """The network, to be run on the processor; None where torch must: on a GPU, or for what cannot be exported.

    Args:
        graph: either form.
        weights: full stored tensors by name.
        statistics: of this very architecture.

    Raises:
        WeightsError: a weight or a statistic is missing, of another shape, or not finite.
    """
    used = [weights[name] for name in graph.weights if name in weights]
    if any(tensor.device.type != "cpu" or tensor.dtype != torch.float32 for tensor in used):
        return None
    if any(graph.of_type(WeightedSum)):  # its coefficients are the strategy's
        return None
    try:
        model = export_onnx(graph, _arrays(graph, weights), statistics.values(), batch=None)
        return OnnxNetwork(model, graph.input_shape)
    except ExportError:
        return None


def _arrays(graph: LayerGraph, weights: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    """Weights as the exporter reads them; a weight that is missing is its to name."""
    return {name: weights[name].detach().contiguous().numpy() for name in graph.weights if name in weights}
