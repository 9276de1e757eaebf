"""Retraining one architecture, from scratch or from inherited weights, with its final test accuracy.

The stand-alone network (DEPLOYED form, affine BN) is trained like a supernet with a single path. At the
end its BN statistics are gathered as a cumulative mean over training batches (SPOS's reference does
the same in 1,250 extra iterations), which is what the exporter folds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.errors import TrainingError, WeightsError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import Dropout, LayerGraph, Linear
from nas_engine.domain.statistics import BatchStatistics
from nas_engine.evaluation.accuracy import Accuracy, classify
from nas_engine.settings.strategies import StandaloneSettings
from nas_engine.settings.training import TrainingSettings
from nas_engine.supernet.calibration import calibrate
from nas_engine.supernet.execute import Calibrated
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.supernet.resolution import fit_resolution
from nas_engine.supernet.weights import WeightStore, collect_weight_refs
from nas_engine.training.checkpoint import CurvePoint
from nas_engine.training.data.augmentation import ALONE, AUGMENTATIONS, Share
from nas_engine.training.data.dataset import ImageDataset, Split
from nas_engine.training.data.stream import PlainBatches, TrainingStream
from nas_engine.training.loop import NO_HOOKS, Hooks, StopReason, TrainResult, train
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.strategy import ImageBatch, Stateless, StepContext, StepOutcome
from nas_engine.training.strategies.uniform import train_paths

T = TypeVar("T")


class _CancelledError(Exception):
    """The run was cancelled after its last step, while the network was judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """A stand-alone network that is ready to be exported.

    Attributes:
        weights: of the DEPLOYED graph.
        statistics: its BN statistics, by node.
        validation, test: accuracy on images that training never saw; None where the run was cancelled, and on
            validation images where these were trained on.
        curve, steps, seconds: of the training loop.
    """

    ending: StopReason
    weights: WeightStore
    statistics: Mapping[str, BatchStatistics]
    validation: Accuracy | None
    test: Accuracy | None
    curve: tuple[CurvePoint, ...]
    steps: int
    seconds: float


class SinglePath(Stateless):
    """`TrainingStrategy` that trains one graph with label smoothing."""

    def __init__(self, graph: LayerGraph, settings: StandaloneSettings, *, label_smoothing: float) -> None:
        self._graph = with_dropout(graph, settings.dropout)
        self._settings = settings
        self._label_smoothing = label_smoothing

    @property
    def name(self) -> str:
        return "retrain"

    def settings(self) -> JsonValue:
        """The graph's digest and the settings, in the form of the first release."""
        digest = hashlib.sha256(repr(self._graph.nodes).encode()).hexdigest()
        return {
            "graph": digest,
            "config": {
                "label_smoothing": self._label_smoothing,
                "dropout": self._settings.dropout,
                "calibration_batches": self._settings.num_calibration_batches,
                "evaluation_batch_size": self._settings.evaluation_batch_size,
            },
        }

    def step(self, batch: ImageBatch, context: StepContext) -> StepOutcome:
        """Cross entropy of the one path."""
        return train_paths([self._graph], batch, context, self._label_smoothing, share=1.0)


def retrain(
    graph: LayerGraph,
    dataset: ImageDataset,
    training: TrainingSettings,
    settings: StandaloneSettings,
    *,
    device: torch.device,
    inherited: Mapping[str, NDArray[np.float32]] | None = None,
    hooks: Hooks = NO_HOOKS,
    checkpoint: Path | None = None,
    share: Share = ALONE,
    recomputed: Collection[str] = (),
) -> Retrained:
    """Train one architecture and report its accuracy on validation and test images.

    Args:
        graph: DEPLOYED form.
        dataset: trained on its training images alone, or, where the settings want it, on what searches hold out too.
        training: of the loop.
        settings: of the network and the report.
        device: CPU or CUDA.
        inherited: stored tensors of the DEPLOYED graph, e.g. from `spaces.els.inherited_weights`;
            None to start from scratch.
        hooks, checkpoint, share, recomputed: as in `loop.train`; a run can be cancelled until its report is done.

    Raises:
        TrainingError: training diverges, or the checkpoint is of another run.
        WeightsError: inherited weights are missing or have another shape.
    """
    if settings.train_on_held_out:
        dataset = dataset.with_held_out()
    start = initial_weights(graph, training.seed, inherited)
    result = train(
        SinglePath(graph, settings, label_smoothing=training.label_smoothing),
        start,
        dataset,
        training,
        device=device,
        hooks=hooks,
        checkpoint=checkpoint,
        share=share,
        recomputed=recomputed,
    )
    if result.ending is StopReason.CANCELLED:
        return _outcome(result, {}, None, None)
    try:
        return _judged(graph, result, dataset, training, settings, device, hooks)
    except _CancelledError:
        return _outcome(replace(result, ending=StopReason.CANCELLED), {}, None, None)


