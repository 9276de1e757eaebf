"""Evaluates architectures of one supernet on one data set: what a search worker holds between candidates.

Calibration images are training images, candidates are judged on validation images, and the test
images are touched by `test` alone, for the final report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.evaluation.accuracy import Accuracy, Evaluated, classify, evaluate
from nas_engine.settings.evaluation import CalibrationImages, EvaluationSettings, SharedEvaluationSettings
from nas_engine.settings.training import AugmentationName
from nas_engine.spaces.els import inherited_weights
from nas_engine.supernet.execute import Calibrated
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.augmentation import AUGMENTATIONS, NO_AUGMENTATION, Augmentation
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.stream import CalibrationBatches, PlainBatches, TrainingStream
from nas_engine.training.loop import NO_HOOKS, Hooks
from nas_engine.training.optimization import Arithmetic
from nas_engine.training.randomness import Randomness

CALIBRATION_SEED = 0  # calibration images are the same for every candidate


def calibration_augmentation(settings: SharedEvaluationSettings, trained_with: AugmentationName) -> Augmentation:
    """What is done to calibration images of weights that were trained with an augmentation."""
    if settings.calibration_images is CalibrationImages.PLAIN:
        return NO_AUGMENTATION
    return AUGMENTATIONS[trained_with]


@dataclass(frozen=True, slots=True)
class DeployedSubnet:
    """What the exporter reads.

    Attributes:
        graph: DEPLOYED form.
        weights: its full stored tensors, stabilizers merged and affine parts added.
    """

    graph: LayerGraph
    weights: Mapping[str, NDArray[np.float32]]


class SupernetEvaluator:
    """Judges architectures with shared weights; keeps prepared images. Not thread-safe."""

    def __init__(
        self,
        space: SearchSpace,
        weights: WeightStore,
        dataset: ImageDataset,
        settings: SharedEvaluationSettings,
        device: torch.device,
        hooks: Hooks = NO_HOOKS,
        *,
        trained_with: AugmentationName = AugmentationName.NONE,
    ) -> None:
        """Each batch is worked on inside `hooks.pause`; candidates are judged on all validation images, or on as many
        as `settings` names; calibration images are augmented as the weights were `trained_with`, where it wants that.
        """
        self._space = space
        self._hooks = hooks
        self._settings = settings
        self._device = device
        self._weights = weights.to(device, channels_last=True)
        self._arithmetic = Arithmetic(settings.precision, device)
        batch_size = min(settings.batch_size, len(dataset.train))
        stream = TrainingStream(
            dataset,
            batch_size=batch_size,
            augmentation=calibration_augmentation(settings, trained_with),
            randomness=Randomness(CALIBRATION_SEED),
            device=device,
        )
        self._calibration = CalibrationBatches(stream, settings.num_calibration_batches)
        stream.close()
        num_batches = settings.num_validation_batches if isinstance(settings, EvaluationSettings) else None
        size = settings.held_out_batch_size
        max_validation = None if num_batches is None else num_batches * size
        self._validation, self._test = (
            PlainBatches(split, dataset.normalisation, batch_size=size, device=device, max_images=limit)
            for split, limit in ((dataset.validation, max_validation), (dataset.test, None))
        )

    def use(self, weights: WeightStore) -> None:
        """Take another version of the supernet (after a shift)."""
        self._weights = weights.to(self._device, channels_last=True)

    def evaluate(self, architecture: Architecture) -> Evaluated:
        """Calibrate on training images and count correct predictions on validation images.

        Raises:
            WeightsError: the weights are of another space, or activations are not finite.
        """
        with self._arithmetic.autocast():
            return evaluate(
                self._graph(architecture, Form.SUPERNET),
                self._weights,
                calibration_NCHW=self._hooks.paused(self._calibration),
                held_out=self._hooks.paused(self._validation),
                mode=self._settings.calibration,
            )

    def test(self, architecture: Architecture, statistics: Mapping[str, BatchStatistics]) -> Accuracy:
        """Accuracy on the test images, with statistics that `evaluate` gave. For final reports only."""
        norm = Calibrated(CalibratedStatistics.from_values(statistics, self._device))
        graph = self._graph(architecture, Form.SUPERNET)
        with self._arithmetic.autocast():
            return classify(graph, self._weights, norm, self._hooks.paused(self._test))

    def deployed(self, architecture: Architecture) -> DeployedSubnet:
        """The stand-alone network with inherited weights, for the exporter.

        Raises:
            FormsDifferError: the forms are not equivalent (SCARLET skips before residual blocks).
        """
        supernet, deployed = (self._graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
        inherited = inherited_weights(supernet, deployed, self._weights.arrays(supernet.weights))
        return DeployedSubnet(deployed, {n: np.asarray(w, dtype=np.float32) for n, w in inherited.items()})

    def _graph(self, architecture: Architecture, form: Form) -> LayerGraph:
        graph = self._space.graph(architecture, form)
        if graph is None:
            raise TrainingError(f"space {self._space.space_id!r} is a table of results: there is nothing to execute")
        return graph
