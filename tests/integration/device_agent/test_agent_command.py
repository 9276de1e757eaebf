"""`hilnas agent`: options, mistakes, and what it needs to be installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.cli import build_parser, main, parse_cpus, parse_labels


def test_the_command_line_is_importable_without_any_extra() -> None:
    code = (
        "import sys; import device_agent.cli; "
        "third = {'grpc', 'numpy', 'google', 'onnxruntime'} & set(sys.modules); sys.exit(repr(third) if third else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_processors_and_labels_are_parsed() -> None:
    assert parse_cpus("4-7,0") == (0, 4, 5, 6, 7)
    assert parse_cpus("") == ()
    assert parse_labels(["rack=3", "note=a=b"]) == {"rack": "3", "note": "a=b"}
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_labels(["rack"])


def test_mistakes_on_the_command_line_are_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("HILNAS_GRPC_SERVER", "HILNAS_ENROLMENT_TOKEN", "HILNAS_ENROLMENT_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    state = ["--state-dir", str(tmp_path), "--insecure"]
    assert main(["--cpus", "x", *state]) == 1
    assert main(["--labels", "rack", *state]) == 1
    assert main(["--runtime", "rknnlite", *state]) == 1
    assert main(["--runtime", "onnxruntime", "--isolation", "none", *state]) == 1
    assert main(["--runtime", "fake", *state, "--name", "bench-1"]) == 2
    said = capsys.readouterr().err
    assert "bench-1 has not enrolled with localhost:50051 and has no enrolment token" in said
    assert "--cpus" in said
    assert "KEY=VALUE" in said
    assert "rknn-toolkit-lite2" in said
    assert "process of their own" in said
    assert build_parser().parse_args(["doctor"]).command == "doctor"


_ONLY_THE_AGENT_EXTRA = """
import importlib.abc, sys


class Only(importlib.abc.MetaPathFinder):
    allowed = {"device_agent", "nas_engine", "hilnas", "grpc", "google", "numpy", "onnxruntime", "flatbuffers",
               "packaging", "typing_extensions", "cython_runtime", "_cython_3_2_4"}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in self.allowed or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"{name} is not in the agent extra", name=name)

sys.meta_path.insert(0, Only())
import device_agent.agent, device_agent.child.main, device_agent.doctor.doctor
from device_agent.cli import main
sys.exit(main(["selftest", "--runtime", "fake"]) or main(["doctor", "--runtime", "onnxruntime"]))
"""


def test_the_agent_needs_nothing_beyond_its_own_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ONLY_THE_AGENT_EXTRA], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
