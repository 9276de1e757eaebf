"""BN recalibration: an architecture's own batch statistics from training images.

Weight sharing trains every path with the batch's statistics; a candidate is evaluated with statistics
of its own. Source: Guo et al., SPOS (ECCV 2020), section 3.4 and reference code (reset, then forward
passes in training mode with momentum 0.1); AttentiveNAS's reference code for the cumulative mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.settings.evaluation import CalibrationMode
from nas_engine.supernet.execute import Accumulate, forward
from nas_engine.supernet.norm_statistics import StatisticsAccumulator

SPOS_MOMENTUM = 0.1


def calibrate(
    graph: LayerGraph,
    weights: Mapping[str, torch.Tensor],
    batches_NCHW: Iterable[torch.Tensor],
    mode: CalibrationMode = CalibrationMode.CUMULATIVE,
) -> dict[str, BatchStatistics]:
    """Statistics of every `BatchNorm` of the graph, as torch's BatchNorm would gather them.

    Args:
        graph: either form.
        weights: stored tensors by name.
        batches_NCHW: training images, normalised, on the weights' device.
        mode: see `CalibrationMode`.

    Raises:
        WeightsError: there is no batch, or an activation is not finite.
    """
    accumulator = StatisticsAccumulator(SPOS_MOMENTUM if mode is CalibrationMode.REFERENCE else None)
    with torch.no_grad():
        for x_NCHW in batches_NCHW:
            accumulator.begin_batch()
            forward(x_NCHW, graph, weights=weights, norm=Accumulate(accumulator))
    if accumulator.num_batches == 0:
        raise WeightsError("BN recalibration got no batch: give at least one batch of training images")
    return accumulator.values()
