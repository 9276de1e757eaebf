"""Accuracy of one architecture with shared weights: calibrate its BN, then count correct predictions.

Shapes: N images, C channels, H height, W width, K classes. Images should be in channels_last memory,
which makes calibration on a CPU two to three times faster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.evaluation.onnx_network import onnx_network
from nas_engine.settings.evaluation import CalibrationMode
from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import Calibrated, Norm, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.resolution import fit_resolution


class LabelledImages(Protocol):
    """A batch of normalised images with their classes, on the weights' device."""

    @property
    def images_NCHW(self) -> torch.Tensor:  # noqa: N802
        """Pixels as the network takes them, (N, C, H, W)."""

    @property
    def labels_N(self) -> torch.Tensor:  # noqa: N802
        """Index of each image's class, (N,)."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of correct predictions on held-out images.

    Attributes:
        top1: fraction.
        num_images: how many were classified.
        standard_error: binomial, sqrt(p (1 - p) / n).
        answers: which images they were; None where that was not kept.
    """

    top1: float
    num_images: int
    standard_error: float
    answers: CorrectAnswers | None = None

    def figures(self) -> dict[str, float]:
        """What it comes to, without which images were right."""
        return {"top1": self.top1, "num_images": self.num_images, "standard_error": self.standard_error}

    @classmethod
    def of(cls, num_correct: int, num_images: int, answers: CorrectAnswers | None = None) -> Accuracy:
        """From counts.

        Raises:
            WeightsError: there is no image.
        """
        if num_images <= 0:
            raise WeightsError("accuracy of no image: give held-out images")
        top1 = num_correct / num_images
        return cls(top1, num_images, math.sqrt(top1 * (1.0 - top1) / num_images), answers)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An architecture's accuracy and the statistics it was taken with.

    Attributes:
        statistics: by BatchNorm node; an export of this architecture uses them.
        seconds: wall time of calibration and validation.
    """

    accuracy: Accuracy
    statistics: Mapping[str, BatchStatistics]
    seconds: float


def evaluate(
    graph: LayerGraph,
    weights: Mapping[str, torch.Tensor],
    *,
    calibration_NCHW: Iterable[torch.Tensor],
    held_out: Iterable[LabelledImages],
    mode: CalibrationMode = CalibrationMode.CUMULATIVE,
) -> Evaluated:
    """Calibrate on training images, then classify held-out images.

    Args:
        graph: either form (affine BN weights must be stored for a DEPLOYED graph).
        weights: stored tensors by name.
        calibration_NCHW: normalised training images.
        held_out: normalised images that training never saw.
        mode: how calibration averages batches.

    Raises:
        WeightsError: there are no images, or activations are not finite.
    """
    started = time.monotonic()
    statistics = calibrate(graph, weights, (fit_resolution(x, graph) for x in calibration_NCHW), mode)
    device = next(iter(weights.values())).device
    norm = Calibrated(CalibratedStatistics.from_values(statistics, device))
    accuracy = classify(graph, weights, norm, held_out)
    return Evaluated(accuracy, statistics, time.monotonic() - started)


def classify(
    graph: LayerGraph, weights: Mapping[str, torch.Tensor], norm: Norm, held_out: Iterable[LabelledImages]
) -> Accuracy:
    """Share of correct predictions under given statistics.

    Raises:
        WeightsError: there are no images, or a logit is not finite.
    """
    correct: list[NDArray[np.bool_]] = []
    labels: list[NDArray[np.int64]] = []
    ranked_first = _Classifier(graph, weights, norm)
    for batch in held_out:
        correct.append((ranked_first(batch.images_NCHW) == batch.labels_N).cpu().numpy())
        labels.append(batch.labels_N.cpu().numpy().astype(np.int64))
    num_images = sum(map(len, labels))
    answers = CorrectAnswers.of(correct, labels) if num_images else None
    return Accuracy.of(sum(int(one.sum()) for one in correct), num_images, answers)


def predict(
    graph: LayerGraph, weights: Mapping[str, torch.Tensor], norm: Norm, images_NCHW: Iterable[torch.Tensor]
) -> NDArray[np.uint16]:
    """The class ranked first for every image, in order; of equal ones the first.

    Raises:
        WeightsError: a logit is not finite.
    """
    ranked_first = _Classifier(graph, weights, norm)
    predictions = [ranked_first(x_NCHW).cpu().numpy().astype(np.uint16) for x_NCHW in images_NCHW]
    return np.concatenate(predictions) if predictions else np.empty(0, dtype=np.uint16)


class _Classifier:
    """The class that a network ranks first: by ONNX Runtime where it can stand for torch, which is faster on a CPU."""

    def __init__(self, graph: LayerGraph, weights: Mapping[str, torch.Tensor], norm: Norm) -> None:
        self._graph, self._weights, self._norm = graph, weights, norm
        self._fast = onnx_network(graph, weights, norm.statistics) if isinstance(norm, Calibrated) else None

    def __call__(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Index of each image's class, (N,).

        Raises:
            WeightsError: a logit is not finite.
        """
        with torch.no_grad():
            x_NCHW = fit_resolution(x_NCHW, self._graph)
            if self._fast is not None:
                logits_NK = self._fast.logits(x_NCHW)
            else:
                logits_NK = forward(x_NCHW, self._graph, weights=self._weights, norm=self._norm)
            if not bool(torch.isfinite(logits_NK).all()):
                raise WeightsError("a logit is not finite: the weights or statistics are unusable")
            return logits_NK.argmax(1)
