"""A real agent as a real process, for tests that kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


class AgentProcess:
    """`python -m device_agent.cli` against a server in this process."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *arguments: str,
        name: str = "bench-1",
        token: str,
        insecure: bool = True,
        prefix: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.state_dir = folder / f"state-{name}"
        self.log_path = folder / f"{name}.log"
        command = [
            *prefix,
            sys.executable,
            "-m",
            "device_agent.cli",
            *(("--insecure",) if insecure else ()),
            *("--server", f"{host}:{port}"),
            *("--name", name),
            # Relative, as people type them: the measuring child has another working directory.
            *("--state-dir", self.state_dir.name),
            *("--host-lock", "timing.lock"),
            *arguments,
        ]
        with self.log_path.open("ab") as log:
            environment = {
                **os.environ,
                "HILNAS_ENROLMENT_TOKEN": token,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
            }
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        """Everything it said."""
        return self.log_path.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(10.0)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10.0)
