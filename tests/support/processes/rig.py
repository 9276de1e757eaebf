"""One installation with real processes: server, worker and agents on loopback ports, over SQLite or PostgreSQL.

Nothing is faked but the boards' inference engine. Tests look at the database itself, so that what they assert does not
depend on the code that shows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import sqlalchemy as sa

from hilnas.client.client import Hilnas
from hilnas.client.transport import RetryPolicy
from server.candidates.search_store import searches
from server.candidates.states import SearchState
from server.core.database.engine import open_engine
from server.fleet.store import devices
from server.jobs.states import JobKind, JobState
from server.jobs.tables import jobs
from tests.support.processes.machine import Program, free_port
from tests.support.samples.datasets import small_embedded_set
from tests.support.worlds.databases import place_migrated

LEASE_TTL_S = 3.0
LEASE_ACCEPT_S = 2.5
PATIENCE_S = 120.0  # of one wait; a crowded machine takes its time to start Python with torch
LOOK_S = 0.1  # every look asks the database
CATCH_S = 0.02  # what is looked for lasts a moment
DEVICE_TYPE = "fake-board"


class Installation:
    """Server, one worker and any number of agents; `end` leaves nothing running."""

    def __init__(self, folder: Path, database_url: str | None = None, *, api_processes: int = 1) -> None:
        self.folder = folder
        self._http_port, self.grpc_port = free_port(), free_port()
        url = database_url or f"sqlite:///{folder / 'hilnas.sqlite3'}"
        if database_url is None:
            place_migrated(folder / "hilnas.sqlite3")
        self.home = folder / "home"
        environment = {
            "HILNAS_HOME": str(self.home),
            "HILNAS_DATABASE_URL": url,
            "HILNAS_HTTP_PORT": str(self._http_port),
            "HILNAS_GRPC_PORT": str(self.grpc_port),
            "HILNAS_API_PROCESSES": str(api_processes),
            "HILNAS_INSECURE_NO_AUTH": "1",
            "HILNAS_LEASE_TTL_S": str(LEASE_TTL_S),
            "HILNAS_LEASE_ACCEPT_S": str(LEASE_ACCEPT_S),
            "HILNAS_WORKER_THREADS": "1",
            "HILNAS_WORKER_DEVICE": "cpu",
            "HILNAS_DATASETS_FILE": str(small_embedded_set(folder)),
        }
        self._environment = environment
        self.server = Program("server", folder, ["server"], environment)
        self.worker = Program("worker", folder, ["worker"], environment)
        self.others: list[OtherServer] = []
        self.agents: dict[str, Program] = {}
        self.database = open_engine(url)
        self.api = Hilnas(f"http://127.0.0.1:{self._http_port}", retry=RetryPolicy(max_attempts=8))

    @property
    def programs(self) -> tuple[Program, ...]:
        """Everything that runs or ran."""
        return (self.server, *(other.program for other in self.others), self.worker, *self.agents.values())

    def start(self, *boards: str, isolation: str = "none") -> None:
        """Start the server, the worker and some boards, and wait until all of them are there."""
        self.worker.start()  # it takes longest, and waits for nobody
        self.start_server()
        for board in boards:
            self.add_board(board, isolation=isolation)
        self.until(lambda: self.num_devices() == len(self.agents), "every board has enrolled")

    def start_server(self) -> None:
        """Start the server and wait until it answers."""
        self.server.start()
        self.until(lambda: _answers(self.api), "the server answers")

    def add_server(self) -> OtherServer:
        """Start one more server over the same database and artifacts, and wait until it answers."""
        other = OtherServer(f"server-{len(self.others) + 2}", self.folder, self._environment)
        self.others.append(other)
        other.program.start()
        self.until(lambda: _answers(other.api), f"{other.program.name} answers")
        return other

    def add_board(
        self,
        name: str,
        *,
        isolation: str = "none",
        device_type: str = DEVICE_TYPE,
        port: int | None = None,
        surroundings: Mapping[str, str] | None = None,
    ) -> Program:
        """Start an agent with the fake runtime.

        Args:
            isolation: the agent's own option.
            device_type: that it registers under.
            port: another server's than the first one's.
            surroundings: more of its environment.
        """
        arguments = ["agent", "--insecure", "--runtime", "fake", "--device-type", device_type]
        arguments += ["--server", f"127.0.0.1:{port or self.grpc_port}", "--name", name, "--isolation", isolation]
        arguments += ["--state-dir", str(self.folder / name), "--host-lock", str(self.folder / "timing.lock")]
        token = (self.home / "enrolment.token").read_text(encoding="ascii").strip()
        self.agents[name] = Program(
            name, self.folder, arguments, {"HILNAS_ENROLMENT_TOKEN": token, **(surroundings or {})}
        )
        self.agents[name].start()
        return self.agents[name]

    def end(self) -> None:
        """Leave nothing running."""
        for program in self.programs:
            program.end()
        for api in (self.api, *(other.api for other in self.others)):
            api.close()
        self.database.dispose()

    def create(self, spec: Mapping[str, Any], *, key: str | None = None) -> str:
        """Start a search over REST; its id."""
        return self.api.searches.create(spec, idempotency_key=key).id

    def rows(self, statement: sa.Select[Any]) -> list[sa.Row[Any]]:
        """What the database holds."""
        with self.database.connect() as connection:
            return list(connection.execute(statement))

    def state(self, search_id: str) -> SearchState:
        """What the search does."""
        state: SearchState = self.rows(sa.select(searches.c.state).where(searches.c.id == search_id))[0].state
        return state

    def step(self, search_id: str) -> int:
        """Steps the search has committed."""
        return int(self.rows(sa.select(searches.c.checkpoint_seq).where(searches.c.id == search_id))[0][0])

    def until_step(self, search_id: str, step: int) -> None:
        """Wait until the search has committed so many steps."""
        self.until(lambda: self.step(search_id) >= step, f"{search_id} commits step {step}")

    def until_done(self, search_id: str) -> None:
        """Wait until the search is over, whichever way."""
        self.until(lambda: self.state(search_id).final, f"{search_id} ends")

    def unsent(self, board: str) -> int:
        """Results on a board's disk that it has not got rid of."""
        return len(list((self.folder / board / "spool").glob("*.result")))

    def until(self, condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is so; fails with everybody's last words at the deadline, or when a process dies."""
        deadline = time.monotonic() + patience_s
        while not condition():
            dead = [program.name for program in self.programs if program.started and not program.alive]
            assert not dead, f"{', '.join(dead)} died while waiting until {what}\n{self._last_words()}"
            assert time.monotonic() < deadline, f"not within {patience_s} s: {what}\n{self._last_words()}"
            time.sleep(LOOK_S)

    @contextmanager
    def in_the_middle_of(self, kind: JobKind, holder: str | None = None) -> Iterator[str]:
        """Hold the row of a job of this kind that somebody works on: it cannot end while the block runs.

        The database's own lock is what holds it, so whoever works on the job gets as far as its commit and no further.

        Args:
            holder: of the lease, a device's id; absent: anybody.
        """
        wanted = [jobs.c.kind == kind, jobs.c.state == JobState.LEASED, jobs.c.accepted.is_(True)]
        if holder is not None:
            wanted.append(jobs.c.lease_owner == holder)
        statement = sa.select(jobs.c.id).where(*wanted).limit(1).with_for_update()
        deadline = time.monotonic() + PATIENCE_S
        while True:  # ends at the deadline
            with self.database.connect().execution_options(hilnas_write=True) as connection, connection.begin():
                job_id = connection.execute(statement).scalar_one_or_none()
                if job_id is not None:
                    yield str(job_id)
                    return
            assert time.monotonic() < deadline, f"no {kind.value} job was ever leased\n{self._last_words()}"
            time.sleep(CATCH_S)

    def device_id(self, board: str) -> str:
        """Id of a board that has enrolled."""
        return str(self.rows(sa.select(devices.c.id).where(devices.c.name == board))[0].id)

    def leased_by(self, board: str) -> list[str]:
        """Jobs a board has accepted and not ended."""
        held = (jobs.c.lease_owner == self.device_id(board), jobs.c.state == JobState.LEASED, jobs.c.accepted)
        return [str(row.id) for row in self.rows(sa.select(jobs.c.id).where(*held))]

    def num_devices(self) -> int:
        """Boards that have enrolled."""
        return len(self.rows(sa.select(devices.c.id)))

    def _last_words(self) -> str:
        return "\n".join(program.log_tail() for program in self.programs)


class OtherServer:
    """One more server of an installation: the same database and artifacts, ports of its own."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        http_port, self.grpc_port = free_port(), free_port()
        ports = {"HILNAS_HTTP_PORT": str(http_port), "HILNAS_GRPC_PORT": str(self.grpc_port)}
        self.program = Program(name, folder, ["server"], {**environment, **ports})
        self.api = Hilnas(f"http://127.0.0.1:{http_port}", retry=RetryPolicy(max_attempts=8))


def _answers(api: Hilnas) -> bool:
    try:
        with urlopen(f"{api.url}/readyz", timeout=PATIENCE_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
