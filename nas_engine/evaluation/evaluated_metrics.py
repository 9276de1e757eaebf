"""Values of evaluated metrics that others bring: a function of a sub-network and images; its faults are named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import declaration_of
from nas_engine.domain.plugins.doors import PluginError
from nas_engine.domain.views.graph_metrics import called, checked_value, metric_function, metric_with_package
from nas_engine.evaluation.accuracy import LabelledImages
from nas_engine.settings.evaluation import CalibrationMode
from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import Calibrated, Norm, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.resolution import fit_resolution

TIMEOUT_S = 1800.0


class CalibratedNetwork(nn.Module):
    """A sub-network with shared weights and its own normalisation, as what evaluates metrics sees it."""

    def __init__(self, graph: LayerGraph, weights: Mapping[str, torch.Tensor], norm: Norm) -> None:
        super().__init__()
        self._graph, self._weights, self._norm = graph, weights, norm
        self.eval()

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """logits_NK of a batch of images."""
        x_NCHW = fit_resolution(x_NCHW, self._graph)
        return forward(x_NCHW, self._graph, weights=self._weights, norm=self._norm)


def evaluate_metric(
    metric: Metric,
    settings: Any,
    graph: LayerGraph,
    weights: Mapping[str, torch.Tensor],
    *,
    calibration_NCHW: Iterable[torch.Tensor],
    held_out: Iterable[LabelledImages],
    mode: CalibrationMode,
    timeout_s: float = TIMEOUT_S,
) -> tuple[float, float | None]:
    """Calibrate a sub-network, then have a metric evaluated on held-out images; returns its value and uncertainty.

    Raises:
        PluginError: it raised, gave no finite number within its bounds, or did not end in time.
    """
    declaration = declaration_of(metric)
    function = metric_function(declaration)
    if settings is None and declaration.settings is not None:
        settings = declaration.settings()
    statistics = calibrate(graph, weights, (fit_resolution(x, graph) for x in calibration_NCHW), mode)
    device = next(iter(weights.values())).device
    network = CalibratedNetwork(graph, weights, Calibrated(CalibratedStatistics.from_values(statistics, device)))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in held_out:
            yield batch.images_NCHW, batch.labels_N

    def evaluate() -> Any:
        with torch.no_grad():  # it is a thread's own
            given = (network, batches()) if declaration.settings is None else (network, batches(), settings)
            return function(*given)

    who = metric_with_package(declaration)
    match called(declaration, evaluate, timeout_s):
        case (int() | float() as value, None):
            return checked_value(declaration, float(value)), None
        case (int() | float() as value, int() | float() as uncertainty):
            if not (math.isfinite(uncertainty) and uncertainty >= 0):
                raise PluginError(f"{who} gave {uncertainty} as its uncertainty: it must be finite and >= 0, or None")
            return checked_value(declaration, float(value)), float(uncertainty)
        case other:
            raise PluginError(
                f"{who} gave {str(other)[:100]}: it must be a pair of numbers (value, uncertainty or None)"
            )
