"""The product's own processes, started, frozen and killed as a machine would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.processes.warm_start import WarmProcess

GONE_S = 20.0


class Program:
    """One `hilnas` process that can be killed and started again with the same command, folder and log."""

    def __init__(self, name: str, folder: Path, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._arguments = arguments
        self._environment: dict[str, str] = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder), **environment}
        self._process: subprocess.Popen[bytes] | WarmProcess | None = None
        self._frozen: set[int] = set()

    def start(self) -> None:
        """Start it; returns at once."""
        assert not self.alive, f"{self.name} runs already"
        with self.log_path.open("ab") as log:
            log.write(f"--- start {time.strftime('%H:%M:%S')}\n".encode())
        # An agent is light, and a clock that is stepped has to be there before the interpreter.
        if self._arguments[0] == "agent" or "LD_PRELOAD" in self._environment:
            command = [sys.executable, "-m", "hilnas.cli.main", *self._arguments]
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        else:
            self._process = WarmProcess(self._arguments, self._environment, self.log_path)

    def surround(self, environment: Mapping[str, str]) -> None:
        """Give it more environment from its next start on."""
        self._environment |= environment

    @property
    def started(self) -> bool:
        """Whether it should be running."""
        return self._process is not None

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9: nothing of it can tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(GONE_S)
            self._process = None

    def freeze(self) -> None:
        """Stop it without a word to anybody: its sockets stay open, and nothing answers on them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it stopped."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def freeze_children(self) -> None:
        """Stop the processes it has started, as a hanging driver does."""
        assert self._process is not None
        for child in children_of(self._process.pid):
            os.kill(child, signal.SIGSTOP)
            self._frozen.add(child)

    def children(self) -> list[int]:
        """Processes it has started."""
        return [] if self._process is None else children_of(self._process.pid)

    def num_children(self) -> int:
        """How many those are."""
        return len(self.children())

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        children = self._frozen | (set() if self._process is None else set(children_of(self._process.pid)))
        self.kill()
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._frozen.clear()

    def log_tail(self, num_lines: int = 25) -> str:
        """The end of what it said."""
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return f"== {self.name} ({'alive' if self.alive else 'dead'})\n" + "\n".join(lines[-num_lines:])


def children_of(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except FileNotFoundError:  # the thread ended meanwhile
            continue
    return found


def free_port() -> int:
    """A loopback port that is free now; processes that are started again need the same one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
