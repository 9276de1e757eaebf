"""Two servers over one PostgreSQL, or two processes of one: agents and people may talk to either and go over."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hilnas.client.client import Hilnas
from server.jobs.states import JobKind
from tests.e2e.conftest import Ending
from tests.support.processes.cut_wire import CutWire
from tests.support.processes.fault_searches import LATENCY, NUM_CANDIDATES
from tests.support.processes.records import lease_outcomes, measured_by_lease
from tests.support.processes.rig import PATIENCE_S, Installation
from tests.support.worlds.databases import PostgresServer


@pytest.fixture
def nas_on_postgres(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Installation]:
    with postgres_server.database(migrated=False) as url:
        installation = Installation(tmp_path, url)
        yield installation
        installation.end()


class Listener:
    """Follows a search's events in a thread of its own."""

    def __init__(self, api: Hilnas, search_id: str) -> None:
        self._seen: Counter[str] = Counter()
        self._ids: list[int] = []
        self._thread = threading.Thread(target=self._follow, args=(api, search_id), daemon=True)
        self._thread.start()

    def _follow(self, api: Hilnas, search_id: str) -> None:
        for event in api.searches.events(search_id):
            self._seen[event.type] += 1
            self._ids.append(event.id)

    def seen(self) -> Counter[str]:
        """How many events of each type there were, once the stream has ended."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"the stream goes on after {self._seen}"
        assert self._ids == sorted(set(self._ids))
        return self._seen


@pytest.mark.postgres
def test_boards_go_over_to_another_server_in_the_middle_of_a_job_and_the_first_one_dies(
    nas_on_postgres: Installation, ends_as_if_undisturbed: Ending
) -> None:
    nas = nas_on_postgres
    nas.start()
    second = nas.add_server()
    wire = CutWire(nas.grpc_port)
    try:
        nas.add_board("board-1", port=wire.port)
        nas.add_board("board-2", port=second.grpc_port)
        nas.until(lambda: nas.num_devices() == 2, "both boards have enrolled")
        search_id = nas.create(LATENCY)
        at_second = Listener(second.api, search_id)
        nas.until_step(search_id, 1)
        with nas.in_the_middle_of(JobKind.MEASURE, nas.device_id("board-1")) as job_id:
            nas.until(lambda: nas.unsent("board-1") >= 1, "the first server holds the result")
            wire.lead_to(second.grpc_port)
        nas.until_step(search_id, 2)
        nas.server.kill()
        nas.until_done(search_id)
        # Whoever listens at one server saw what the other one and the worker committed.
        seen = at_second.seen()
        nas.start_server()
        ends_as_if_undisturbed(nas, search_id)
    finally:
        wire.close()
    assert len(measured_by_lease(nas, job_id)) == len(lease_outcomes(nas, job_id)) == 1
    assert seen["candidate"] == NUM_CANDIDATES
    assert Listener(nas.api, search_id).seen() == seen


def _serving(nas: Installation) -> list[int]:
    """Processes of the server that serve, in the order in which they began to."""
    said = re.findall(r"Started server process \[(\d+)\]", nas.server.log_path.read_text(errors="replace"))
    return [int(pid) for pid in said if Path(f"/proc/{pid}").exists()]


def _both_serve(nas: Installation, killed: int = 0) -> bool:
    return len([pid for pid in _serving(nas) if pid != killed]) == 2


@pytest.mark.long
@pytest.mark.postgres
def test_processes_of_one_server_are_killed_one_after_the_other_and_started_anew(
    postgres_server: PostgresServer, tmp_path: Path, ends_as_if_undisturbed: Ending
) -> None:
    with postgres_server.database(migrated=False) as url:
        nas = Installation(tmp_path, url, api_processes=2)
        try:
            nas.start("board-1", "board-2")
            nas.until(lambda: _both_serve(nas), "both processes serve")
            search_id = nas.create(LATENCY)
            listener = Listener(nas.api, search_id)
            for step in (1, 2):
                nas.until_step(search_id, step)
                killed = _serving(nas)[0]
                os.kill(killed, signal.SIGKILL)
                nas.until(partial(_both_serve, nas, killed), "the one that was killed is started anew")
            ends_as_if_undisturbed(nas, search_id)
            assert listener.seen()["candidate"] == NUM_CANDIDATES
            left = _serving(nas)
            nas.server.kill()  # of those that nobody tells anything, none stays behind
            deadline = time.monotonic() + PATIENCE_S
            while any(Path(f"/proc/{pid}").exists() for pid in left):
                assert time.monotonic() < deadline, "processes outlive their server"
                time.sleep(0.1)
        finally:
            nas.end()
