"""Two servers over one PostgreSQL: agents and people may talk to either, and to another one in the middle."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
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
