"""A soak of the device farm: many fake agents, many jobs, a real server process, nothing lost and nothing doubled.

Starts `hilnas server` with an embedded database (or --database-url), agents that share a few processes, queues the
jobs, waits for them, and looks into the database: every job DONE with exactly one authoritative measurement. With
--kill the server is killed (SIGKILL) and started again in the middle, and one process of agents as well.

Fake runs take virtual time, so the whole time per job is overhead: lease, fetch, measure, report, store.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas_engine.domain.measurement import DeviceIdentity, Dtype, HardwareKey
from server.artifacts.artifact import Artifact, ModelFormat
from server.artifacts.files import FileByteStore
from server.artifacts.store import ArtifactStore
from server.core.database.engine import open_engine
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic, Wakeups
from server.core.paging import Page, PageRequest
from server.fleet.device import HardwareProfile
from server.fleet.store import DeviceStore
from server.jobs.job import Job, JobQuery, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.measuring.payloads import MeasurePayload
from server.measuring.store import MeasurementStore

TOKEN = "nas_enr_token-of-the-soak-benchmark"
NUM_MODELS = 50  # agents cache them, as they would a search's recurring canaries
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the database says afterwards."""

    num_jobs: int
    num_done: int
    num_lost: int
    num_doubled: int
    num_superseded: int
    num_retried: int
    seconds: float
    server_processor_s: float


