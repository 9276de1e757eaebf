"""``hilnas supernets train --local``: a spec trained without a server, under torchrun too, and registered then."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hilnas.cli.main import main as hilnas
from hilnas.cli.models.imported_supernets import imported_supernet
from nas_engine.cost.cost_table import cost_table_document
from nas_engine.cost.latency_table import mac_costs
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.tensor_file import read_tensors
from nas_engine.supernet.weights import WeightStore
from tests.support.samples.datasets import striped_images
from tests.support.samples.training_run import tiny_config, tiny_space
from tests.support.worlds.table_world import DENSE_SPACE

ROOT = Path(__file__).parents[3]
NUM_STEPS = 80
TIMEOUT_S = 300


@pytest.fixture
def data(tmp_path: Path) -> str:
    train, test = striped_images(90), striped_images(30, seed=1)
    path = tmp_path / "stripes.npz"
    np.savez(path, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels)
    return str(path)


def spec_file(folder: Path, num_steps: int, **changes: object) -> str:
    document = {
        **tiny_config(num_steps, synchronised=True).model_dump(mode="json"),
        "name": "stripes",
        "dataset": "stripes",
        "space": {"id": "spos", "parameters": dict(tiny_space(0.0).parameters)},
        **changes,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(document))
    return str(path)


def arguments(spec: str, data: str, out: Path) -> list[str]:
    here = ["--local", "--data", data, "--format", "npz", "--device", "cpu"]
    return ["supernets", "train", spec, *here, "--out", str(out)]


def torchrun(spec: str, data: str, out: Path) -> subprocess.Popen[bytes]:
    group = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [
            *group,
            "-m",
            "--",
            "hilnas.cli.main",
            *arguments(spec, data, out),
        ],  # without -- torchrun takes --local for its own
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )


def kill_one_rank(started: subprocess.Popen[bytes], checkpoint: Path) -> None:
    """Send SIGKILL to one of the two once a checkpoint is there."""
    deadline = time.monotonic() + TIMEOUT_S
    while not checkpoint.exists():
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    ranks = [int(child) for child in children if b"hilnas.cli.main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)


@pytest.mark.long
def test_one_of_two_processes_is_killed_and_the_run_goes_on_to_the_same_weights(tmp_path: Path, data: str) -> None:
    spec = spec_file(tmp_path, NUM_STEPS)
    disturbed, undisturbed = tmp_path / "disturbed.safetensors", tmp_path / "undisturbed.safetensors"
    started = torchrun(spec, data, disturbed)
    kill_one_rank(started, tmp_path / "disturbed.safetensors.checkpoint")
    assert started.wait(TIMEOUT_S) != 0
    assert not disturbed.exists()
    assert torchrun(spec, data, disturbed).wait(TIMEOUT_S) == 0
    assert torchrun(spec, data, undisturbed).wait(TIMEOUT_S) == 0
    graphs = tuple(tiny_space().supernet_graphs())
    found, wanted = (WeightStore.load(path, graphs) for path in (disturbed, undisturbed))
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-7)
    imported = imported_supernet(disturbed, "hilnas", {}, {})
    assert (imported.spec.name, imported.spec.iterations) == ("stripes", NUM_STEPS)
    assert imported.provenance["file"] == "disturbed.safetensors"


def test_a_local_training_takes_what_a_server_would(
    tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "few.safetensors"
    spec = spec_file(tmp_path, 3, max_train_images=32, synchronised_norm=False)
    assert hilnas(arguments(spec, data, out)) == 0
    assert '"max_train_images":32' in read_tensors(out)[1]["recipe"]
    capsys.readouterr()
    assert hilnas(["supernets", "train", spec, "--local", "--data", data]) == 1
    assert "--out FILE" in capsys.readouterr().err
    assert hilnas([*arguments(spec, data, out), "--device", "tpu"]) == 1
    assert "unknown device 'tpu'" in capsys.readouterr().err


def search_file(folder: Path, **algorithm: object) -> str:
    """The spec of a search that trains by itself, as a server takes it."""
    settings = {
        "kind": "densenas", "dataset": "stripes", "cost_factors": [0.0, 5.0], "cost_base": 1.5, "epochs": 2,
        "first_architecture_epoch": 1, "batch_size": 12, "learning_rate": 0.02, "augmentation": "none",
        "synchronised_norm": True, "checkpoint_every_steps": 2, **algorithm,
    }  # fmt: skip
    path = folder / "search.json"
    wanted = {"objectives": [{"metric": "macs"}], "budget": {"num_candidates": 2}}
    path.write_text(json.dumps({"space": DENSE_SPACE, **wanted, "algorithm": settings}))
    return str(path)


def test_a_search_that_trains_by_itself_derives_without_a_server_alone_and_under_torchrun(
    tmp_path: Path, data: str
) -> None:
    spec, alone, together = search_file(tmp_path), tmp_path / "alone.json", tmp_path / "together.json"
    assert hilnas(arguments(spec, data, alone)) == 0
    assert torchrun(spec, data, together).wait(TIMEOUT_S) == 0
    one, two = (json.loads(path.read_text()) for path in (alone, together))
    assert [found["cost_factor"] for found in one] == [0.0, 5.0]
    for found, other in zip(one, two, strict=True):
        assert other["architecture"] == found["architecture"]
        assert other["expected_cost"] == pytest.approx(found["expected_cost"], rel=1e-3)
    checkpoints = [tmp_path / f"alone.json.{number}.checkpoint" for number in range(2)]
    before = [path.stat().st_mtime_ns for path in checkpoints]
    earlier = tmp_path / "earlier.json"
    alone.write_text("what was there before")
    earlier.hardlink_to(alone)
    assert hilnas(arguments(spec, data, alone)) == 0  # nothing is left to do
    assert [path.stat().st_mtime_ns for path in checkpoints] == before
    assert json.loads(alone.read_text()) == one
    assert earlier.read_text() == "what was there before"  # replaced as a whole, never written into


def test_a_derivation_without_a_server_pays_by_the_table_that_its_search_names(
    tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space = create_space(DENSE_SPACE["id"], DENSE_SPACE["parameters"])
    assert isinstance(space, DenseSpace)
    content = cost_table_document(space, replace(mac_costs(space), unit="ms"), "a test")
    table, other = tmp_path / "table.json", tmp_path / "other.json"
    table.write_bytes(content)
    other.write_bytes(content + b" ")
    spec = search_file(tmp_path, cost_table=hashlib.sha256(content).hexdigest(), cost_factors=[0.1])
    out = tmp_path / "out.json"
    for more, said in (
        ([], "give its file with --cost-table"),
        (["--cost-table", str(other)], "the search wants cost table"),
        (["--cost-table", str(tmp_path / "none")], "cannot be read"),
    ):
        assert hilnas([*arguments(spec, data, out), *more]) == 1
        assert said in capsys.readouterr().err
    assert hilnas([*arguments(spec, data, out), "--cost-table", str(table)]) == 0
    (found,) = json.loads(out.read_text())
    assert found["cost_unit"] == "ms"
    spec = search_file(tmp_path, latency_table="ltab_1")
    assert hilnas(arguments(spec, data, out)) == 1
    assert "a latency table lies on a server" in capsys.readouterr().err
