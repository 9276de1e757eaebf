"""Accuracy of a path: calibrated on training images, counted on held-out ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.search_space import Form
from nas_engine.evaluation.accuracy import Accuracy, classify, evaluate
from nas_engine.settings.evaluation import CalibrationMode
from nas_engine.supernet.execute import BATCH
from nas_engine.supernet.subnet import extract
from nas_engine.training.data.augmentation import NO_AUGMENTATION, Augmentation
from nas_engine.training.data.stream import CalibrationBatches, PlainBatches, TrainingStream
from nas_engine.training.randomness import Randomness
from nas_engine.training.strategies.paths import decoded_graph
from nas_engine.training.strategies.strategy import ImageBatch
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import tiny_space, tiny_weights

CPU = torch.device("cpu")
DATASET = striped_dataset()


def _stream(augmentation: Augmentation = NO_AUGMENTATION) -> TrainingStream:
    return TrainingStream(DATASET, batch_size=16, augmentation=augmentation, randomness=Randomness(3), device=CPU)


def _held_out(batch_size: int = 7) -> PlainBatches:
    return PlainBatches(DATASET.validation, DATASET.normalisation, batch_size=batch_size, device=CPU)


def test_accuracy_is_what_the_extracted_subnet_gets_image_by_image() -> None:
    space = tiny_space()
    weights = tiny_weights(space)
    found = evaluate(
        decoded_graph(space, (1, 3), Form.SUPERNET),
        weights,
        calibration_NCHW=CalibrationBatches(_stream(), 3),
        held_out=_held_out(),
    )
    module = extract(decoded_graph(space, (1, 3), Form.DEPLOYED), weights, found.statistics)
    right = []
    with torch.no_grad():
        for batch in _held_out(1):
            right.append(bool(module(batch.images_NCHW).argmax() == batch.labels_N[0]))
    answers = found.accuracy.answers
    assert answers is not None
    assert found.accuracy == Accuracy.of(sum(right), len(DATASET.validation), answers)
    assert np.unpackbits(np.frombuffer(answers.bits, np.uint8), count=len(right)).tolist() == right
    assert found.seconds > 0


def test_accuracy_does_not_depend_on_the_batch_size_of_the_held_out_images() -> None:
    space = tiny_space()
    weights, graph = tiny_weights(space), decoded_graph(space, (0, 2), Form.SUPERNET)
    calibration = CalibrationBatches(_stream(), 2)
    one, other = (evaluate(graph, weights, calibration_NCHW=calibration, held_out=_held_out(size)) for size in (5, 24))
    assert one.accuracy == other.accuracy
    assert one.statistics == other.statistics


def test_the_two_calibrations_differ_as_their_definitions_say() -> None:
    space = tiny_space()
    weights, graph = tiny_weights(space), decoded_graph(space, (0, 2), Form.SUPERNET)
    calibration = CalibrationBatches(_stream(), 2)
    cumulative, exponential = (
        evaluate(graph, weights, calibration_NCHW=calibration, held_out=_held_out(), mode=mode).statistics["stem.bn"]
        for mode in (CalibrationMode.CUMULATIVE, CalibrationMode.REFERENCE)
    )
    # After two batches 0.81 of the reset variance (1) is left: few batches are not enough for SPOS's average.
    assert abs(exponential.variance - 0.81).max() < 0.19 * max(1.0, float(cumulative.variance.max())) + 1e-6
    assert cumulative != exponential


def test_counts_and_their_standard_error() -> None:
    accuracy = Accuracy.of(80, 100)
    assert accuracy.top1 == 0.8
    assert accuracy.standard_error == pytest.approx(0.04)
    with pytest.raises(WeightsError, match="no image"):
        Accuracy.of(0, 0)


def test_logits_that_are_not_finite_are_refused() -> None:
    space = tiny_space()
    weights, graph = tiny_weights(space), decoded_graph(space, (0, 0), Form.SUPERNET)
    with torch.no_grad():
        weights["head.linear.weight"].fill_(float("inf"))
    with pytest.raises(WeightsError, match="not finite"):
        classify(graph, weights, BATCH, _held_out())


def test_images_are_resized_to_the_resolution_of_the_graph() -> None:
    space = tiny_space()
    weights, graph = tiny_weights(space), decoded_graph(space, (0, 0), Form.SUPERNET)

    def larger() -> Iterator[ImageBatch]:
        for batch in _held_out():
            yield ImageBatch(torch.nn.functional.interpolate(batch.images_NCHW, size=(12, 12)), batch.labels_N)

    assert classify(graph, weights, BATCH, larger()).num_images == len(DATASET.validation)


def test_calibration_images_are_the_same_whenever_they_are_asked_for() -> None:
    augmented = Augmentation(crop_padding=2, horizontal_flip=True)
    first, second = (CalibrationBatches(_stream(augmented), 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(list(first)) == len(list(first)) == 3
