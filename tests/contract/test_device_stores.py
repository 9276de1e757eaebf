"""The contracts of the stores of devices, measurements and tables, against SQLite and PostgreSQL."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.measurement import Dtype, Validity, ValidityFlag
from server.access.tokens import EnrolmentTokens
from server.artifacts.files import FileByteStore
from server.core.errors import ConflictError, InvalidValueError, NotAuthenticatedError, NotPermittedError
from server.core.paging import PageRequest
from server.fleet.device import DeviceQuery, DeviceState
from server.measuring.measurement import MeasurementKind, MeasurementQuery
from server.measuring.schemas import MeasurementResource
from server.spaces.result_table import SpaceTable
from server.spaces.store import SpaceTableStore
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World, run_to_end
from tests.support.worlds.stored import enrolment_of, every_page


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


class TestMeasurements:
    def test_filters_find_what_they_name(self, world: World) -> None:
        device = world.enrol()
        search = run_to_end(world, device, world.search())
        one = world.latencies.page_of_measurements(MeasurementQuery(), PageRequest(1)).items[0]
        total = world.latencies.count_measurements(MeasurementQuery())
        assert total == 6
        for found in (
            MeasurementQuery(device_type="testboard"),
            MeasurementQuery(device_id=device.id),
            MeasurementQuery(hardware_key=one.hardware_key),
            MeasurementQuery(search_id=search.id),
            MeasurementQuery(space_id="toy"),
            MeasurementQuery(validities=(Validity.VALID,)),
            MeasurementQuery(device_class=one.device_class),
            MeasurementQuery(since=one.created_at - timedelta(hours=1), until=one.created_at + timedelta(hours=1)),
        ):
            assert world.latencies.count_measurements(found) == total
        assert world.latencies.count_measurements(MeasurementQuery(arch_id=one.arch_id)) == 1
        assert world.latencies.count_measurements(MeasurementQuery(latency_key=one.latency_key)) == 1
        for nothing in (
            MeasurementQuery(device_type="other"),
            MeasurementQuery(kinds=(MeasurementKind.SIMULATED,)),
            MeasurementQuery(validities=(Validity.NOISY,)),
            MeasurementQuery(space_id="spos"),
            MeasurementQuery(until=one.created_at - timedelta(hours=1)),
        ):
            assert world.latencies.count_measurements(nothing) == 0

    def test_pages_hold_every_measurement_once_newest_first(self, world: World) -> None:
        run_to_end(world, world.enrol(), world.search())
        listed = every_page(lambda page: world.latencies.page_of_measurements(MeasurementQuery(), page), 2)
        assert [m.id for m in listed] == sorted({m.id for m in listed}, reverse=True)
        assert len(listed) == 6

    def test_a_measurement_comes_back_with_its_statistics_and_hardware(self, world: World) -> None:
        device = world.enrol()
        world.search()
        world.worker.run()
        job = device.take()
        assert job is not None
        flags = (ValidityFlag(Validity.NOISY, "wide interval"), ValidityFlag(Validity.UNPINNED, "no clocks"))
        receipt = device.measure(job, latency_us=321.0, flags=flags, npu_time_source="rknnlite")
        found = world.latencies.get_measurement(str(receipt.record_id))
        assert found.npu_time_source == MeasurementResource.of(found).npu_time_source == "rknnlite"
        assert found.stats.p50_us == 321.0
        assert found.stats.p99_us == 321.0
        assert found.flags == flags
        assert found.validity is Validity.UNPINNED
        assert found.hardware.digest == found.hardware_key
        assert found.hardware.dtype is Dtype.FP32
        assert found.kind is MeasurementKind.MEASURED
        assert isinstance(found.environment, dict)
        assert found.environment["agent_version"] == "1"


class TestDevices:
    def test_names_are_unique_while_the_device_lives(self, world: World) -> None:
        first = world.enrol("bench")
        with pytest.raises(ConflictError, match="live device"):
            world.devices.enrol(
                world.secrets.enrolment_token,
                dataclasses.replace(enrolment_of(first.device.name), boot_id=first.device.boot_id),
            )

    def test_a_device_that_is_offline_enrols_again_as_itself(self, world: World) -> None:
        first = world.enrol("bench")
        world.database.execute("UPDATE devices SET last_seen_at = last_seen_at - 3600000000")
        again = world.enrol("bench")
        assert again.id == first.id
        assert world.devices.authenticate(again.credential).id == first.id
        with pytest.raises(NotAuthenticatedError):
            world.devices.authenticate(first.credential)

    @pytest.mark.parametrize(
        "wrong",
        [{"name": ""}, {"name": "a\x00b"}, {"name": "x" * 201}, {"device_type": "rk 3588"}, {"labels": {"a": "\n"}}],
    )
    def test_text_that_cannot_be_stored_or_shown_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(InvalidValueError):
            dataclasses.replace(enrolment_of("bench"), **wrong)

    def test_a_wrong_enrolment_token_is_refused(self, world: World) -> None:
        with pytest.raises(NotAuthenticatedError):
            world.devices.enrol("nas_enr_wrong", enrolment_of("bench"))

    def test_an_enrolment_token_ends_with_its_uses(self, world: World) -> None:
        _, secret = EnrolmentTokens(world.uow).create("two boards", max_uses=1, labels={"rack": "b"})
        device, _ = world.devices.enrol(secret, enrolment_of("one"))
        assert device.all_labels["rack"] == "b"
        with pytest.raises(NotAuthenticatedError, match="used up"):
            world.devices.enrol(secret, enrolment_of("two"))

    def test_a_retired_device_is_shut_out(self, world: World) -> None:
        device = world.enrol()
        world.devices.set_state(device.id, DeviceState.RETIRED, "sold")
        with pytest.raises(NotPermittedError):
            world.devices.authenticate(device.credential)

    def test_filters_by_type_state_and_labels(self, world: World) -> None:
        world.enrol("a")
        labelled = world.enrol("b", labels={"rack": "b"})
        world.devices.set_state(labelled.id, DeviceState.DRAINING)
        for query in (DeviceQuery(labels={"rack": "b"}), DeviceQuery(states=(DeviceState.DRAINING,))):
            assert [d.name for d in world.devices.page(query, PageRequest()).items] == ["b"]
        assert [d.name for d in world.devices.page(DeviceQuery(device_type="testboard"), PageRequest()).items] == [
            "a",
            "b",
        ]
        assert world.devices.types() == {"testboard": 2}

    def test_a_device_that_says_nothing_new_keeps_its_version(self, world: World) -> None:
        device = world.enrol()
        device.sync()
        before = world.devices.get(device.id)
        device.sync()
        after = world.devices.get(device.id)
        assert after.version == before.version
        assert after.last_seen_at >= before.last_seen_at

    def test_utilisation_counts_leased_time(self, world: World) -> None:
        device = world.enrol()
        world.search(budget={"num_candidates": 1})
        world.worker.run()
        assert device.take() is not None
        assert 0.0 < world.devices.utilisation(device.id, timedelta(hours=1)) <= 1.0


class TestSpaceTables:
    def test_an_id_stands_for_the_table_it_was_registered_with(self, world: World) -> None:
        now = datetime(2026, 1, 2, tzinfo=UTC)
        mine = SpaceTable(id="mine", sha256="a" * 64, created_by="tok_1", created_at=now)
        other = dataclasses.replace(mine, sha256="b" * 64)
        assert world.uow.write(
            lambda tx: [SpaceTableStore(tx).add_space_table(mine), SpaceTableStore(tx).add_space_table(other)]
        ) == [
            True,
            False,
        ]
        world.uow.write(lambda tx: SpaceTableStore(tx).add_space_table(dataclasses.replace(other, id="another")))
        assert world.uow.read(lambda tx: SpaceTableStore(tx).find_space_table("mine")) == mine
        assert world.uow.read(lambda tx: SpaceTableStore(tx).find_space_table("nobody")) is None
        assert [one.id for one in world.uow.read(lambda tx: SpaceTableStore(tx).all_space_tables())] == [
            "another",
            "mine",
        ]

    @pytest.mark.parametrize("wrong", [{"id": "a/b"}, {"id": ""}, {"id": "x" * 101}, {"sha256": "short"}])
    def test_an_id_that_no_spec_could_name_is_refused(self, wrong: dict[str, str]) -> None:
        with pytest.raises(InvalidValueError):
            SpaceTable(**{"id": "mine", "sha256": "a" * 64, "created_at": datetime.now(UTC), **wrong})  # type: ignore[arg-type]
