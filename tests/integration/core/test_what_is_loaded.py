"""What each part loads, in a process of its own: a board, a client and a space's page need little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import server
from tests.support.paths import ROOT

SCHEMAS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in Path(server.__file__).parent.rglob("*schemas.py")
)
EVERY_MODULE_OF_THE_AGENT = """
import importlib, pkgutil, device_agent
for module in pkgutil.walk_packages(device_agent.__path__, "device_agent."):
    importlib.import_module(module.name)
"""
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""
SERVER_FRAMEWORKS = {"fastapi", "starlette", "sqlalchemy", "grpc", "torch", "pymoo"}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)


def modules_after(code: str) -> set[str]:
    done = run(f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def foreign(modules: set[str]) -> set[str]:
    """Top-level names of what is neither the standard library's nor private."""
    tops = {name.partition(".")[0] for name in modules}
    return {name for name in tops - set(sys.stdlib_module_names) if not name.startswith("_")}


def command_without(blocked: set[str], *argv: str) -> subprocess.CompletedProcess[str]:
    """Run `hilnas` where some packages are not installed."""
    return run(BLOCK.format(blocked=blocked) + f"from hilnas.cli.main import main\nsys.exit(main({list(argv)!r}))")


@pytest.mark.parametrize("module", ["hilnas", "hilnas.cli.main"])
def test_what_everybody_imports_loads_the_standard_library_alone(module: str) -> None:
    assert foreign(modules_after(f"import {module}")) == {"hilnas"}


def test_declaring_something_loads_the_standard_library_alone() -> None:
    assert foreign(modules_after("import hilnas; hilnas.SpaceDeclaration; hilnas.ImageArrays")) == {
        "hilnas",
        "nas_engine",
    }


def test_using_the_client_loads_no_server_framework() -> None:
    assert not foreign(modules_after("import hilnas; hilnas.connect; hilnas.SearchSpec")) & SERVER_FRAMEWORKS


def test_schemas_load_without_a_server_framework() -> None:
    assert len(SCHEMAS) > 8
    blocked = {"fastapi", "starlette", "sqlalchemy", "grpc", "torch", "prometheus_client"}
    code = f"import importlib\nfor name in {SCHEMAS!r}: importlib.import_module(name)"
    assert run(BLOCK.format(blocked=blocked) + code).returncode == 0


def test_an_agent_needs_its_extra_and_no_more() -> None:
    modules = modules_after(EVERY_MODULE_OF_THE_AGENT)
    ours = {name for name in modules if name.partition(".")[0] in ("device_agent", "hilnas", "nas_engine", "server")}
    assert "device_agent.child.process" in ours, "the modules were found"
    allowed = (
        "device_agent",
        "hilnas.v1",
        "hilnas.wire",
        "hilnas.protobuf_fields",
        "hilnas.proxies",
        "nas_engine.domain",
    )
    assert {name for name in ours if not name.startswith(allowed)} == {"hilnas", "nas_engine"}
    others = foreign(modules - ours) - {"grpc", "numpy", "google"}
    # grpc is built by Cython and imports its sisters (grpc_tools, grpc_health) where they are installed.
    assert not {name for name in others if not name.startswith(("cython", "typing_extensions", "grpc_"))}


def test_a_measuring_process_loads_no_network() -> None:
    assert "grpc" not in modules_after("import device_agent.child.main")


@pytest.mark.parametrize(("space_id", "name"), [("attentivenas", "largest"), ("scarlet-s2", "scarlet-a")])
def test_a_space_draws_its_graph_without_torch(space_id: str, name: str) -> None:
    code = (
        "from nas_engine.spaces.registry import create_space\n"
        "from nas_engine.domain.search_space import Form\n"
        f"space = create_space({space_id!r})\n"
        f"assert space.graph(space.parse({name!r}), Form.DEPLOYED) is not None"
    )
    assert "torch" not in modules_after(code)


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    result = command_without({"typer"}, "search", "list")
    assert result.returncode == 3
    assert "'typer' is not installed" in result.stderr
    assert "pip install 'hilnas[client]'" in result.stderr


def test_version_needs_nothing() -> None:
    result = command_without({"typer", "rich", "httpx2", "numpy", "fastapi"}, "version")
    assert (result.returncode, result.stdout.split()[0]) == (0, "hilnas")


def test_looking_at_spaces_needs_neither_torch_nor_a_server() -> None:
    blocked = {"torch", "fastapi", "sqlalchemy", "grpc", "httpx2", "onnx"}
    result = command_without(blocked, "spaces", "decode", "spos", "-a", "spos-searched", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["macs"] == 322918720


def test_a_board_needs_the_agents_extra_only() -> None:
    blocked = {"typer", "rich", "httpx2", "pydantic", "yaml", "fastapi", "sqlalchemy", "torch", "onnx", "structlog"}
    result = command_without(blocked, "agent", "--help")
    assert result.returncode == 0, result.stderr
    assert "--device-type" in result.stdout
