"""Trainings and derivations in processes of their own on GPUs, over NCCL."""

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
from safetensors.torch import load

from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.search_space import Form
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.tensor_file import read_tensors
from server.searches.worker.deriving.order import DerivationOrder
from server.training.worker.order import TrainingOrder
from server.training.worker.processes import perform_in_processes
from tests.support.cuda import NEEDS_CUDA, NEEDS_TWO_GPUS
from tests.support.paths import ROOT
from tests.support.samples.datasets import striped_images
from tests.support.samples.training_run import tiny_config, tiny_space
from tests.support.worlds.table_world import DENSE_SPACE

pytestmark = NEEDS_CUDA
TIMEOUT_S = 300
NUM_GPUS = [pytest.param(1, id="one GPU"), pytest.param(2, id="two GPUs", marks=NEEDS_TWO_GPUS)]
SPACE = {"id": "spos", "parameters": dict(tiny_space(0.0).parameters)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    train, test = striped_images(90), striped_images(30, seed=1)
    path = tmp_path / "stripes.npz"
    np.savez(path, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels)
    return path


def spec() -> dict[str, Any]:
    config = tiny_config(8, synchronised=True).model_dump(mode="json")
    return {**config, "name": "stripes", "dataset": "stripes", "space": SPACE}


def ordered(folder: Path, data: Path) -> dict[str, Any]:
    """What every order says."""
    return {
        "checkpoint": folder / "run.checkpoint",
        "folder": folder,
        "rendezvous": folder / "rendezvous",
        "device": "cuda",
        "num_threads": 1,
        "host_lock": None,
        "dataset": {"kind": "npz", "path": str(data)},
    }


@pytest.mark.parametrize("num_processes", NUM_GPUS)
def test_a_worker_has_processes_train_and_they_go_on_from_their_checkpoint(
    num_processes: int, tmp_path: Path, data: Path
) -> None:
    order = TrainingOrder.model_validate(
        {**ordered(tmp_path, data), "spec": spec(), "dataset_name": "stripes", "inherited": None}
    )
    told: list[Any] = []
    end = perform_in_processes(order, num_processes, on_progress=told.append, stopped=lambda: False)
    assert end is not None
    assert (end["ending"], end["steps"], told[-1]["progress"]["step"]) == ("finished", 8, 8)
    weights = load((tmp_path / "weights.safetensors").read_bytes())
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    again = perform_in_processes(order, num_processes, on_progress=told.append, stopped=lambda: False)
    assert again is not None
    found = load((tmp_path / "weights.safetensors").read_bytes())
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("num_processes", NUM_GPUS)
def test_a_worker_has_processes_derive(num_processes: int, tmp_path: Path, data: Path) -> None:
    space = create_space(DENSE_SPACE["id"], DENSE_SPACE["parameters"])
    assert isinstance(space, DenseSpace)
    costs = mac_costs(space)
    settings = {
        "dataset": "stripes", "epochs": 2, "first_architecture_epoch": 1, "batch_size": 12, "cost_base": 1.5,
        "augmentation": "none", "derived_from": "best_epoch", "synchronised_norm": True,
    }  # fmt: skip
    order = DerivationOrder.model_validate(
        {
            **ordered(tmp_path, data),
            "settings": settings,
            "number": 0,
            "seed": 0,
            "space": DENSE_SPACE,
            "costs": costs.published_layout(),
            "cost_unit": costs.unit,
        }
    )
    told: list[Any] = []
    end = perform_in_processes(order, num_processes, on_progress=told.append, stopped=lambda: False)
    assert end is not None
    derived = end["derived"]
    assert space.graph(space.decode(tuple(derived["genotype"])), Form.DEPLOYED) is not None
    assert derived["best_epoch"] == 2
    assert told[-1]["progress"]["epoch"] == 2


@pytest.mark.parametrize("num_processes", NUM_GPUS)
def test_torchrun_trains_a_spec_without_a_server(num_processes: int, tmp_path: Path, data: Path) -> None:
    file, out = tmp_path / "spec.json", tmp_path / "weights.safetensors"
    file.write_text(json.dumps(spec()))
    group = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    local = ["--local", "--data", str(data), "--format", "npz", "--device", "cuda", "--out", str(out)]
    done = subprocess.run(
        [*group, "-m", "--", "hilnas.cli.main", "supernets", "train", str(file), *local],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0
    assert all(torch.isfinite(tensor).all() for tensor in read_tensors(out)[0].values())
