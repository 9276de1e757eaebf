"""kill -9 of every process at its worst moment: the search ends as if nothing had happened."""

from __future__ import annotations

import pytest

from server.jobs.states import JobKind, LeaseOutcome
from tests.e2e.conftest import Ending
from tests.support.processes.fault_searches import LATENCY, NUM_CANDIDATES, POPULATION
from tests.support.processes.records import lease_outcomes, measured_by_lease
from tests.support.processes.rig import Installation
from tests.support.worlds.databases import PostgresServer


def test_the_server_killed_while_it_takes_a_result(nas_on_either: Installation, ends_as_if_undisturbed: Ending) -> None:
    nas = nas_on_either
    nas.start("board-1", "board-2")
    search_id = nas.create(LATENCY, key="the-user-clicked-once")
    nas.until_step(search_id, 2)
    with nas.in_the_middle_of(JobKind.MEASURE):
        nas.until(lambda: nas.unsent("board-1") + nas.unsent("board-2") > 0, "a board hands in a result")
        nas.server.kill()
    nas.start_server()
    assert nas.create(LATENCY, key="the-user-clicked-once") == search_id
    ends_as_if_undisturbed(nas, search_id)
    assert [search.id for search in nas.api.searches.all()] == [search_id]


def test_the_worker_killed_before_it_commits(nas_on_either: Installation, ends_as_if_undisturbed: Ending) -> None:
    nas = nas_on_either
    nas.start("board-1")
    search_id = nas.create(LATENCY)
    nas.until_step(search_id, 1)
    killed_at = []
    for kind in (JobKind.CONVERT, JobKind.SEARCH_STEP):
        with nas.in_the_middle_of(kind) as job_id:
            nas.worker.kill()
        nas.worker.start()
        killed_at.append(job_id)
    ends_as_if_undisturbed(nas, search_id)
    for job_id in killed_at:
        assert_done_again(nas, job_id)


def test_a_board_killed_in_mid_measurement_and_started_again(
    nas_on_either: Installation, ends_as_if_undisturbed: Ending
) -> None:
    nas = nas_on_either
    nas.start("board-1", isolation="process")
    board = nas.agents["board-1"]
    nas.until(lambda: board.num_children() > 0, "the measuring process stands by")
    board.freeze_children()
    search_id = nas.create(LATENCY)
    nas.until(lambda: nas.leased_by("board-1") != [], "the board measures")
    (job_id,) = nas.leased_by("board-1")
    board.kill()
    assert measured_by_lease(nas, job_id) == []
    board.start()
    ends_as_if_undisturbed(nas, search_id)
    assert_done_again(nas, job_id)
    assert len(measured_by_lease(nas, job_id)) == 1


def test_a_board_killed_with_an_unsent_result_sends_it_after_its_restart(
    nas_on_either: Installation, ends_as_if_undisturbed: Ending
) -> None:
    nas = nas_on_either
    nas.start("board-1")
    search_id = nas.create(LATENCY)
    nas.until_step(search_id, 2)
    with nas.in_the_middle_of(JobKind.MEASURE) as job_id:
        nas.until(lambda: nas.unsent("board-1") >= 1, "the result is on the board's disk")
        nas.server.kill()
        nas.agents["board-1"].kill()
    assert nas.unsent("board-1") in (1, 2)  # it may have done the job that it held beside this one
    assert measured_by_lease(nas, job_id) == []
    nas.start_server()
    nas.agents["board-1"].start()
    ends_as_if_undisturbed(nas, search_id)
    assert len(measured_by_lease(nas, job_id)) == 1
    assert len(lease_outcomes(nas, job_id)) == 1  # it was measured once, although nobody knew for a while
    assert nas.unsent("board-1") == 0


def test_a_result_that_comes_after_another_board_did_the_job_is_kept_and_steers_nothing(
    nas: Installation, ends_as_if_undisturbed: Ending
) -> None:
    nas.start("board-1")
    search_id = nas.create(LATENCY)
    nas.until_step(search_id, 2)
    with nas.in_the_middle_of(JobKind.MEASURE) as job_id:
        nas.until(lambda: nas.unsent("board-1") >= 1, "the result is on the board's disk")
        nas.server.kill()
        nas.agents["board-1"].kill()
    nas.start_server()
    nas.add_board("board-2")
    nas.until(lambda: len(measured_by_lease(nas, job_id)) == 1, "the other board does the job")
    nas.agents["board-1"].start()
    nas.until(lambda: len(measured_by_lease(nas, job_id)) == 2, "the late result arrives")
    ends_as_if_undisturbed(nas, search_id)
    assert nas.unsent("board-1") == 0


def test_everything_killed_at_once_twice(nas_on_either: Installation, ends_as_if_undisturbed: Ending) -> None:
    nas = nas_on_either
    nas.start("board-1", "board-2")
    search_id = nas.create(LATENCY)
    for step in (1, 3):
        nas.until_step(search_id, step)
        for program in nas.programs:
            program.kill()
        nas.start_server()
        for program in (nas.worker, *nas.agents.values()):
            program.start()
    ends_as_if_undisturbed(nas, search_id)


def assert_done_again(nas: Installation, job_id: str) -> None:
    """The first lease of a job died, the last one did it."""
    ended = lease_outcomes(nas, job_id)
    assert (ended[0], ended[-1]) == (LeaseOutcome.EXPIRED, LeaseOutcome.DONE)


def test_the_budget_is_several_generations() -> None:
    assert NUM_CANDIDATES == 4 * POPULATION


@pytest.mark.postgres
def test_a_database_that_goes_away_for_a_while(
    postgres_of_its_own: PostgresServer, nas_on_that: Installation, ends_as_if_undisturbed: Ending
) -> None:
    nas = nas_on_that
    nas.start("board-1")
    search_id = nas.create(LATENCY)
    nas.until_step(search_id, 2)
    postgres_of_its_own.stop()
    postgres_of_its_own.start_again()
    ends_as_if_undisturbed(nas, search_id)
