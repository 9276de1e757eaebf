"""Images brought to the resolution that a graph takes: a property of the trainer, never a graph node."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from nas_engine.domain.layer_graph import LayerGraph


def fit_resolution(x_NCHW: torch.Tensor, graph: LayerGraph) -> torch.Tensor:
    """Resize normalised images to the graph's input (bicubic, as AttentiveNAS does); no-op where they fit.

    The number of channels is left alone; execution refuses a wrong one.
    """
    _, height, width = graph.input_shape
    if tuple(x_NCHW.shape[2:]) == (height, width):
        return x_NCHW
    return F.interpolate(x_NCHW, size=(height, width), mode="bicubic", align_corners=False)
