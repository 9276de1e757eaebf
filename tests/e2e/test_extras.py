"""Each extra brings all that its commands need: proved in an environment that holds only it.

The engine's extra brings torch, which takes minutes to install: HILNAS_TEST_ENGINE_EXTRA=1 switches its test on.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import hilnas.cli
from hilnas.cli.nouns import NOUNS
from tests.support.paths import ROOT
from tests.support.processes.api_process import running_server

CLIENT_COMMANDS = sorted(name for name, command in NOUNS.items() if command.extra == "client")
INSTALL_S = 420.0
RUN_S = 120.0
_OFFLINE = ("No matching distribution", "Could not find a version", "Temporary failure", "Connection")


class BareEnvironment:
    """A virtual environment that holds hilnas with one extra."""

    def __init__(self, folder: Path, extra: str) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=RUN_S)
        # Not editable: what is missing from the wheel would be found in the checkout.
        install = [sys.executable, "-m", "pip", "--python", self.bin("python"), "install", "--quiet", "--no-compile"]
        install += ["--disable-pip-version-check", "-c", str(ROOT / "constraints.txt"), f"{ROOT}[{extra}]"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_S, cwd=folder)
        if done.returncode and any(word in done.stderr for word in _OFFLINE):
            pytest.skip(f"pip cannot reach a package index: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr

    def bin(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, away from the checkout."""
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "TMPDIR", "LANG")}
        return subprocess.run(
            [self.bin(command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            cwd=self.folder,
            env={**kept, "HOME": str(self.folder), **environment},
        )

    def imports(self, *modules: str) -> set[str]:
        """Top-level modules that are loaded once these are."""
        code = f"import importlib, json, sys\nfor name in {list(modules)!r}: importlib.import_module(name)\n"
        code += "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stderr
        return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    return BareEnvironment(tmp_path_factory.mktemp("extra") / "client", "client")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    return BareEnvironment(tmp_path_factory.mktemp("extra") / "agent", "agent")


def _modules_of_client_commands() -> list[str]:
    """Those of the nouns that need no more, what they share, and what their verbs load when they run."""
    others = {noun.module for name, noun in NOUNS.items() if name not in CLIENT_COMMANDS}
    found = {module.name for module in pkgutil.walk_packages(hilnas.cli.__path__, "hilnas.cli.")}
    of_verbs = ("server.searches.presets", "server.shipping.bundle.verifying", "nas_engine.export.fixed_shapes")
    return [*sorted(found - others), *of_verbs]


def test_every_client_command_loads_with_the_client_extra_alone(client: BareEnvironment) -> None:
    loaded = client.imports("hilnas.public", *_modules_of_client_commands())
    assert not loaded & {"fastapi", "starlette", "sqlalchemy", "grpc", "torch", "pymoo"}


def test_a_client_alone_talks_to_a_server(client: BareEnvironment, tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as server:
        environment = {"HILNAS_URL": server.url, "HILNAS_HOME": str(tmp_path / "home")}
        listed = client.run("hilnas", "search", "list", "--json", **environment)
        assert (listed.returncode, json.loads(listed.stdout)) == (0, []), listed.stderr
        code = "import hilnas\nwith hilnas.connect() as nas: print(nas.version().version)"
        found = client.run("python", "-c", code, **environment)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()


def test_a_command_of_another_extra_says_what_to_install(client: BareEnvironment) -> None:
    assert client.run("hilnas", "server", "--help").returncode == 0
    refused = client.run("hilnas", "server", "--port", "0")
    assert refused.returncode == 3
    assert "pip install 'hilnas[server]'" in refused.stderr


def test_an_agent_runs_with_the_agent_extra_alone(agent: BareEnvironment) -> None:
    loaded = agent.imports("device_agent.cli", "device_agent.agent", "device_agent.child.main")
    assert not loaded & {"fastapi", "sqlalchemy", "torch", "onnx", "pydantic", "httpx2", "typer"}
    helped = agent.run("hilnas", "agent", "--help")
    assert helped.returncode == 0, helped.stderr
    examined = agent.run("hilnas", "agent", "doctor", "--json")
    assert json.loads(examined.stdout), examined.stderr


@pytest.mark.parametrize("argv", [("search", "list"), ("train", "x.yaml"), ("server",), ("nonsense",)])
def test_on_a_board_every_other_command_says_in_one_line_what_to_install(
    agent: BareEnvironment, argv: tuple[str, ...]
) -> None:
    refused = agent.run("hilnas", *argv)
    assert refused.returncode == 3
    (line,) = refused.stderr.splitlines()
    assert "pip install 'hilnas[" in line


def test_on_a_board_the_help_names_every_command_and_the_version_is_printed(agent: BareEnvironment) -> None:
    helped = agent.run("hilnas", "--help")
    assert helped.returncode == 0, helped.stderr
    assert [name for name in NOUNS if f"  {name} " not in helped.stdout] == []
    assert agent.run("hilnas", "version").stdout.startswith("hilnas ")


@pytest.mark.skipif(
    not os.environ.get("HILNAS_TEST_ENGINE_EXTRA"), reason="installs torch: set HILNAS_TEST_ENGINE_EXTRA=1"
)
def test_the_engine_works_with_its_extra_alone(tmp_path: Path) -> None:
    engine = BareEnvironment(tmp_path / "engine", "engine")
    loaded = engine.imports(
        "nas_engine.search.factory",
        "nas_engine.training.loop",
        "nas_engine.evaluation.accuracy",
        "nas_engine.export.onnx",
    )
    assert not loaded & {"fastapi", "sqlalchemy", "grpc", "httpx2"}
    helped = engine.run("python", "-m", "nas_engine.training.command", "--help")
    assert helped.returncode == 0, helped.stderr
