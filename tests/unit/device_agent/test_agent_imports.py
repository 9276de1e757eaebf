"""A board installs little: the agent imports the standard library, gRPC, numpy, the wire and the engine's domain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
IMPORT_ALL = """
import importlib, pkgutil, sys
import device_agent
for module in pkgutil.walk_packages(device_agent.__path__, "device_agent."):
    importlib.import_module(module.name)
print("\\n".join(sys.modules))
"""
THIRD_PARTY = {"grpc", "numpy", "google"}  # google.protobuf
OURS = ("device_agent", "hilnas.v1", "hilnas.wire", "nas_engine.domain")


def loaded(code: str) -> set[str]:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    return set(done.stdout.split())


def test_an_agent_needs_its_extra_and_no_more() -> None:
    at_start, modules = loaded("import sys; print('\\n'.join(sys.modules))"), loaded(IMPORT_ALL)
    ours = {m for m in modules if m.partition(".")[0] in ("device_agent", "hilnas", "nas_engine", "server")}
    strange = {m for m in ours if not m.startswith(OURS)} - {"hilnas", "nas_engine"}
    assert not strange
    assert "device_agent.child.process" in ours, "the modules were found"
    others = {m.partition(".")[0] for m in modules - ours - at_start} - THIRD_PARTY - set(sys.stdlib_module_names)
    # grpc is built by Cython and imports its sisters (grpc_tools, grpc_health) where they are installed.
    assert not {m for m in others if not m.startswith(("_", "cython", "typing_extensions", "grpc_"))}


def test_a_measuring_process_loads_no_network() -> None:
    assert "grpc" not in loaded("import device_agent.child.main, sys; print('\\n'.join(sys.modules))")
