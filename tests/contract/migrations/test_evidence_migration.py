"""Records whose origin does not hold become rejected evidence when a database is upgraded; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from nas_engine.domain.measurement import DeviceClass
from server.artifacts.files import FileByteStore
from server.bootstrap.schema import migrate
from server.core.paging import PageRequest
from server.measuring.evidence import origin_holds
from server.measuring.measurement import MeasurementQuery, MeasurementRecord
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World, run_to_end

EVERYTHING = MeasurementQuery(kinds=(), include_superseded=True, include_suspect=True)
_JOB = "(SELECT job_id FROM measurements WHERE id = :id)"
_LEASE = "(SELECT lease_id FROM measurements WHERE id = :id)"
TAMPERING = {
    "no lease": "UPDATE measurements SET lease_id = 'lease_none' WHERE id = :id",
    "another device's lease": f"UPDATE leases SET device_id = 'dev_other' WHERE lease_id = {_LEASE}",
    "a job for other hardware": f"UPDATE jobs SET hardware_key = '{'0' * 64}' WHERE id = {_JOB}",
    "another class": "UPDATE measurements SET device_class = 'board' WHERE id = :id",
}


def records(world: World) -> dict[str, MeasurementRecord]:
    page = world.latencies.page_of_measurements(EVERYTHING, PageRequest(100))
    return {one.id: one for one in page.items}


def undo(engine: sa.Engine) -> None:
    """Back to the revision before the one under test."""
    migrate(engine, "0009_owners")


def test_records_whose_origin_does_not_hold_are_marked(own_database: TestDatabase, tmp_path: Path) -> None:
    world = World(own_database, FileByteStore(tmp_path / "artifacts"))
    run_to_end(world, world.enrol(), world.search(budget={"num_candidates": len(TAMPERING) + 1}))
    before = records(world)
    assert all(one.device_class is DeviceClass.EMULATED and not one.suspect for one in before.values())
    honest, *tampered = sorted(before)
    assert len(tampered) == len(TAMPERING)
    undo(own_database.engine)
    for one, tamper in zip(tampered, TAMPERING.values(), strict=True):
        assert own_database.execute(tamper, id=one) == 1
    migrate(own_database.engine)
    after = records(world)
    assert after[honest] == before[honest]
    assert world.uow.read(lambda tx: origin_holds(tx, after[honest]))
    for one, what in zip(tampered, TAMPERING, strict=True):
        assert (after[one].suspect, bool(after[one].rejection)) == (True, True), what
        assert after[one].stats == before[one].stats
