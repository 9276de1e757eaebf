"""A farm that comes back at once: thousands of jobs wait, all agents dial in together, people use the API meanwhile.

Starts `hilnas server` with an embedded database (or --database-url), enrols the agents and ends them, queues the jobs,
starts all agents in the same moment, and times requests over REST until the queue is empty. The invariants are those of
`soak.py`, whose farm this is: nothing lost, nothing doubled. Runs are fake, so all time is overhead.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from soak import Farm, Outcome

LOOK_S = 1.0
STUCK_S = 120.0
ASKED = ("/api/v1/devices", "/api/v1/jobs", "/api/v1/measurements", "/api/v1/searches", "/metrics")


class Visitor:
    """Asks over REST what people look at, four times a second, and notes how long each answer took."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds: list[float] = []
        self.num_failed = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60.0)

    def _run(self) -> None:
        for path in itertools.cycle(ASKED):
            if self._stopped.wait(0.25):
                return
            start = time.monotonic()
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(self._url + path, headers=self._headers), timeout=60
                ):
                    pass
            except OSError as error:
                print(f"  {path}: {error}")
                self.num_failed += 1
            self.seconds.append(time.monotonic() - start)


def come_home(farm: Farm, num_jobs: int) -> tuple[Outcome, Visitor, float]:
    """Let everybody come back to a full queue; the outcome, what a visitor saw, and when the first job was done."""
    farm.identity()
    farm.stop_agents()
    farm.queue(num_jobs)
    visitor = Visitor(farm.url, farm.token)
    start, spent_s = time.monotonic(), farm.server_processor_s
    farm.start_agents()
    visitor.start()
    waiting, moved_at, first_s = num_jobs, start, 0.0
    while waiting and time.monotonic() - moved_at < STUCK_S:
        time.sleep(LOOK_S)
        before, waiting = waiting, farm.num_waiting()
        if waiting < before:
            moved_at = time.monotonic()
            first_s = first_s or moved_at - start
    seconds = time.monotonic() - start
    visitor.stop()
    return farm.outcome(seconds, farm.server_processor_s - spent_s), visitor, first_s


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2, help="processes the agents share")
    parser.add_argument("--database-url", default="", help="default: SQLite in a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hilnas-homecoming-") as folder:
        farm = Farm(Path(folder), arguments.database_url, arguments.agents, arguments.processes)
        try:
            outcome, visitor, first_s = come_home(farm, arguments.jobs)
        finally:
            farm.stop()
    for row, value, unit in (
        ("jobs done", outcome.num_done, "jobs"),
        ("jobs lost", outcome.num_lost, "jobs"),
        ("jobs doubly authoritative", outcome.num_doubled, "jobs"),
        ("jobs with a second lease", outcome.num_retried, "jobs"),
        ("first jobs done after", round(first_s, 1), "s"),
        ("queue empty after", round(outcome.seconds, 1), "s"),
        ("throughput", round(outcome.num_done / outcome.seconds, 1), "jobs/s"),
        ("server's processor per job", round(1e3 * outcome.server_processor_s / max(1, outcome.num_done), 1), "ms"),
        ("REST requests meanwhile", len(visitor.seconds), "requests"),
        ("REST requests that failed", visitor.num_failed, "requests"),
        ("REST request, median", round(1e3 * statistics.median(visitor.seconds), 1), "ms"),
        ("REST request, 95 %", round(1e3 * percentile(visitor.seconds, 0.95), 1), "ms"),
        ("REST request, slowest", round(1e3 * max(visitor.seconds), 1), "ms"),
    ):
        print(f"{row:<28} {value!s:>12} {unit}")
    whole = outcome.num_done == arguments.jobs and not outcome.num_lost and not outcome.num_doubled
    return 0 if whole and not visitor.num_failed else 1


if __name__ == "__main__":
    sys.exit(main())
