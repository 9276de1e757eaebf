"""What dispatch costs: the server's processor time per measuring job, a job's overhead, jobs per second, busy boards.

Starts `hilnas server` as it ships (or with --database-url), boards of a fixed service time in processes of their own
that speak real gRPC, queues measuring jobs, and reads three things: the processor time of the server's process, what
each board wrote down of every job (raw samples, kept with --keep), and the database (every job DONE once, judged valid
by the server). Boards are boards: canaries are ordered and run.

    python benchmarks/service/dispatch.py                      # every row, on SQLite
    python benchmarks/service/dispatch.py --boards 20 --service-ms 0 --jobs 1000
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from soak import Farm, Outcome
from timed_board import NAME, Stay, read_stays

from nas_engine.domain.measurement import Validity
from server.measuring.measurement import MeasurementQuery
from server.measuring.store import MeasurementStore

HERE = Path(__file__).resolve().parent
MAX_CPU_MS, MAX_OVERHEAD_MS, MIN_BUSY = 8.0, 10.0, 0.95
MIN_RATE = {"sqlite": 100.0, "postgresql": 80.0}
JOBS_PER_BOARD = 40  # of a fixed service time: twelve seconds
BOOTSTRAPS = 2000
BOARDS_PER_PROCESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One number of boards at one service time.

    Attributes:
        cpu_ms: user and system time of the server's process per job, from the first job's queueing to the last result.
        overhead_ms: median time from the end of a job's measuring to the start of the next one's on the same board.
        overhead_ci_ms: its 95 % interval, bootstrapped over jobs.
        jobs_per_s: from the first measuring to the last.
        busy: share of that time for which boards measured, first to last job of each.
        first_ms: from the end of the queueing to the first measuring; below 0 where that began before.
        num_valid: measurements that the server judged valid.
    """

    num_boards: int
    service_ms: float
    num_jobs: int
    cpu_ms: float
    overhead_ms: float
    overhead_ci_ms: tuple[float, float]
    jobs_per_s: float
    busy: float
    first_ms: float
    num_valid: int
    num_lost: int
    num_doubled: int


