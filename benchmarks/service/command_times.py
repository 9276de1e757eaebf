"""How long commands take, start of Python included: those that list, those that fail, and the help.

    python benchmarks/service/command_times.py [--runs 7]

A server of its own is started in a temporary folder. Printed are the median and the least of the wall time, and the
median of the processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

HILNAS = (sys.executable, "-m", "hilnas.cli.main")
WITH_SERVER = (
    ("search", "list"),
    ("search", "list", "--json"),
    ("jobs", "list"),
    ("devices", "list"),
    ("devices", "queue"),
    ("workers", "list"),
    ("supernets", "list"),
    ("measurements", "list"),
    ("tokens", "list"),
    ("plugins", "list"),
    ("server", "status"),
)
ALONE = (("version",), ("--help",), ("search", "--help"), ("agent", "--help"), ("presets", "list"))
START_S = 60.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7, help="of each command")
    runs = parser.parse_args().runs
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HILNAS_")}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        environment = {**kept, "HILNAS_HOME": str(home)}
        print(f"{'command':44}{'median [s]':>12}{'least [s]':>12}{'processor [s]':>15}{'status':>8}")
        server = [*HILNAS, "server", "--port", "0", "--grpc-port", "0"]
        with subprocess.Popen(server, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait_for(home / "server.json")
                for command in WITH_SERVER:
                    _print(command, environment, runs)
            finally:
                process.terminate()
        for command in ALONE:
            _print(command, environment, runs)
        _print(("search", "list"), environment, runs, "no server at all")
        # As a server leaves it that was killed.
        (home / "server.json").write_text(json.dumps({"http_url": "http://127.0.0.1:9"}), encoding="ascii")
        _print(("search", "list"), environment, runs, "server killed")
        _print(("search", "follow", "x"), environment, runs, "server killed")


def _print(command: tuple[str, ...], environment: Mapping[str, str], runs: int, note: str = "") -> None:
    walls, processors = [], []
    for number in range(runs + 1):
        before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run([*HILNAS, *command], env=environment, capture_output=True, check=False)
        wall_s, after = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
        if number:  # the first reads files that are not in memory yet
            walls.append(wall_s)
            processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    name = f"hilnas {' '.join(command)}{note and f' ({note})'}"
    times = f"{statistics.median(walls):>12.2f}{min(walls):>12.2f}{statistics.median(processors):>15.2f}"
    print(f"{name:44}{times}{done.returncode:>8}", flush=True)


def _wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no server within {START_S:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
