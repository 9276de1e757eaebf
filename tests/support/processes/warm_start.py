"""`hilnas server` and `hilnas worker` as processes that are forked from one which has done their imports.

Importing FastAPI and torch is nearly all of what a start costs: five to seven seconds of a core, and the tests start
about a hundred of them. A forked process has its own pid, environment, files and signals like any other. That the
commands start from nothing is seen by the tests of the demo, of the tutorial and of the server's process.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.bootstrap.schema import head_revision
from server.measuring.canaries.golden import golden_onnx
from tests.support.paths import ROOT

IMPORTED = (
    "hilnas.cli.root",
    "hilnas.cli.commands.worker",
    "hilnas.cli.commands.server",
    "server.bootstrap.api",
    "server.bootstrap.worker",
    "torch._dynamo",  # as the first optimiser does
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)


class WarmProcess:
    """One forked `hilnas` process; what tests use of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        order = {"arguments": [*arguments], "environment": dict(environment), "log": str(log)}
        self.pid: int = _nursery().ask(order)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = _nursery().ask({"pid": self.pid})
        return self.returncode

    def wait(self, timeout_s: float) -> int:
        """Its exit status.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        deadline_s = time.monotonic() + timeout_s
        while (status := self.poll()) is None:
            if time.monotonic() > deadline_s:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_s)
            time.sleep(0.02)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)


class _Nursery:
    """The process that forks, one of each test process; it ends, and kills what it forked, when its orders end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.processes.warm_start"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, order: Mapping[str, Any]) -> Any:
        """Give one order and take its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, f"the process that forks ended with status {self._process.wait(10.0)}"
        return json.loads(answer)


@functools.cache
def _nursery() -> _Nursery:
    return _Nursery()


def main() -> None:
    """Fork a process for each order, and tell of each that is asked for how it ended."""
    for name in IMPORTED:
        importlib.import_module(name)
    head_revision()  # compiles the migrations
    golden_onnx()
    gc.collect()
    gc.freeze()  # what is imported stays shared: a collection in a child would copy every page of it
    living: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "arguments" in order:
            child = os.fork()
            if child == 0:
                _become(order)  # does not return
            living.add(child)
            answer: int | None = child
        else:
            ended, status = os.waitpid(order["pid"], os.WNOHANG)
            living.discard(ended)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        print(json.dumps(answer), flush=True)  # noqa: T201
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _become(order: Mapping[str, Any]) -> None:
    """Be the process that was ordered: its environment, its log, then the command as `hilnas` runs it."""
    os.environ.clear()
    os.environ.update(order["environment"])
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv = ["hilnas", *order["arguments"]]
    sys.exit(importlib.import_module("hilnas.cli.main").main())


if __name__ == "__main__":
    main()