class Farm:
    """The server's process, the agents' processes, and the database they share."""

    fleet_arguments: Sequence[str] = ()
    """What the agents' processes are told besides."""

    fleet_path: Sequence[Path] = ()
    """Where these find packages besides."""

    def __init__(self, folder: Path, database_url: str, num_agents: int, num_processes: int) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._home.mkdir()
        self._database_url = database_url or f"sqlite:///{self._home / 'hilnas.sqlite3'}"
        self._shares = [num_agents // num_processes + (n < num_agents % num_processes) for n in range(num_processes)]
        self._port = self._num_queued = 0
        self.url = ""
        self._spent_s = 0.0
        self._server = self._start_server()
        try:
            self._token = self._admit()
        except BaseException:
            self._server.kill()
            raise
        self._agents = [self._start_agents(n) for n in range(num_processes)]
        engine = open_engine(self._database_url)
        self.uow = UnitOfWork(engine, Wakeups(engine))

    def _start_server(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {"HILNAS_ENROLMENT_TOKEN": TOKEN, "HILNAS_DATABASE_URL": self._database_url}
        known = self._home / "server.json"
        known.unlink(missing_ok=True)
        command = [sys.executable, "-m", "hilnas.cli.main", "server", "--home", str(self._home), "--port", "0"]
        command += ["--grpc-port", str(self._port), "--log-level", "warning"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        for _ in range(600):
            if known.exists():
                document = json.loads(known.read_text())
                self.url, self._port = document["http_url"], int(document["grpc_address"].rpartition(":")[2])
                return process
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {process.returncode}")
            time.sleep(0.1)
        process.kill()
        raise RuntimeError("the server did not start within 60 s")

    def _admit(self) -> str:
        """The secret of the token that the agents enrol with."""
        return TOKEN

    def _start_agents(self, number: int) -> subprocess.Popen[bytes]:
        first = sum(self._shares[:number])
        command = [
            sys.executable,
            str(ROOT / "benchmarks/service/agent_fleet.py"),
            "--server",
            f"127.0.0.1:{self._port}",
        ]
        command += ["--folder", str(self._folder), "--first", str(first), "--agents", str(self._shares[number])]
        command += self.fleet_arguments
        path = os.pathsep.join(map(str, (ROOT, *self.fleet_path)))
        environment = os.environ | {"HILNAS_ENROLMENT_TOKEN": self._token, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment)

    @property
    def token(self) -> str:
        """The admin's token."""
        return (self._home / "admin.token").read_text(encoding="ascii").strip()

    def stop_agents(self) -> None:
        """End the agents, as when a rack loses its switch for the night."""
        _end(self._agents)

    def start_agents(self) -> None:
        """Start them all again in the same moment."""
        self._agents = [self._start_agents(n) for n in range(len(self._shares))]

    def kill_everything_once(self) -> None:
        """SIGKILL the server and one process of agents; start both again."""
        self._spent_s += _processor_s(self._server.pid)
        self._server.kill()
        self._agents[0].kill()
        self._server.wait()
        self._agents[0].wait()
        self._server = self._start_server()
        self._agents[0] = self._start_agents(0)

    @property
    def server_processor_s(self) -> float:
        """Processor time of the server so far, seconds."""
        return self._spent_s + _processor_s(self._server.pid)

    def stop(self) -> None:
        """End all processes: the agents first, so that they find somebody to say goodbye to."""
        for processes in (self._agents, [self._server]):
            _end(processes)

    def identity(self) -> DeviceIdentity:
        """What the agents enrolled as, once the first one has."""
        for _ in range(600):
            devices = self.uow.read(lambda tx: DeviceStore(tx).devices_of_type("soak"))
            if devices:
                return devices[0].capabilities.identity
            time.sleep(0.1)
        raise RuntimeError("no agent enrolled within 60 s")

    def wait_for_boards(self, number: int) -> None:
        """Wait until so many agents have enrolled."""
        for _ in range(600):
            if len(self.uow.read(lambda tx: DeviceStore(tx).devices_of_type("soak"))) >= number:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{number} agents did not enrol within 60 s")

    def queue(self, num_jobs: int) -> None:
        """Put the jobs into the queue."""
        store = FileByteStore(self._home / "artifacts")
        models = [self._model(store, n) for n in range(NUM_MODELS)]
        key = HardwareKey(identity=self.identity(), dtype=Dtype.FP32)
        numbers = range(self._num_queued, self._num_queued + num_jobs)
        jobs = [_job(models[n % NUM_MODELS], key, n) for n in numbers]
        self._num_queued += num_jobs
        for start in range(0, num_jobs, 500):
            batch = jobs[start : start + 500]
            self.uow.write(lambda tx, batch=batch: _add(tx, batch))  # type: ignore[misc]

    def _model(self, store: FileByteStore, number: int) -> str:
        data = json.dumps({"hilnas_fake": 1, "latency_us": 500.0 + number}).encode()
        stored = store.put(io.BytesIO(data))
        self.uow.write(
            lambda tx: ArtifactStore(tx).put_artifact(
                Artifact(
                    sha256=stored.sha256,
                    size_bytes=stored.size_bytes,
                    media_type="application/json",
                    created_at=tx.now(),
                )
            )
        )
        return stored.sha256

    def num_waiting(self) -> int:
        """Jobs that are not over."""
        depths = self.uow.read(lambda tx: JobStore(tx).queue_depths())
        return sum(d.num_queued + d.num_leased for d in depths if d.kind is JobKind.MEASURE)

    def outcome(self, seconds: float, server_processor_s: float) -> Outcome:
        """Count what is stored."""
        jobs = _all_jobs(self.uow)
        records = _all_measurements(self.uow)
        authoritative = Counter(r.job_id for r in records if not r.superseded)
        done = [j for j in jobs if j.state is JobState.DONE]
        return Outcome(
            num_jobs=len(jobs),
            num_done=len(done),
            num_lost=sum(1 for j in done if authoritative[j.id] == 0) + sum(1 for j in jobs if not j.state.final),
            num_doubled=sum(1 for count in authoritative.values() if count > 1),
            num_superseded=sum(1 for r in records if r.superseded),
            num_retried=sum(1 for j in jobs if j.attempt > 1),
            seconds=seconds,
            server_processor_s=server_processor_s,
        )


def _add(tx: Transaction, jobs: Sequence[NewJob]) -> None:
    JobStore(tx).add_jobs(jobs)
    tx.wake(Topic.DEVICE_JOBS)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(30.0)
        except subprocess.TimeoutExpired:
            process.kill()


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2, help="processes the agents share")
    parser.add_argument("--database-url", default="", help="default: SQLite in a temporary folder")
    parser.add_argument("--kill", action="store_true", help="kill server and agents in the middle")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hilnas-soak-") as folder:
        farm = Farm(Path(folder), arguments.database_url, arguments.agents, arguments.processes)
        try:
            outcome = _soak(farm, arguments.jobs, kill=arguments.kill)
        finally:
            farm.stop()
    _report(outcome, arguments)
    return 0 if outcome.num_done == arguments.jobs and not outcome.num_lost and not outcome.num_doubled else 1


def _soak(farm: Farm, num_jobs: int, *, kill: bool) -> Outcome:
    farm.queue(num_jobs)
    start, spent_s = time.monotonic(), farm.server_processor_s
    rates: list[float] = []
    waiting, killed = num_jobs, not kill
    while waiting:
        time.sleep(5.0)
        before, waiting = waiting, farm.num_waiting()
        rates.append((before - waiting) / 5.0)
        print(
            f"  {num_jobs - waiting:6d} of {num_jobs} after {time.monotonic() - start:5.0f} s, {rates[-1]:.0f} jobs/s"
        )
        if not killed and waiting < num_jobs // 2:
            killed = True
            print("  killing the server and a process of agents")
            farm.kill_everything_once()
        if len(rates) > 24 and not any(rates[-24:]):
            print("  nothing has moved for two minutes: giving up")
            break
    print(f"  median rate {statistics.median(rates):.0f} jobs/s")
    return farm.outcome(time.monotonic() - start, farm.server_processor_s - spent_s)


def _report(outcome: Outcome, arguments: argparse.Namespace) -> None:
    rows: list[dict[str, object]] = [
        {"row": "jobs done", "ours": outcome.num_done, "unit": "jobs"},
        {"row": "jobs lost", "ours": outcome.num_lost, "unit": "jobs"},
        {"row": "jobs doubly authoritative", "ours": outcome.num_doubled, "unit": "jobs"},
        {"row": "results superseded", "ours": outcome.num_superseded, "unit": "results"},
        {"row": "jobs with a second lease", "ours": outcome.num_retried, "unit": "jobs"},
        {"row": "throughput", "ours": round(outcome.num_done / outcome.seconds, 1), "unit": "jobs/s"},
        {"row": "agent time per job", "ours": round(1e3 * arguments.agents * outcome.seconds / outcome.num_done, 1)
         if outcome.num_done else None, "unit": "ms"},
        {"row": "server's processor per job", "ours": round(1e3 * outcome.server_processor_s / outcome.num_done, 1)
         if outcome.num_done else None, "unit": "ms"},
    ]  # fmt: skip
    for row in rows:
        print(f"{row['row']:<28} {row['ours']!s:>12} {row['unit']}")
    if arguments.json is not None:
        documents = [row | {"peer": None, "ratio": None} for row in rows]
        arguments.json.write_text(json.dumps(documents, indent=2))


def _job(model_sha256: str, key: HardwareKey, number: int) -> NewJob:
    latency_key = f"soak-{number}"
    payload = MeasurePayload(
        model_sha256=model_sha256,
        model_format=ModelFormat.ONNX,
        profile="quick",
        dtype="fp32",
        batch=1,
        latency_key=latency_key,
        hardware_key=key.digest,
        core_mask=key.identity.core_mask,
        validity_policy="require",
        timeout_s=60.0,
    )
    return NewJob(
        kind=JobKind.MEASURE,
        payload=payload.to_json(),
        target=JobTarget(pool_key=HardwareProfile(key=key).pool_key),
        latency_key=latency_key,
        hardware_key=key.digest,
        max_attempts=10,
    )


def _all_jobs(uow: UnitOfWork) -> list[Job]:
    found: list[Job] = []
    request = PageRequest(1000)
    while True:
        page: Page[Job] = uow.read(
            lambda tx, r=request: JobStore(tx).page_of_jobs(JobQuery(kinds=(JobKind.MEASURE,)), r)
        )  # type: ignore[misc]
        found += page.items
        if page.next is None:
            return found
        request = PageRequest(1000, page.next)


def _all_measurements(uow: UnitOfWork) -> list[MeasurementRecord]:
    found: list[MeasurementRecord] = []
    query = MeasurementQuery(kinds=tuple(MeasurementKind), include_superseded=True, include_suspect=True)
    request = PageRequest(1000)
    while True:
        page: Page[MeasurementRecord] = uow.read(
            lambda tx, r=request: MeasurementStore(tx).page_of_measurements(query, r)
        )  # type: ignore[misc]
        found += page.items
        if page.next is None:
            return found
        request = PageRequest(1000, page.next)


if __name__ == "__main__":
    raise SystemExit(main())
