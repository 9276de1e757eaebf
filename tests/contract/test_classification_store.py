"""The contract of the classification store, against SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nas_engine.domain.measurement import Dtype, HardwareKey
from nas_engine.domain.measuring.classification import compress_predictions
from server.artifacts.files import FileByteStore
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationQuery, ClassificationRecord, Loss
from server.classifying.store import COMPARED_AT_ONCE, ClassificationStore
from server.core.database.transaction import Transaction
from server.core.errors import NotFoundError
from server.core.ids import IdPrefix, new_id
from server.core.paging import PageRequest
from tests.support.samples.classifying import LABELS, NUM_CLASSES, answers
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, World


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def record(**changes: Any) -> ClassificationRecord:
    values: dict[str, Any] = {
        "id": new_id(IdPrefix.CLASSIFICATION),
        "source": EvaluationSource.EVALUATED,
        "images_sha256": "1" * 64,
        "num_images": len(LABELS),
        "num_classes": NUM_CLASSES,
        "num_correct": 9,
        "model_sha256": "2" * 64,
        "source_sha256": "2" * 64,
        "dtype": Dtype.FP32,
        "batch": 1,
        "predictions": compress_predictions(answers(*LABELS)),
        "environment": {"agent_version": "1"},
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return ClassificationRecord(**{**values, **changes})


class TestClassificationStore:
    def test_what_is_added_is_read_back_whole(self, world: World) -> None:
        device = world.enrol()
        key = HardwareKey(identity=IDENTITY, dtype=Dtype.W8A8)
        loss = Loss(reference_id="cls_other", value=-0.1, standard_error=0.05, agreement=0.9)
        measured = record(
            source=EvaluationSource.MEASURED,
            hardware=key,
            dtype=Dtype.W8A8,
            device_id=device.id,
            device_type="testboard",
            lease_id=new_id(IdPrefix.LEASE),
            label="mine",
            loss=loss,
            result_digest="3" * 64,
        )
        evaluated = record()
        for one in (measured, evaluated):
            world.uow.write(lambda tx, one=one: ClassificationStore(tx).add_classification(one))  # type: ignore[misc]
            assert world.uow.read(lambda tx, one=one: ClassificationStore(tx).get_classification(one.id)) == one  # type: ignore[misc]
        assert (
            world.uow.read(lambda tx: ClassificationStore(tx).classification_of_lease(str(measured.lease_id)))
            == measured
        )
        assert world.uow.read(lambda tx: ClassificationStore(tx).classification_of_lease("lease_none")) is None
        with pytest.raises(NotFoundError):
            world.uow.read(lambda tx: ClassificationStore(tx).get_classification("cls_none"))

    def test_a_loss_is_written_later(self, world: World) -> None:
        stored = record()
        loss = Loss(reference_id="cls_other", value=0.0, standard_error=0.0, agreement=1.0)
        world.uow.write(lambda tx: ClassificationStore(tx).add_classification(stored))
        world.uow.write(lambda tx: ClassificationStore(tx).set_loss_of_classification(replace(stored, loss=loss)))
        assert world.uow.read(lambda tx: ClassificationStore(tx).get_classification(stored.id)).loss == loss

    def test_pages_are_filtered_and_newest_first(self, world: World) -> None:
        stored = [record(), record(images_sha256="4" * 64), record(candidate_id="cand_1"), record(superseded=True)]
        for one in stored:
            world.uow.write(lambda tx, one=one: ClassificationStore(tx).add_classification(one))  # type: ignore[misc]

        def listed(size: int = 10, **query: Any) -> list[str]:
            wanted, found = ClassificationQuery(**query), []
            page = PageRequest(size)
            while True:  # ends with the last page
                got = world.uow.read(lambda tx, at=page: ClassificationStore(tx).page_of_classifications(wanted, at))  # type: ignore[misc]
                found += [one.id for one in got.items]
                if got.next is None:
                    return found
                page = PageRequest(size, got.next)

        ids = [one.id for one in stored]
        assert listed() == listed(1) == [ids[2], ids[1], ids[0]]
        assert listed(include_superseded=True) == ids[::-1]
        assert listed(images_sha256="4" * 64) == [ids[1]]
        assert listed(candidate_id="cand_1") == [ids[2]]
        assert listed(device_type="toaster") == []

    def test_listed_ones_are_read_without_predictions_and_environments(self, world: World) -> None:
        device, key = world.enrol(), HardwareKey(identity=IDENTITY, dtype=Dtype.FP32)
        stored = record(candidate_id="cand_1", source=EvaluationSource.MEASURED, hardware=key, device_id=device.id)
        world.uow.write(lambda tx: ClassificationStore(tx).add_classification(stored))
        shown = replace(stored, predictions=b"", environment=None)
        page = world.uow.read(
            lambda tx: ClassificationStore(tx).page_of_classifications(ClassificationQuery(), PageRequest(10))
        )
        assert page.items == (shown,)
        found = world.uow.read(lambda tx: ClassificationStore(tx).classifications_of_candidates(["cand_1"]))
        assert list(found) == [shown]

    def test_the_worker_s_newest_float_answers_to_the_same_images_are_the_reference(self, world: World) -> None:
        board = {"source": EvaluationSource.MEASURED, "hardware": HardwareKey(identity=IDENTITY, dtype=Dtype.FP32)}
        quantised = {**board, "dtype": Dtype.W8A8}
        others = [
            record(source_sha256="6" * 64),
            record(images_sha256="6" * 64),
            record(num_images=5, num_correct=5, predictions=compress_predictions(answers(*LABELS[:5]))),
            record(superseded=True),
            record(**quantised),
            record(**board, superseded=True),
            record(**{**board, "source": EvaluationSource.SIMULATED}),
        ]
        first, by_board, same, newer_by_board = (
            record(),
            record(**board),
            record(model_sha256="5" * 64),
            record(**board),
        )
        asked = record(**quantised)

        def reference() -> str | None:
            found = world.uow.read(lambda tx: ClassificationStore(tx).reference_for(asked))
            assert found is None or (found.is_reference and found.environment is None)
            return None if found is None else found.id

        def add(*some: ClassificationRecord) -> None:
            for one in some:
                world.uow.write(lambda tx, one=one: ClassificationStore(tx).add_classification(one))  # type: ignore[misc]

        add(*others)
        assert reference() is None
        add(by_board)
        assert reference() == by_board.id
        add(first, newer_by_board)
        assert reference() == first.id
        add(same)
        assert reference() == same.id

    def test_answers_without_a_loss_are_read_few_at_a_time_while_they_get_one(self, world: World) -> None:
        key = HardwareKey(identity=IDENTITY, dtype=Dtype.W8A8)
        loss = Loss(reference_id="cls_other", value=0.0, standard_error=0.0, agreement=1.0)
        board = {"source": EvaluationSource.MEASURED, "hardware": key, "dtype": Dtype.W8A8}
        lacking = [record(**board) for _ in range(2 * COMPARED_AT_ONCE + 1)]
        others = [record(), record(**board, loss=loss), record(**board, superseded=True)]
        selects: list[str] = []

        def work(tx: Transaction) -> list[ClassificationRecord]:
            store, found = ClassificationStore(tx), []
            for one in (*lacking, *others):
                store.add_classification(one)
            sa.event.listen(tx.connection, "before_cursor_execute", lambda *said: selects.append(said[2]))
            for one in store.without_loss(lacking[0]):
                found.append(one)
                store.set_loss_of_classification(replace(one, loss=loss))
            return found

        assert [one.id for one in world.uow.write(work)] == [one.id for one in lacking]
        read = [said for said in selects if said.startswith("SELECT")]
        assert len(read) == 4
        assert all("LIMIT" in said and "environment" not in said for said in read)

    def test_candidates_have_what_devices_answered(self, world: World) -> None:
        device = world.enrol()
        key = HardwareKey(identity=IDENTITY, dtype=Dtype.FP32)
        on_device = {"source": EvaluationSource.MEASURED, "hardware": key, "device_id": device.id}
        old, new = (record(candidate_id="cand_1", **on_device) for _ in range(2))
        for one in (record(candidate_id="cand_1"), old, new, record(candidate_id="cand_2", **on_device)):
            world.uow.write(lambda tx, one=one: ClassificationStore(tx).add_classification(one))  # type: ignore[misc]
        found = world.uow.read(lambda tx: ClassificationStore(tx).classifications_of_candidates(["cand_1", "cand_3"]))
        assert [one.id for one in found] == [old.id, new.id]
