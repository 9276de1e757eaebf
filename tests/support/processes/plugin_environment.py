"""An environment of its own that sees the main one's packages and holds the example packages besides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from hilnas.client.client import Hilnas
from tests.support.paths import ROOT
from tests.support.processes.machine import free_port

EXAMPLES = ROOT / "docs" / "examples"
PACKAGES = (
    "space_convnext",
    "algorithm_hill_climb",
    "metric_widest_point",
    "metric_noisy_accuracy",
    "runtime_onnx_reference",
    "dataset_shapes",
)
INSTALL_S = 240.0
RUN_S = 120.0
PATIENCE_S = 180.0


class PluginEnvironment:
    """A virtual environment; packages are installed as people install them, but from the disk alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True, timeout=RUN_S)
        self.python = str(folder / "env" / "bin" / "python")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "env" / "lib" / version / "site-packages"
        (self.packages / "main_environment.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
        self.variables = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "HOME")},
            "HILNAS_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
        }

    def install(self, *examples: str) -> None:
        """Install example packages by their folders' names; built from copies, so that the checkout stays clean."""
        copies = [shutil.copytree(EXAMPLES / name, self.folder / "sources" / name) for name in examples]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
        command += ["--no-warn-conflicts", "--target", str(self.packages), *map(str, copies)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
        assert done.returncode == 0, done.stderr

    def hilnas(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command in this environment, away from the checkout."""
        return subprocess.run(
            [self.python, "-m", "hilnas.cli.main", *arguments],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            cwd=self.folder,
            env={**self.variables, **environment},
        )

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for what the processes bring about; their logs tell why it did not come."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in self.folder.glob("*.log"))
            assert time.monotonic() < deadline_s, f"did not happen in {PATIENCE_S} s: {what}\n{logs}"
            time.sleep(0.1)

    @contextmanager
    def running(self, name: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A `hilnas` process that goes on; its log is NAME.log, and it is gone at the end."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [self.python, "-m", "hilnas.cli.main", *arguments],
                cwd=self.folder,
                env={**self.variables, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()  # nothing of it is looked at afterwards
            process.wait(20.0)


@contextmanager
def served(environment: PluginEnvironment, *, worker: bool = True) -> Iterator[Hilnas]:
    """A server and, where wanted, a worker in the environment, and a client of them; commands run in it find them."""
    http, grpc = free_port(), free_port()
    url = f"http://127.0.0.1:{http}"
    environment.variables |= {"HILNAS_URL": url, "HILNAS_GRPC_SERVER": f"127.0.0.1:{grpc}"}
    options = ("--port", str(http), "--grpc-port", str(grpc))
    given = {"HILNAS_WORKER_DEVICE": "cpu", "HILNAS_WORKER_THREADS": "1"}
    with ExitStack() as stack:
        stack.enter_context(environment.running("server", "server", *options))
        if worker:
            stack.enter_context(environment.running("worker", "worker", **given))
        environment.until(lambda: _answers(url), "the server answers")
        environment.variables["HILNAS_TOKEN"] = (environment.home / "admin.token").read_text().strip()
        with Hilnas(url, environment.variables["HILNAS_TOKEN"]) as nas:
            yield nas


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz").status_code == 200
    except httpx2.TransportError:
        return False
