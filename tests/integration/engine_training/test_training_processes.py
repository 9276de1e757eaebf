"""Training in real processes: killed and resumed, and data-parallel over gloo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from nas_engine.training.checkpoint import HEADER

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 120


def _command(checkpoint: Path, report: Path) -> list[str]:
    return [sys.executable, "-m", "tests.support.samples.training_run", str(checkpoint), str(report)]


def _environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def _run(checkpoint: Path, report: Path, **environment: str) -> int:
    done = subprocess.run(
        _command(checkpoint, report), cwd=ROOT, env=_environment(**environment), timeout=TIMEOUT_S, check=False
    )
    return done.returncode


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _step_of(checkpoint: Path) -> int:
    with safe_open(checkpoint, framework="numpy") as file:
        return int(json.loads(file.metadata()[HEADER])["step"])


def test_a_run_that_is_killed_twice_ends_with_the_curve_and_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, resumed = tmp_path / "undisturbed.json", tmp_path / "resumed.json"
    assert _run(tmp_path / "one.safetensors", undisturbed) == 0

    checkpoint = tmp_path / "two.safetensors"
    assert _run(checkpoint, resumed, HILNAS_TEST_KILL_AT="10") == -signal.SIGKILL
    assert _step_of(checkpoint) == 8  # mid-epoch (6 steps each), between two reports
    assert not resumed.exists()
    assert _run(checkpoint, resumed, HILNAS_TEST_KILL_AT="7") == -signal.SIGKILL
    assert _step_of(checkpoint) == 12
    assert _run(checkpoint, resumed) == 0

    assert json.loads(resumed.read_text()) == json.loads(undisturbed.read_text())
    assert len(json.loads(resumed.read_text())["curve"]) == 10


def test_two_gloo_processes_equal_one_process_with_twice_the_batch(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert _run(tmp_path / "one.safetensors", one, HILNAS_TEST_DISTRIBUTED="1") == 0
    port = _free_port()
    processes = [
        subprocess.Popen(
            _command(tmp_path / "two.safetensors", two),
            cwd=ROOT,
            env=_environment(
                HILNAS_TEST_DISTRIBUTED="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=port, RANK=str(rank), WORLD_SIZE="2"
            ),
        )
        for rank in range(2)
    ]
    assert [process.wait(TIMEOUT_S) for process in processes] == [0, 0]
    alone, parallel = (json.loads(path.read_text()) for path in (one, two))
    assert _losses(parallel) == pytest.approx(_losses(alone), rel=1e-4)
    assert parallel["arrays"].keys() == alone["arrays"].keys()
    for name, values in alone["arrays"].items():
        np.testing.assert_allclose(parallel["arrays"][name], values, rtol=1e-3, atol=1e-5, err_msg=name)


def _losses(report: dict[str, Any]) -> list[float]:
    return [loss for _, loss, _ in report["curve"]]
