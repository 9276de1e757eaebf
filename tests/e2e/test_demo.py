"""`hilnas demo` and the tutorial, run as a user runs them (with smaller budgets and fewer images)."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.support.samples.datasets import small_embedded_set

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TUTORIAL = ROOT / "docs" / "tutorial" / "first_search.md"
DAEMONS = ("hilnas server", "hilnas worker", "hilnas agent")
# What the test makes smaller; every other character of the tutorial runs as it stands.
SMALLER = (
    ("train docs/examples/train.yaml", "train docs/examples/train.yaml --epochs 1"),
    ("s/SUPERNET_ID/$SUPERNET/", "s/SUPERNET_ID/$SUPERNET/;s/_size: 12/_size: 4/;s/_candidates: 36/_candidates: 6/"),
)
WAIT = "until curl -sf http://127.0.0.1:8080/readyz >/dev/null; do sleep 0.2; done"
WAIT_FOR_BOARD = "until hilnas devices list --json | grep -q bench-1; do sleep 0.2; done"


@pytest.mark.timeout(400)
def test_the_demo_ends_with_a_front_its_files_and_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [str(BIN / "hilnas"), "demo", "--folder", str(folder), "--epochs", "1", "--candidates", "10", "--compare"]
    environment = os.environ | {"HILNAS_DATASETS_FILE": str(small_embedded_set(tmp_path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=390, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((folder / "report.json").read_text())
    assert report["num_candidates"] == 10
    assert -1.0 <= report["kendall_tau"] <= 1.0
    assert report["seconds"] > 0
    assert report["front"]
    for member in report["front"]:
        assert 0.0 < member["top1"]["value"] <= 1.0
        assert 0.0 < member["test_top1"]["value"] <= 1.0
        assert member["latency_us"]["low"] <= member["latency_us"]["value"] <= member["latency_us"]["high"]
        assert member["macs"] > 0
        assert member["params"] > 0
    models = sorted((folder / "front").glob("*.onnx"))
    assert len(models) == len(report["front"]) == len(list((folder / "front").glob("*.svg")))
    for model in models:
        onnx.checker.check_model(onnx.load(model))
    assert (folder / "front.svg").read_text().lstrip().startswith("<?xml")
    latencies = [member["latency_us"]["value"] for member in report["front"]]
    assert latencies == sorted(latencies)
    assert report["spread"]["span"] == pytest.approx(latencies[-1] / latencies[0])
    assert len(report["candidates"]) == len(report["random"]) == 10
    _check_what_is_shipped(report)
    assert not _processes_under(folder), "the demo left something running"


def _check_what_is_shipped(report: dict[str, Any]) -> None:
    assert 1 <= len(report["shipped"]) <= 2
    for at in report["shipped"]:
        chosen = {one["rule"]: one for one in at["choices"]}
        assert chosen["measured"]["short_id"] in at["headline"]
        assert set(chosen) <= {"measured", "MACs", "predictor", "random"}
        for one in chosen.values():
            assert one["keeps_bound"] is (one["latency_us"]["value"] <= at["bound_us"])
        # The answer and the draw at random know what they measured; the other rules may be wrong.
        assert chosen["measured"]["keeps_bound"]
        assert chosen.get("random", {"keeps_bound": True})["keeps_bound"]
        measured = [c for c in report["candidates"] if c["latency_us"]["value"] <= at["bound_us"]]
        assert chosen["measured"]["top1"]["value"] == max(c["top1"]["value"] for c in measured)


@pytest.mark.timeout(400)
def test_the_tutorial_runs_from_its_first_command_to_its_last(tmp_path: Path) -> None:
    script = tmp_path / "tutorial.sh"
    script.write_text(_tutorial_script(tmp_path / "home", *_free_ports()))
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HILNAS_DATASETS_FILE": str(small_embedded_set(tmp_path)),
    }
    done = subprocess.run(
        ["bash", str(script)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=390, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "bench-1" in done.stdout
    assert '"p50_us"' in done.stdout


def _tutorial_script(home: Path, http_port: int, grpc_port: int) -> str:
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT", f"mkdir -p {home}"]
    lines.append(f"export HILNAS_HTTP_PORT={http_port} HILNAS_GRPC_PORT={grpc_port} HILNAS_URL=http://127.0.0.1:8080")
    for block in re.findall(r"```bash\n(.*?)```", TUTORIAL.read_text(), re.DOTALL):
        commands = block.strip().replace("\\\n", " ")
        if (daemon := next((d for d in DAEMONS if f"\n{d}" in f"\n{commands}"), None)) is not None:
            commands += f" >{home}/{daemon.split()[1]}.log 2>&1 &"
            commands += "\n" + {"hilnas server": WAIT, "hilnas agent": WAIT_FOR_BOARD}.get(daemon, "true")
        lines.append(commands)
    script = "\n".join(lines) + "\n"
    for shown, smaller in SMALLER:
        assert shown in script, f"the tutorial no longer says {shown!r}"
        script = script.replace(shown, smaller)
    script = script.replace("$PWD/demo/by-hand", str(home))
    return script.replace("127.0.0.1:8080", f"127.0.0.1:{http_port}").replace(
        "127.0.0.1:50051", f"127.0.0.1:{grpc_port}"
    )


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _processes_under(folder: Path) -> list[str]:
    """Command lines and environments of live processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder).encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().decode())
            except OSError:
                continue
    return found
