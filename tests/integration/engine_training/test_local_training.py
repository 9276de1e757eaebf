"""``hilnas supernets train --local``: a spec trained without a server, under torchrun too, and registered then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hilnas.cli.main import main as hilnas
from hilnas.cli.models.imported_supernets import imported_supernet
from nas_engine.supernet.tensor_file import read_tensors
from nas_engine.supernet.weights import WeightStore
from tests.support.samples.datasets import striped_images
from tests.support.samples.training_run import tiny_config, tiny_space

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
