"""DenseNAS as one call: a network per cost factor, measured by its parts, and the published recipes."""

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
from nas_engine.search.densenas import DenseNasRecipe, published_recipe, search_architecture
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.training.config import Decay, ScheduleConfig
from nas_engine.training.loop import Ending
from tests.integration.engine_training.test_differentiable_search import CONFIG, DATA, MBV2, PARAMETERS, SEARCH

CPU = torch.device("cpu")


def macs(space: DenseSpace, cost_factor: float) -> int:
    search = replace(
        SEARCH,
        architecture_start_step=0,
        cost_factor=cost_factor,
        optimizer=replace(SEARCH.optimizer, learning_rate=0.2),
    )
    recipe = DenseNasRecipe(training=CONFIG, search=search)
    result = search_architecture(space, mac_costs(space), DATA, recipe, device=CPU)
    assert result.ending is Ending.FINISHED
    assert space.genotype_of(result.architecture) is not None
    assert result.report.num_architecture_steps == CONFIG.num_steps // 4
    return complexity(space.graph(result.architecture, Form.DEPLOYED)).macs


def test_a_larger_cost_factor_gives_a_cheaper_network() -> None:
    assert macs(MBV2, 100.0) < macs(MBV2, 0.0)


def test_a_space_of_other_classes_is_refused_before_anything_is_trained() -> None:
    space = DenseSpace(replace(PARAMETERS, num_classes=7))
    recipe = DenseNasRecipe(training=CONFIG, search=SEARCH)
    with pytest.raises(TrainingError, match="the space has 7 classes, data set bars has 3"):
        search_architecture(space, mac_costs(space), DATA, recipe, device=CPU)


def test_the_published_recipes_are_the_papers() -> None:
    # 100 ImageNet classes, 80 % of about 1,300 images each.
    mbv2, resnet = (published_recipe(f"densenas-{family}", 103_700) for family in ("mbv2", "resnet"))
    assert mbv2.training.num_steps == 150 * 294
    assert mbv2.search.architecture_start_step == 50 * 294
    assert resnet.training.batch_size == 512
    assert resnet.search.architecture_start_step * 7 == resnet.training.num_steps
    schedule, rate = mbv2.training.schedule, mbv2.training.optimizer.learning_rate
    assert rate * schedule.factor(0, 44_100) == pytest.approx(0.2)
    assert rate * schedule.factor(44_100, 44_100) == pytest.approx(1e-4)


def test_a_recipe_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TrainingError, match="no published DenseNAS recipe for 'spos'"):
        published_recipe("spos", 1000)
    with pytest.raises(TrainingError, match="less than one batch"):
        published_recipe("densenas-mbv2", 300)


def test_only_the_cosine_ends_above_zero() -> None:
    with pytest.raises(TrainingError, match="final_share is for the cosine"):
        ScheduleConfig(decay=Decay.LINEAR, final_share=0.1)
    with pytest.raises(TrainingError, match="final_share is 1.0"):
        ScheduleConfig(decay=Decay.COSINE, final_share=1.0)


def test_two_processes_find_the_architecture_parameters_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    runs = [("one.json", {})] + [("two.json", group | {"RANK": str(rank)}) for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.densenas_run", str(tmp_path / name)], cwd=root, env=environment | more
        )
        for name, more in runs
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    alone, parallel = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert parallel["choices"] == alone["choices"]
    assert parallel["architecture_loss"] == pytest.approx(alone["architecture_loss"], rel=1e-3)
    for name, values in alone["logits"].items():
        np.testing.assert_allclose(parallel["logits"][name], values, rtol=0, atol=1e-3, err_msg=name)
