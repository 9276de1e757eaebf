"""A real API process on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from hilnas.client.client import Hilnas
from tests.support.processes.warm_start import WarmProcess
from tests.support.worlds.databases import place_migrated

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class RunningServer:
    process: subprocess.Popen[bytes] | WarmProcess
    home: Path
    url: str
    grpc_address: str

    @property
    def token(self) -> str:
        return (self.home / "admin.token").read_text().strip()

    def sdk(self) -> Hilnas:
        return Hilnas(self.url, self.token)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal; seconds until the process has ended."""
        start_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(_STOP_TIMEOUT_S)
        return time.monotonic() - start_s


@contextmanager
def running_server(home: Path, *options: str, warm: bool = True) -> Iterator[RunningServer]:
    """A server on free ports, waited for by its server.json; ended at the latest here."""
    place_migrated(home / "hilnas.sqlite3")
    arguments = ["server", "--home", str(home), "--port", "0", "--grpc-port", "0", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HILNAS_")}
    log_path = home.parent / f"{home.name}.log"
    process: subprocess.Popen[bytes] | WarmProcess
    if warm:
        process = WarmProcess(arguments, environment, log_path)
    else:
        with log_path.open("ab") as log:
            command = [sys.executable, "-m", "hilnas.cli.main", *arguments]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        document = _wait_for(process, home / "server.json")
        yield RunningServer(process, home, document["http_url"], document["grpc_address"])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(_STOP_TIMEOUT_S)


def _wait_for(process: subprocess.Popen[bytes] | WarmProcess, path: Path) -> dict[str, str]:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, f"the server ended with status {process.returncode}"
        if path.exists():
            document: dict[str, str] = json.loads(path.read_text())
            with httpx2.Client() as http:
                try:
                    http.get(f"{document['http_url']}/healthz")
                except httpx2.TransportError:
                    continue
            return document
        time.sleep(0.05)
    raise AssertionError("the server did not start in time")
