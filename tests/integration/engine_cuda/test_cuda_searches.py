"""What searches and workers do on a GPU beside training: shifting, studies, runs without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilnas.cli.main import main as hilnas
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.search_space import Form
from nas_engine.evaluation.evaluated_metrics import CalibratedNetwork
from nas_engine.settings.evaluation import EvaluationSettings
from nas_engine.settings.shifting import ShiftingMode, ShiftingSettings
from nas_engine.settings.strategies import StandaloneSettings, UniformSettings
from nas_engine.settings.training import AugmentationName, Precision, TrainingSpec
from nas_engine.supernet.execute import Calibrated
from nas_engine.supernet.norm_statistics import CalibratedStatistics
from nas_engine.training.data.stream import PlainBatches
from nas_engine.training.evaluator import SupernetEvaluator
from nas_engine.training.loop import train
from nas_engine.training.optimization import Arithmetic
from nas_engine.training.ranking_study import study_architecture, summarise
from nas_engine.training.strategies.paths import decoded_graph
from nas_engine.training.strategies.shifting import SupernetShifter
from nas_engine.training.strategies.uniform import UniformStrategy
from server.bootstrap.settings import Settings
from server.bootstrap.worker import _device
from server.training.worker.processes import num_processes_on
from tests.support.cuda import CUDA, NEEDS_CUDA, NEEDS_GPU_WITHOUT_BFLOAT16
from tests.support.paths import ROOT
from tests.support.samples.datasets import striped_dataset, striped_images
from tests.support.samples.training_run import changed, tiny_config, tiny_space, tiny_weights
from tests.support.worlds.table_world import DENSE_SPACE

pytestmark = NEEDS_CUDA
SPACE, DATASET = tiny_space(), striped_dataset()
TIMEOUT_S = 300


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("mode", ShiftingMode)
def test_a_supernet_is_shifted_as_it_was_trained(mode: ShiftingMode, precision: Precision, running: bool) -> None:
    settings = ShiftingSettings(
        mode=mode, images_per_candidate=16, steps_per_candidate=2, batch_size=16, learning_rate=0.05,
        precision=precision, running_statistics=running,
    )  # fmt: skip
    trained = TrainingSpec(
        space={"id": "spos", "parameters": dict(SPACE.parameters)}, dataset="stripes", iterations=1,
        augmentation=AugmentationName.LIGHT,
    )  # fmt: skip
    before = tiny_weights(SPACE)
    shifter = SupernetShifter(before, DATASET, settings, CUDA, seed=0, trained_as=trained)
    graphs = [decoded_graph(SPACE, genotype, Form.SUPERNET) for genotype in ((0, 1), (2, 3))]
    shifter.begin_generation(len(graphs))
    assert all(np.isfinite(shifter.visit(graph)) for graph in graphs)
    assert shifter.end_generation() == 1
    used = {name for graph in graphs for name in graph.weights}
    moved = {name for name in before if not torch.equal(before[name], shifter.weights[name].cpu())}
    # Where float16 overflows, its first update is left out.
    assert moved == used if precision is Precision.FLOAT32 else moved <= used
    assert {tensor.device.type for tensor in shifter.weights.values()} == {"cuda"}


def test_a_ranking_study_judges_architectures_both_ways() -> None:
    evaluator = SupernetEvaluator(SPACE, tiny_weights(SPACE), DATASET, EvaluationSettings(batch_size=20), CUDA)
    entries = [
        study_architecture(
            SPACE, SPACE.decode(genotype), evaluator, DATASET, tiny_config(12),
            StandaloneSettings(num_calibration_batches=2), device=CUDA,
        )
        for genotype in ([0, 0], [1, 3], [2, 2])
    ]  # fmt: skip
    done = [entry for entry in entries if entry is not None]
    assert all(entry.standalone.num_images == entry.inherited.num_images == len(DATASET.validation) for entry in done)
    assert summarise(done, num_local=2).overall.num == 3


def test_metrics_that_others_evaluate_see_the_network_that_is_judged() -> None:
    evaluator = SupernetEvaluator(SPACE, tiny_weights(SPACE), DATASET, EvaluationSettings(batch_size=20), CUDA)
    architecture = SPACE.decode([1, 3])
    found = evaluator.evaluate(architecture)
    graph = SPACE.graph(architecture, Form.SUPERNET)
    norm = Calibrated(CalibratedStatistics.from_values(found.statistics, CUDA))
    network = CalibratedNetwork(graph, tiny_weights(SPACE).to(CUDA, channels_last=True), norm)
    batches = PlainBatches(DATASET.validation, DATASET.normalisation, batch_size=20, device=CUDA)
    with torch.no_grad():
        answers = [(network(batch.images_NCHW).argmax(1) == batch.labels_N).float() for batch in batches]
    assert float(torch.cat(answers).mean()) == pytest.approx(found.accuracy.top1, abs=2 / len(DATASET.validation))


def test_a_worker_takes_the_gpu_and_counts_those_of_its_host(tmp_path: Path) -> None:
    assert _device(Settings(home=tmp_path)) == CUDA
    assert _device(Settings(home=tmp_path, worker_device="cpu")).type == "cpu"
    num_gpus = torch.cuda.device_count()
    settings = changed(tiny_config(4), batch_size=num_gpus * 4, num_processes="gpus")
    assert num_processes_on(CUDA, settings) == num_gpus
    more = changed(settings, batch_size=(num_gpus + 1) * 4, num_processes=num_gpus + 1)
    with pytest.raises(TrainingError, match=f"this worker has {num_gpus} GPUs"):
        num_processes_on(CUDA, more)


@NEEDS_GPU_WITHOUT_BFLOAT16
def test_float16_trains_with_scaled_losses_and_goes_on_with_the_scale_it_had(tmp_path: Path) -> None:
    config, path = changed(tiny_config(12), precision=Precision.MIXED), tmp_path / "run.checkpoint"
    strategy = UniformStrategy(SPACE, UniformSettings(), label_smoothing=0.1)
    assert Arithmetic(Precision.MIXED, CUDA).state()["scale"] > 1
    first = train(strategy, tiny_weights(SPACE), DATASET, config, device=CUDA, checkpoint=path)
    again = train(strategy, tiny_weights(SPACE), DATASET, config, device=CUDA, checkpoint=path)
    assert again.curve == first.curve
    assert all(np.isfinite(point.loss) for point in first.curve)


@pytest.fixture
def data(tmp_path: Path) -> str:
    training, test = striped_images(90), striped_images(30, seed=1)
    path = tmp_path / "stripes.npz"
    np.savez(path, x_train=training.pixels, y_train=training.labels, x_test=test.pixels, y_test=test.labels)
    return str(path)


def local(spec: dict[str, Any], data: str, out: Path) -> list[str]:
    """Arguments of a run without a server; `auto` takes the GPU."""
    file = out.with_suffix(".spec.json")
    file.write_text(json.dumps(spec))
    return ["supernets", "train", str(file), "--local", "--data", data, "--format", "npz", "--out", str(out)]


def test_a_spec_is_trained_and_a_search_derived_without_a_server(tmp_path: Path, data: str) -> None:
    trained = {
        **tiny_config(8).model_dump(mode="json"),
        "name": "stripes", "dataset": "stripes",
        "space": {"id": "spos", "parameters": dict(tiny_space(0.0).parameters)},
    }  # fmt: skip
    assert hilnas(local(trained, data, tmp_path / "weights.safetensors")) == 0
    algorithm = {
        "kind": "densenas", "dataset": "stripes", "cost_factors": [0.1], "cost_base": 1.5, "epochs": 2,
        "first_architecture_epoch": 1, "batch_size": 12, "augmentation": "none", "derived_from": "best_epoch",
        "precision": "float32",
    }  # fmt: skip
    search = {
        "space": DENSE_SPACE, "algorithm": algorithm, "objectives": [{"metric": "macs"}],
        "budget": {"num_candidates": 1},
    }  # fmt: skip
    out = tmp_path / "derived.json"
    assert hilnas(local(search, data, out)) == 0
    (alone,) = json.loads(out.read_text())
    assert alone["best_epoch"] == 2
    group = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    together = tmp_path / "together.json"
    done = subprocess.run(
        [*group, "-m", "--", "hilnas.cli.main", *local(search, data, together), "--device", "cuda"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(together.read_text())[0]["expected_cost"] == pytest.approx(alone["expected_cost"], rel=2e-2)
