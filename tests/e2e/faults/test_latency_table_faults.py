"""kill -9 of the server while a latency table is measured: the table is completed, and nothing is measured twice."""

from __future__ import annotations

import sqlalchemy as sa

from server.candidates.states import SearchState
from server.jobs.states import JobKind, JobState
from server.jobs.tables import jobs
from server.latency_tables.store import latency_batches
from server.measuring.store import measurements
from tests.support.processes.rig import DEVICE_TYPE, Installation
from tests.support.worlds.table_world import DENSE_SPACE

TABLE = {
    "space": DENSE_SPACE,
    "device": {"device_type": DEVICE_TYPE},
    "measurement": {"profile": "quick", "validity_policy": "accept_flagged"},
}


def test_a_table_goes_on_where_its_server_was_killed_and_measures_nothing_twice(nas: Installation) -> None:
    nas.start("board-1")
    table_id = nas.api.latency_tables.create(TABLE).id
    nas.until(lambda: len(_measured(nas)) >= 3, "some operators are measured")
    with nas.in_the_middle_of(JobKind.MEASURE):
        nas.server.kill()
    before = _measured(nas)
    (batch,) = nas.rows(sa.select(latency_batches).where(latency_batches.c.id == table_id))
    assert len(before) < batch.num_entries, "it was killed in the middle of the table"
    nas.start_server()
    nas.until(lambda: nas.api.latency_tables.get(table_id).state == SearchState.COMPLETED, "the table is complete")
    after, table = _measured(nas), nas.api.latency_tables.get(table_id)
    assert len({key for _, key in after}) == len(after) == len(table.rows) == batch.num_entries, "each operator once"
    assert set(before) <= set(after), "what was measured before counts"
    assert {row.latency_key for row in table.rows if row.latency_us is not None} == {key for _, key in after}
    done = (jobs.c.kind == JobKind.MEASURE, jobs.c.state == JobState.DONE)
    assert len(nas.rows(sa.select(jobs.c.id).where(*done))) == len(after)


def _measured(nas: Installation) -> list[tuple[str, str]]:
    """Id and latency key of every measurement that counts."""
    counts = measurements.c.superseded.is_(False)
    return [(row.id, row.latency_key) for row in nas.rows(sa.select(measurements).where(counts))]
