"""kill -9 of the server between the measurements of a candidate's two boards, and a board that goes away meanwhile."""

from __future__ import annotations

import sqlalchemy as sa

from nas_engine.domain.metrics import LATENCY_US, latency_on
from server.candidates.states import SearchState
from server.candidates.tables import evaluations
from server.jobs.states import JobKind
from server.jobs.tables import jobs
from tests.support.processes.fault_searches import LATENCY
from tests.support.processes.records import assert_intact
from tests.support.processes.rig import Installation

OTHER = latency_on("other")
NUM_CANDIDATES = 12
SPEC = {
    **LATENCY,
    "boards": {"other": {"device": {"device_type": "other-board"}}},
    "objectives": [*LATENCY["objectives"], {"metric": OTHER.name}],
    "budget": {"num_candidates": NUM_CANDIDATES},
}


def test_a_server_killed_between_two_boards_neither_loses_nor_doubles_a_measurement(nas: Installation) -> None:
    nas.start("board-1")
    nas.add_board("board-2", device_type="other-board")
    nas.until(lambda: nas.num_devices() == 2, "both boards have enrolled")
    nas.agents["board-2"].freeze()
    search_id = nas.create(SPEC)
    nas.until(lambda: _num_values(nas, search_id, LATENCY_US.name) > 0, "one board has measured a candidate")
    nas.server.kill()
    nas.start_server()
    nas.until(lambda: _num_values(nas, search_id, LATENCY_US.name) == 6, "the jobs of the other board do not stop it")
    assert _num_values(nas, search_id, OTHER.name) == 0
    nas.until(lambda: "board other: no board of type" in _waits_for(nas, search_id), "the lost board is named")
    nas.agents["board-2"].thaw()
    nas.until(lambda: _num_values(nas, search_id, OTHER.name) > 0, "the lost board is back")
    nas.server.kill()
    nas.start_server()
    nas.until_done(search_id)
    assert nas.state(search_id) is SearchState.COMPLETED
    assert_intact(nas, search_id, NUM_CANDIDATES)
    for metric in (LATENCY_US, OTHER):
        assert _num_values(nas, search_id, metric.name) == NUM_CANDIDATES
    of_search = (jobs.c.search_id == search_id, jobs.c.kind == JobKind.MEASURE)
    assert len(nas.rows(sa.select(jobs.c.id).where(*of_search))) == 2 * NUM_CANDIDATES


def _num_values(nas: Installation, search_id: str, metric: str) -> int:
    wanted = (evaluations.c.search_id == search_id, evaluations.c.metric == metric)
    return len(nas.rows(sa.select(evaluations.c.id).where(*wanted)))


def _waits_for(nas: Installation, search_id: str) -> str:
    return nas.api.searches.get(search_id).waiting_for
