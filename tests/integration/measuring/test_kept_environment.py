"""What a device says of its state is kept without what identifies it, and cannot make a page of measurements large."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from nas_engine.domain.measurement import Dtype, HardwareKey, Validity, ValidityFlag
from server.access.token import Role
from server.core.paging import PageRequest
from server.jobs.job import Job
from server.jobs.results import ResultStatus
from server.measuring.measurement import MeasurementQuery
from server.measuring.store import MeasurementStore, measurements
from tests.support.worlds.api_world import World, latency_spec, measurement
from tests.support.worlds.service_world import lease_of, put_measurement

BOOT_ID = "11111111-2222-3333-4444-555555555555"


def _measured(world: World, flags: tuple[ValidityFlag, ...] = ()) -> str:
    """A measurement by a board that sends its boot id; its id."""
    board = world.enrol()
    made = world.client().post("/api/v1/searches", json=latency_spec(1))
    assert made.status_code == 202, made.text
    world.step([[0] * 4])
    world.convert_all()
    job = world._assigned(board)
    assert isinstance(job, Job)
    key = HardwareKey(identity=board.capabilities.identity, dtype=Dtype.FP32)
    sent = measurement(key, 1000.0, flags)
    sent = replace(sent, environment=replace(sent.environment, boot_id=BOOT_ID, kernel="6.1"))
    receipt = put_measurement(world.results, board.id, lease_of(job), sent, "1" * 64)
    assert receipt.status is ResultStatus.ACCEPTED, receipt
    (item,) = world.client().get("/api/v1/measurements?include_suspect=true").json()["items"]
    return str(item["id"])


def test_a_boot_id_is_neither_kept_nor_shown(world: World) -> None:
    id = _measured(world)
    viewer = world.client(world.token(Role.VIEWER))
    shown = viewer.get(f"/api/v1/measurements/{id}")
    assert shown.json()["environment"]["kernel"] == "6.1"
    assert BOOT_ID not in shown.text
    with world.process.engine.connect() as connection:
        raw = connection.execute(sa.select(sa.cast(measurements.c.environment, sa.Text))).scalar_one()
    assert BOOT_ID not in str(raw)


def test_a_boot_id_that_was_stored_before_is_not_shown(world: World) -> None:
    id = _measured(world)
    document = f'{{"boot_id": "{BOOT_ID}", "kernel": "5.10"}}'
    with world.process.engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
        connection.execute(sa.text("UPDATE measurements SET environment = :given"), {"given": document})
    shown = world.client().get(f"/api/v1/measurements/{id}")
    assert shown.json()["environment"] == {"boot_id": None, "kernel": "5.10"}


def test_a_hundred_flags_of_one_kind_are_one_with_their_reasons(world: World) -> None:
    reasons = [f"reason {number} {'y' * 900}" for number in range(100)]
    id = _measured(world, tuple(ValidityFlag(Validity.NOISY, reason) for reason in reasons))
    flags = world.client().get(f"/api/v1/measurements/{id}").json()["flags"]
    noisy = [flag for flag in flags if flag["validity"] == "noisy"]
    assert len(noisy) == 1
    assert noisy[0]["reason"].startswith("reason 0 ")
    assert len(noisy[0]["reason"]) == 1000


def test_pages_of_measurements_do_not_read_what_they_do_not_show(world: World) -> None:
    id = _measured(world)

    def look(read: str) -> object:
        store = world.process.uow.read
        query = MeasurementQuery(include_suspect=True)
        (record,) = store(lambda tx: getattr(MeasurementStore(tx), read)(query, PageRequest(10))).items
        assert record.id == id
        return record.environment

    assert look("page_of_measurements") is not None
    assert look("page_of_listed") is None
