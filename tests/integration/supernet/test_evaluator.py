"""The evaluator a worker holds: validation for the search, test for the report, arrays for the exporter."""

from __future__ import annotations

import numpy as np
import torch

from nas_engine.domain.search_space import Form
from nas_engine.export.onnx import export_onnx
from nas_engine.settings.evaluation import CalibrationMode, EvaluationSettings
from nas_engine.settings.strategies import StandaloneSettings
from nas_engine.settings.training import AugmentationName, OptimizerKind, OptimizerSettings, Schedule
from nas_engine.supernet.execute import Calibrated, forward
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.training.data.stream import PlainBatches
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.ranking_study import study_architecture, summarise
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import changed, tiny_config, tiny_space, tiny_weights

CPU = torch.device("cpu")
SPACE, DATASET = tiny_space(), striped_dataset()
CONFIG = EvaluationSettings(num_calibration_batches=2, batch_size=20)


def _evaluator(config: EvaluationSettings = CONFIG) -> SupernetEvaluator:
    return SupernetEvaluator(SPACE, tiny_weights(SPACE), DATASET, config, CPU)


def test_candidates_are_judged_on_validation_images_and_reported_on_test_images() -> None:
    evaluator, architecture = _evaluator(), SPACE.decode([1, 2])
    found = evaluator.evaluate(architecture)
    assert found.accuracy.num_images == len(DATASET.validation)
    assert evaluator.test(architecture, found.statistics).num_images == len(DATASET.test)
    assert evaluator.evaluate(architecture).accuracy == found.accuracy
    assert evaluator.evaluate(architecture).statistics == found.statistics


def test_fewer_validation_images_and_the_other_calibration_on_request() -> None:
    config = changed(CONFIG, num_validation_batches=1, batch_size=7, calibration=CalibrationMode.REFERENCE)
    assert _evaluator(config).evaluate(SPACE.decode([1, 2])).accuracy.num_images == 7


def test_another_version_of_the_supernet_gives_other_statistics() -> None:
    evaluator, architecture = _evaluator(), SPACE.decode([1, 2])
    before = evaluator.evaluate(architecture).statistics
    shifted = tiny_weights(SPACE)
    with torch.no_grad():
        shifted["stem.conv.weight"].mul_(2.0)
    evaluator.use(shifted)
    assert evaluator.evaluate(architecture).statistics != before


def test_what_is_exported_answers_as_the_supernets_path_did() -> None:
    import onnxruntime

    evaluator, architecture = _evaluator(), SPACE.decode([3, 0])
    statistics = evaluator.evaluate(architecture).statistics
    subnet = evaluator.deployed(architecture)
    model = export_onnx(subnet.graph, subnet.weights, statistics, batch=12)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (batch, _) = PlainBatches(DATASET.validation, DATASET.normalisation, batch_size=12, device=CPU)
    (answer,) = session.run(None, {session.get_inputs()[0].name: batch.images_NCHW.contiguous().numpy()})
    graph = SPACE.graph(architecture, Form.SUPERNET)
    norm = Calibrated(CalibratedStatistics.from_values(statistics, CPU))
    with torch.no_grad():
        path = forward(batch.images_NCHW, graph, weights=tiny_weights(SPACE), norm=norm)
    np.testing.assert_allclose(answer, path.numpy(), rtol=1e-4, atol=1e-5)


def test_a_ranking_study_judges_architectures_both_ways() -> None:
    adam = OptimizerSettings(kind=OptimizerKind.ADAMW, learning_rate=0.02, schedule=Schedule.COSINE)
    config = changed(tiny_config(12), optimizer=adam, augmentation=AugmentationName.NONE)
    entries = [
        study_architecture(
            SPACE, SPACE.decode(genotype), _evaluator(), DATASET, config,
            StandaloneSettings(num_calibration_batches=2), device=CPU,
        )
        for genotype in ([0, 0], [1, 3], [2, 2])
    ]  # fmt: skip
    done = [entry for entry in entries if entry is not None]
    assert len(done) == 3
    assert all(entry.standalone.num_images == entry.inherited.num_images == len(DATASET.validation) for entry in done)
    found = summarise(done, num_local=2)
    assert (found.overall.num, found.num_local) == (3, 2)
