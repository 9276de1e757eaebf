"""The rknnlite runtime on the real arm64 wheel under qemu-user: everything up to the NPU itself, which is not there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.child.process import ChildMeasurer
from device_agent.failures import JobFailedError
from device_agent.measuring.device import MeasuringSettings
from device_agent.measuring.procedure import MeasureRequest
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.stop import StopToken
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, MeasurementProfile
from tests.support.paths import ROOT
from tests.support.samples.rknn_files import rknn_file

pytestmark = [pytest.mark.rig, pytest.mark.timeout(600)]
REQUIREMENTS = ("rknn-toolkit-lite2==2.5.0", "numpy<2.3", "setuptools<81", "protobuf>=7.35.1,<8")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An arm64 Debian with the real wheel and our code, its /proc and /dev mounted."""
    rig = os.environ.get("HILNAS_RIG")
    if not rig:
        pytest.skip("HILNAS_RIG is not set: the arm64 root cannot be prepared")
    if os.geteuid() != 0:
        pytest.skip("needs root: chroot and mount")
    root = tmp_path_factory.mktemp("arm64") / "root"
    prepared = subprocess.run(
        ["bash", f"{rig}/prepare-arm64.sh", str(root), *REQUIREMENTS], check=False, capture_output=True, text=True
    )
    assert prepared.returncode == 0, prepared.stderr[-2000:]
    for package in ("device_agent", "hilnas", "nas_engine"):
        shutil.copytree(ROOT / package, root / "opt/hilnas" / package, ignore=shutil.ignore_patterns("__pycache__"))
    mounts = [("proc", "-t"), ("dev", "--bind")]
    for name, how in mounts:
        source = ["proc", "proc"] if how == "-t" else [f"/{name}"]
        subprocess.run(["mount", how, *source, str(root / name)], check=True)
    yield root
    for name, _ in mounts:
        subprocess.run(["umount", "-l", str(root / name)], check=False)


def measure(board: Path, data: bytes) -> JobFailedError:
    """What the measuring process on the board says about a model."""
    (board / "tmp/model.rknn").write_bytes(data)
    settings = MeasuringSettings(
        runtime=RuntimeName.RKNNLITE, options=RuntimeOptions(), lock_path=Path("/tmp/timing.lock")
    )
    python = ("/usr/bin/env", "PYTHONPATH=/opt/site:/opt/hilnas", "/usr/bin/python3.11")
    measurer = ChildMeasurer(settings, ("chroot", str(board), *python, "-m", "device_agent.child.main"))
    request = MeasureRequest(
        model=Path("/tmp/model.rknn"),
        settings=SessionSettings(format="rknn"),
        profile=MeasurementProfile.named("quick"),
        dtype=Dtype.FP16,
    )
    try:
        with pytest.raises(JobFailedError) as caught:
            measurer.measure(request, StopToken(), lambda _: None, 120.0)
        return caught.value
    finally:
        measurer.close()


def test_a_sound_file_passes_the_library_and_stops_at_the_missing_npu(board: Path) -> None:
    error = measure(board, rknn_file())
    assert error.type is FailureType.INIT_FAILED
    assert "init_runtime returned -1" in error.message
    assert "made by toolkit 2.5.0" in error.message


def test_a_file_that_the_library_would_take_is_refused_before_it_sees_it(board: Path) -> None:
    assert measure(board, b"\x00" * 4096).type is FailureType.MODEL_REJECTED