def _judged(
    graph: LayerGraph,
    result: TrainResult,
    dataset: ImageDataset,
    training: TrainingSettings,
    settings: StandaloneSettings,
    device: torch.device,
    hooks: Hooks,
) -> Retrained:
    """The finished run with its final BN statistics and its accuracies."""
    statistics = _final_statistics(graph, result.weights, dataset, training, settings, device, hooks)
    norm = Calibrated(CalibratedStatistics.from_values(statistics, device))

    def judged(split: Split) -> Accuracy:
        batches = PlainBatches(split, dataset.normalisation, batch_size=settings.evaluation_batch_size, device=device)
        return classify(graph, result.weights, norm, _worked_on(batches, hooks))

    validation = None if settings.train_on_held_out else judged(dataset.validation)
    test = judged(dataset.test)
    return _outcome(result, statistics, validation, test)


def _outcome(
    result: TrainResult,
    statistics: Mapping[str, BatchStatistics],
    validation: Accuracy | None,
    test: Accuracy | None,
) -> Retrained:
    return Retrained(
        ending=result.ending,
        weights=result.weights,
        statistics=statistics,
        validation=validation,
        test=test,
        curve=result.curve,
        steps=result.steps,
        seconds=result.seconds,
    )


def initial_weights(graph: LayerGraph, seed: int, inherited: Mapping[str, NDArray[np.float32]] | None) -> WeightStore:
    """Fresh weights of a DEPLOYED graph, or the inherited ones.

    Raises:
        WeightsError: an inherited weight is missing, has another shape or is not finite.
    """
    weights = WeightStore.create([graph], Randomness(seed).torch(Stream.INITIAL_WEIGHTS, 0))
    if inherited is None:
        return weights
    missing = collect_weight_refs([graph]).keys() - inherited.keys()
    if missing:
        raise WeightsError(f"inherited weights lack {sorted(missing)[:3]}: inherit for this very architecture")
    tensors = {name: torch.from_numpy(np.array(inherited[name], dtype=np.float32)) for name in weights}
    weights.load_tensors({**weights.named_tensors(), **tensors}, "the inherited weights")
    return weights


def with_dropout(graph: LayerGraph, rate: float) -> LayerGraph:
    """The graph with dropout before its classifier.

    Raises:
        TrainingError: the graph does not end in a linear layer.
    """
    if rate == 0.0:
        return graph
    head = graph.nodes[graph.output]
    if not isinstance(head, Linear) or graph.output != len(graph.nodes) - 1:
        raise TrainingError(f"dropout goes before a final linear layer, the graph ends in {head.name!r}")
    source = head.inputs[0]
    dropout = Dropout(
        name=f"{head.name}.dropout",
        inputs=(source,),
        shape=graph.nodes[source].shape,
        block=head.block,
        operator=head.operator,
        rate=rate,
    )
    nodes = (*graph.nodes[:-1], dropout, replace(head, inputs=(graph.output,)))
    return LayerGraph(nodes, graph.output + 1)


def _final_statistics(
    graph: LayerGraph,
    weights: WeightStore,
    dataset: ImageDataset,
    training: TrainingSettings,
    settings: StandaloneSettings,
    device: torch.device,
    hooks: Hooks,
) -> dict[str, BatchStatistics]:
    stream = TrainingStream(
        dataset,
        batch_size=training.batch_size,
        augmentation=AUGMENTATIONS[training.augmentation],
        randomness=Randomness(training.seed + 1),
        device=device,
    )
    try:
        batches = (stream.batch(number).images_NCHW for number in range(settings.num_calibration_batches))
        return calibrate(graph, weights, _worked_on((fit_resolution(x_NCHW, graph) for x_NCHW in batches), hooks))
    finally:
        stream.close()


def _worked_on(batches: Iterable[T], hooks: Hooks) -> Iterator[T]:
    """The batches, each inside `pause`; what follows an ImageNet run takes as long as thousands of its steps.

    Raises:
        _CancelledError: before a batch.
    """
    for batch in batches:
        if hooks.cancelled():
            raise _CancelledError
        with hooks.pause():
            yield batch
