"""DenseNAS as one call: a network per cost factor, measured by its parts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.search.densenas import search_architecture
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.training.loop import StopReason
from nas_engine.training.optimization import learning_rate_at
from tests.integration.engine_training.test_differentiable_search import DATA, MBV2, PARAMETERS, SEARCH
from tests.support.samples.training_run import changed

CPU = torch.device("cpu")


def macs(space: DenseSpace, cost_factor: float) -> int:
    settings = changed(SEARCH, first_architecture_epoch=0, architecture_learning_rate=0.2)
    result = search_architecture(space, mac_costs(space), DATA, settings, cost_factor=cost_factor, seed=0, device=CPU)
    assert result.ending is StopReason.FINISHED
    assert space.genotype_of(result.architecture) is not None
    assert result.report.num_architecture_steps == result.steps // 4 == 12
    return complexity(space.graph(result.architecture, Form.DEPLOYED)).macs


def test_a_larger_cost_factor_gives_a_cheaper_network() -> None:
    assert macs(MBV2, 100.0) < macs(MBV2, 0.0)


def test_a_space_of_other_classes_is_refused_before_anything_is_trained() -> None:
    space = DenseSpace(replace(PARAMETERS, num_classes=7))
    with pytest.raises(TrainingError, match="the space has 7 classes, data set bars has 3"):
        search_architecture(space, mac_costs(space), DATA, SEARCH, cost_factor=0.15, seed=0, device=CPU)


def test_a_cosine_falls_from_one_learning_rate_to_the_other() -> None:
    settings = DenseNasSettings(dataset="imagenet100")
    training = settings.weight_training(seed=0)
    # 100 ImageNet classes, 80 % of about 1,300 images each.
    assert training.num_steps(103_700) == 150 * 294
    assert learning_rate_at(training.optimizer, 0, 44_100) == pytest.approx(settings.learning_rate)
    assert learning_rate_at(training.optimizer, 44_100, 44_100) == pytest.approx(settings.final_learning_rate)


def test_two_processes_find_the_architecture_parameters_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    runs = [("one.json", {})] + [("two.json", group | {"RANK": str(rank)}) for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.samples.densenas_run", str(tmp_path / name)],
            cwd=root,
            env=environment | more,
        )
        for name, more in runs
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    alone, parallel = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert parallel["choices"] == alone["choices"]
    assert parallel["architecture_loss"] == pytest.approx(alone["architecture_loss"], rel=1e-3)
    for name, values in alone["logits"].items():
        np.testing.assert_allclose(parallel["logits"][name], values, rtol=0, atol=1e-3, err_msg=name)
