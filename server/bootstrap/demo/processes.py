"""The demo's processes: started as users start them, found ready, and always ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from hilnas.client.client import Hilnas
from server.bootstrap.demo.specs import DEVICE_TYPE
from server.core.home import ENROLMENT_TOKEN_FILE

READY_S = 60.0
STOP_S = 20.0
PAUSE_S = 0.1


class Rig:
    """A server, a worker and two emulated boards on loopback ports of their own."""

    def __init__(self, folder: Path) -> None:
        self._home = (folder / "home").resolve()
        self._logs = (folder / "logs").resolve()
        self._http, self._grpc = _free_port(), _free_port()
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        for made in (self._home, self._logs):
            made.mkdir(parents=True)

    def start(self) -> str:
        """Start everything; returns the server's URL once it is ready.

        Raises:
            RuntimeError: a process ended at once, or the server did not get ready.
        """
        url = f"http://127.0.0.1:{self._http}"
        self._spawn("server", ["server"])
        self._until(lambda: _is_ready(url), "the server is not ready")
        self._spawn("worker", ["worker"])
        token = (self._home / ENROLMENT_TOKEN_FILE).read_text().strip()
        for name in ("board-1", "board-2"):
            agent = [
                *("agent", "--server", f"127.0.0.1:{self._grpc}", "--insecure", "--runtime", "onnxruntime"),
                *("--device-type", DEVICE_TYPE, "--name", name, "--threads", "1"),
                *("--state-dir", str(self._home / name), "--host-lock", str(self._home / "timing.lock")),
            ]
            self._spawn(name, agent, {"HILNAS_ENROLMENT_TOKEN": token})
        return url

    def wait_for_devices(self, nas: Hilnas, device_type: str, num: int) -> None:
        """Until so many devices have registered. Raises RuntimeError."""
        self._until(
            lambda: len(list(nas.devices.all(device_type=device_type))) >= num, f"{num} boards did not register"
        )

    def wait(self) -> None:
        """Until a process ends or the user presses Ctrl-C."""
        try:
            while all(process.poll() is None for _, process in self._processes):
                time.sleep(0.5)
        except KeyboardInterrupt:
            return

    def stop(self) -> None:
        """End everything, politely first."""
        for _, process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for _, process in self._processes:
            try:
                process.wait(timeout=max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _spawn(self, name: str, arguments: list[str], more: dict[str, str] | None = None) -> None:
        environment = os.environ | {
            "HILNAS_HOME": str(self._home),
            "HILNAS_HTTP_PORT": str(self._http),
            "HILNAS_GRPC_PORT": str(self._grpc),
            "HILNAS_INSECURE_NO_AUTH": "1",
            "HILNAS_ENROLMENT_DEVICE_CLASS": "emulated",
            "HILNAS_ENROLMENT_DEVICE_TYPE": DEVICE_TYPE,
            "HILNAS_HOST_LOCK": str(self._home / "timing.lock"),
            **(more or {}),
        }
        command = [sys.executable, "-m", "hilnas.cli.main", *arguments]
        with (self._logs / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C reaches us alone, and we end the others in order.
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        self._processes.append((name, process))

    def _until(self, done: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + READY_S
        while not done():
            for name, process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with status {process.returncode}: see {self._logs}/{name}.log")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{complaint} after {READY_S:.0f} s: see {self._logs}")
            time.sleep(PAUSE_S)


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