class TimedFarm(Farm):
    """A farm whose agents are boards of a fixed service time."""

    def __init__(self, folder: Path, database_url: str, num_boards: int, service_ms: float) -> None:
        self.folder = folder
        self.fleet_arguments = ("--service-ms", str(service_ms))
        self.fleet_path = (folder / "packages", HERE)
        _lay_out(folder / "packages")
        super().__init__(folder, database_url, num_boards, -(-num_boards // BOARDS_PER_PROCESS))

    def _admit(self) -> str:
        body = {"name": "boards", "device_class": "board", "device_type": "soak", "max_uses": 1000}
        request = urllib.request.Request(
            f"{self.url}/api/v1/enrolment-tokens",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        for _ in range(600):  # the server names its address before it listens
            try:
                with urllib.request.urlopen(request, timeout=30.0) as answer:
                    return str(json.load(answer)["secret"])
            except urllib.error.HTTPError as error:
                raise RuntimeError(f"no token for boards: {error.read().decode()}") from error
            except urllib.error.URLError:
                time.sleep(0.1)
        raise RuntimeError("the server does not answer after 60 s")

    def stays(self) -> list[Stay]:
        """What the boards wrote down, in order of the beginnings."""
        found = [stay for path in self.folder.glob("stays-*.jsonl") for stay in read_stays(path)]
        return sorted(found, key=lambda stay: stay.start_s)

    def num_valid(self) -> int:
        """Measurements that the server judged valid."""
        query = MeasurementQuery(validities=(Validity.VALID,))
        return self.uow.read(lambda tx: MeasurementStore(tx).count_measurements(query))


def _lay_out(folder: Path) -> None:
    """Declare the runtime as an installed package does."""
    info = folder / "timed_board-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: timed-board\nVersion: 1.0\n", encoding="ascii")
    (info / "entry_points.txt").write_text(f"[hilnas.runtimes]\n{NAME} = timed_board:RUNTIME\n", encoding="ascii")


def measure(database_url: str, num_boards: int, service_ms: float, num_jobs: int, keep: Path | None) -> Run:
    """Run one configuration in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="hilnas-dispatch-") as name:
        farm = TimedFarm(Path(name), database_url, num_boards, service_ms)
        try:
            return _measured(farm, num_boards, service_ms, num_jobs, keep)
        finally:
            farm.stop()


def _measured(farm: TimedFarm, num_boards: int, service_ms: float, num_jobs: int, keep: Path | None) -> Run:
    farm.wait_for_boards(num_boards)
    _drain(farm, 2 * num_boards)  # first canaries, first fetches of models, first statements
    warm, spent_s = len(farm.stays()), farm.server_processor_s
    queued_s = _drain(farm, num_jobs)
    cpu_s = farm.server_processor_s - spent_s
    stays = farm.stays()[warm:]
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for path in farm.folder.glob("stays-*.jsonl"):
            shutil.copy(path, keep / f"{num_boards}-boards-{service_ms:g}-ms-{path.name}")
    outcome: Outcome = farm.outcome(0.0, cpu_s)
    seconds = max(stay.end_s for stay in stays) - stays[0].start_s
    gaps_ms = np.array(list(_gaps_ms(stays)))
    return Run(
        num_boards=num_boards,
        service_ms=service_ms,
        num_jobs=num_jobs,
        cpu_ms=1e3 * cpu_s / num_jobs,
        overhead_ms=float(np.median(gaps_ms)),
        overhead_ci_ms=_interval(gaps_ms),
        jobs_per_s=len(stays) / seconds,
        busy=_busy(stays),
        first_ms=1e3 * (stays[0].start_s - queued_s),
        num_valid=farm.num_valid() - 2 * num_boards,
        num_lost=outcome.num_lost,
        num_doubled=outcome.num_doubled,
    )


def _drain(farm: TimedFarm, num_jobs: int) -> float:
    """Queue jobs and wait for them; gives when they had been queued, in seconds of the monotonic clock."""
    farm.queue(num_jobs)
    queued_s = time.monotonic()
    for _ in range(6000):
        if not farm.num_waiting():
            return queued_s
        time.sleep(0.1)
    raise RuntimeError("the jobs were not done within ten minutes")


def _by_board(stays: Sequence[Stay]) -> dict[str, list[Stay]]:
    found: dict[str, list[Stay]] = defaultdict(list)
    for stay in stays:
        found[stay.board].append(stay)
    return found


def _gaps_ms(stays: Sequence[Stay]) -> Iterator[float]:
    """Time between two jobs of one board; the queue is not empty then."""
    for own in _by_board(stays).values():
        yield from (1e3 * (later.start_s - earlier.end_s) for earlier, later in pairwise(own))


def _busy(stays: Sequence[Stay]) -> float:
    """Share of the time from each board's first job to its last for which it measured."""
    boards = _by_board(stays).values()
    busy_s = sum(stay.end_s - stay.start_s for own in boards for stay in own)
    return busy_s / sum(own[-1].end_s - own[0].start_s for own in boards)


def _interval(values: np.ndarray) -> tuple[float, float]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    medians = [float(np.median(rng.choice(values, len(values)))) for _ in range(BOOTSTRAPS)]
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(low), float(high)


def _row(name: str, value: float, unit: str, limit: float, *, least: bool) -> str:
    met = "met" if (value >= limit if least else value <= limit) else "NOT met"
    return f"{name:<44} {value:9.2f} {unit:<7} limit {'>=' if least else '<='} {limit:g}  {met}"


def report(run: Run, backend: str) -> None:
    """Print the rows of one run, each beside its limit."""
    where = f"{run.num_boards} boards of {run.service_ms:g} ms"
    low, high = run.overhead_ci_ms
    print(_row(f"server's processor per job, {where}", run.cpu_ms, "ms", MAX_CPU_MS, least=False))
    if run.num_boards == 1:
        print(_row(f"overhead of a job p50, {where}", run.overhead_ms, "ms", MAX_OVERHEAD_MS, least=False))
    if run.service_ms:
        print(_row(f"busy share, {where}", run.busy, "", MIN_BUSY, least=True))
    elif run.num_boards >= 20:
        print(_row(f"throughput, {where}", run.jobs_per_s, "jobs/s", MIN_RATE[backend], least=True))
    print(
        f"    {run.num_jobs} jobs, {run.num_valid} valid, {run.num_lost} lost, {run.num_doubled} doubled; gap p50 "
        f"{run.overhead_ms:.1f} ms [{low:.1f}, {high:.1f}]; {run.jobs_per_s:.1f} jobs/s; first taken after "
        f"{run.first_ms:.0f} ms",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, nargs="*", default=[], help="default: 1, 4, 16, 64 of 300 ms; 1, 20 of 0")
    parser.add_argument("--service-ms", type=float, default=300.0)
    parser.add_argument("--jobs", type=int, help=f"default: {JOBS_PER_BOARD} a board, 1000 without a service time")
    parser.add_argument("--database-url", default="", help="an empty database each run; default: SQLite, a file each")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the boards' raw samples here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the runs as JSON")
    arguments = parser.parse_args()
    wanted = [(boards, arguments.service_ms) for boards in arguments.boards]
    runs = []
    for boards, service_ms in wanted or [(1, 0.0), (20, 0.0), (1, 300.0), (4, 300.0), (16, 300.0), (64, 300.0)]:
        num_jobs = arguments.jobs or (JOBS_PER_BOARD * boards if service_ms else 1000)
        runs.append(measure(arguments.database_url, boards, service_ms, num_jobs, arguments.keep))
        report(runs[-1], "postgresql" if arguments.database_url.startswith("postgresql") else "sqlite")
    cpu_ms = statistics.median(run.cpu_ms for run in runs)
    print(f"median over the runs: {cpu_ms:.2f} ms of the server's processor per job")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(run) for run in runs], indent=2), encoding="ascii")
    return 0 if all(run.num_lost == run.num_doubled == 0 for run in runs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
