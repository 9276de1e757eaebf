"""Two servers over one PostgreSQL, one of them killed -9 or frozen at each worst moment while the other goes on.

Boards dial in by one address, as by a load balancer, which leads to the second server once the first one is gone. That
one comes back at the end, and shows the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.jobs.states import JobKind, LeaseOutcome
from tests.e2e.conftest import Ending
from tests.support.processes.cut_wire import CutWire
from tests.support.processes.fault_searches import LATENCY
from tests.support.processes.records import lease_outcomes, measured_by_lease
from tests.support.processes.rig import Installation, OtherServer
from tests.support.worlds.databases import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.long]


@dataclass
class Pair:
    """An installation with two servers, and the address by which boards reach one of them."""

    nas: Installation
    second: OtherServer
    address: CutWire

    def add_board(self, name: str, isolation: str = "none") -> None:
        """Start a board and wait until it has enrolled."""
        self.nas.add_board(name, isolation=isolation, port=self.address.port)
        self.nas.until(lambda: self.nas.num_devices() == len(self.nas.agents), f"{name} has enrolled")

    def search(self) -> str:
        """Start the search at the second server."""
        return str(self.second.api.searches.create(LATENCY).id)

    def lose_the_first(self) -> None:
        """kill -9; who dials is led to the second one from now on."""
        self.nas.server.kill()
        self.address.lead_to(self.second.grpc_port)


@pytest.fixture
def pair(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Pair]:
    with postgres_server.database(migrated=False) as url:
        nas = Installation(tmp_path, url)
        try:
            nas.start()
            second, address = nas.add_server(), CutWire(nas.grpc_port)
            yield Pair(nas, second, address)
            address.close()
        finally:
            nas.end()


def test_a_server_killed_while_it_takes_a_result_and_the_worker_before_it_commits(
    pair: Pair, ends_as_if_undisturbed: Ending
) -> None:
    nas = pair.nas
    pair.add_board("board-1")
    search_id = pair.search()
    nas.until_step(search_id, 1)
    with nas.in_the_middle_of(JobKind.MEASURE) as taken:
        nas.until(lambda: nas.unsent("board-1") >= 1, "the first server holds the result")
        pair.lose_the_first()
    nas.until_step(search_id, 2)
    with nas.in_the_middle_of(JobKind.SEARCH_STEP) as step:
        nas.worker.kill()
    nas.worker.start()
    nas.until_done(search_id)
    nas.start_server()
    ends_as_if_undisturbed(nas, search_id)
    assert len(measured_by_lease(nas, taken)) == len(lease_outcomes(nas, taken)) == 1
    ended = lease_outcomes(nas, step)
    assert (ended[0], ended[-1]) == (LeaseOutcome.EXPIRED, LeaseOutcome.DONE)


def test_a_server_and_a_board_that_measures_killed_together(pair: Pair, ends_as_if_undisturbed: Ending) -> None:
    nas = pair.nas
    pair.add_board("board-1", isolation="process")
    board = nas.agents["board-1"]
    nas.until(lambda: board.num_children() > 0, "the measuring process stands by")
    board.freeze_children()
    search_id = pair.search()
    nas.until(lambda: nas.leased_by("board-1") != [], "the board measures")
    (job_id,) = nas.leased_by("board-1")
    board.kill()
    pair.lose_the_first()
    board.start()
    nas.until_done(search_id)
    nas.start_server()
    ends_as_if_undisturbed(nas, search_id)
    assert len(measured_by_lease(nas, job_id)) == 1
    assert lease_outcomes(nas, job_id)[-1] is LeaseOutcome.DONE


def test_a_server_and_a_board_with_an_unsent_result_killed_then_all_but_the_other_server(
    pair: Pair, ends_as_if_undisturbed: Ending
) -> None:
    nas = pair.nas
    pair.add_board("board-1")
    search_id = pair.search()
    nas.until_step(search_id, 1)
    with nas.in_the_middle_of(JobKind.MEASURE) as job_id:
        nas.until(lambda: nas.unsent("board-1") >= 1, "the result is on the board's disk")
        pair.lose_the_first()
        nas.agents["board-1"].kill()
    nas.agents["board-1"].start()
    nas.until_step(search_id, 2)
    for program in (nas.worker, *nas.agents.values()):
        program.kill()
    for program in (nas.worker, *nas.agents.values()):
        program.start()
    nas.until_done(search_id)
    nas.start_server()
    ends_as_if_undisturbed(nas, search_id)
    assert len(measured_by_lease(nas, job_id)) == len(lease_outcomes(nas, job_id)) == 1
    assert nas.unsent("board-1") == 0


def test_a_result_that_comes_to_the_other_server_after_another_board_did_the_job_steers_nothing(
    pair: Pair, ends_as_if_undisturbed: Ending
) -> None:
    nas = pair.nas
    pair.add_board("board-1")
    search_id = pair.search()
    nas.until_step(search_id, 2)
    with nas.in_the_middle_of(JobKind.MEASURE) as job_id:
        nas.until(lambda: nas.unsent("board-1") >= 1, "the result is on the board's disk")
        pair.lose_the_first()
        nas.agents["board-1"].kill()
    pair.add_board("board-2")
    nas.until(lambda: len(measured_by_lease(nas, job_id)) == 1, "the other board does the job")
    nas.agents["board-1"].start()
    nas.until(lambda: len(measured_by_lease(nas, job_id)) == 2, "the late result arrives")
    nas.until_done(search_id)
    nas.start_server()
    ends_as_if_undisturbed(nas, search_id)


def test_a_server_that_freezes_with_a_result_in_its_hands_and_thaws_an_age_later(
    pair: Pair, ends_as_if_undisturbed: Ending
) -> None:
    nas = pair.nas
    pair.add_board("board-1")
    search_id = pair.search()
    nas.until_step(search_id, 1)
    with nas.in_the_middle_of(JobKind.MEASURE) as job_id:
        nas.until(lambda: nas.unsent("board-1") >= 1, "the first server holds the result")
        nas.server.freeze()
        pair.address.lead_to(pair.second.grpc_port)
    nas.until_done(search_id)
    nas.server.thaw()
    ends_as_if_undisturbed(nas, search_id)
    assert len(measured_by_lease(nas, job_id)) == 1
