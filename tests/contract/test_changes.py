"""Records of changes on every database: kept with what they tell of, listed, and forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from server.access.changes.change import SERVER, Actor, ActorKind, ChangeAction, ChangeQuery, SubjectKind
from server.access.changes.changes import Changes, Subject, note_change
from server.access.token import Role
from server.core.database.transaction import Transaction
from server.core.paging import PageRequest
from tests.support.worlds.databases import TestDatabase

ALICE = Actor(
    kind=ActorKind.TOKEN,
    id="prin_alice",
    name="ali\u202ece %_\\",
    token_id="tok_01jd3x5w8k2v7m4q9r6t1y0z3a",
    token_name="n" * 200,
    roles=frozenset({Role.ENGINEER, Role.VIEWER}),
)


def note(database: TestDatabase, actor: Actor, subject_id: str, owner_id: str | None = None) -> None:
    subject = Subject("a name that is too long to be one" * 9, owner_id)

    def work(tx: Transaction) -> None:
        note_change(tx, actor, ChangeAction.CANCEL, SubjectKind.SEARCH, subject_id, subject=subject, members=("a", "b"))

    database.uow.write(work)


def test_what_is_noted_is_read_and_pages_meet(database: TestDatabase) -> None:
    for number in range(5):
        note(database, ALICE if number % 2 else SERVER, f"srch_{number}", "prin_bob" if number < 3 else None)
    database.execute("UPDATE changes SET created_at = created_at + 1000 * CAST(SUBSTR(subject_id, 6) AS INTEGER)")
    changes = Changes(database.uow)
    everything = changes.page(ChangeQuery(), PageRequest(50)).items
    assert [one.subject_id for one in everything] == [f"srch_{number}" for number in (4, 3, 2, 1, 0)]
    assert (everything[1].actor, everything[1].members) == (ALICE, ("a", "b"))
    assert len(everything[0].subject_name) == 200
    first = changes.page(ChangeQuery(), PageRequest(2))
    second = changes.page(ChangeQuery(), PageRequest(2, first.next))
    assert first.items + second.items == everything[:4]
    for query, wanted in (
        (ChangeQuery(visible_to="prin_bob"), [2, 1, 0]),
        (ChangeQuery(visible_to="prin_alice"), [3, 1]),
        (ChangeQuery(actor=ALICE.token_id), [3, 1]),
        (ChangeQuery(actor="server", visible_to="prin_bob"), [2, 0]),
        (ChangeQuery(actor_kinds=(ActorKind.SERVER,), subject_id="srch_4"), [4]),
        (ChangeQuery(kinds=(SubjectKind.DEVICE,)), []),
        (ChangeQuery(since=everything[1].created_at, until=everything[0].created_at), [3]),
    ):
        found = changes.page(query, PageRequest(50)).items
        assert [int(one.subject_id.removeprefix("srch_")) for one in found] == wanted, query


def test_a_record_goes_with_its_transaction(database: TestDatabase) -> None:
    def work(tx: Transaction) -> None:
        note_change(tx, SERVER, ChangeAction.CANCEL, SubjectKind.JOB, "job_1")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        database.uow.write(work)
    assert Changes(database.uow).page(ChangeQuery(), PageRequest(5)).items == ()


def test_old_records_are_forgotten_except_those_that_say_which_data_sets_there_are(database: TestDatabase) -> None:
    changes = Changes(database.uow)
    note(database, SERVER, "srch_old")
    changes.note_datasets(("mine", "yours"))
    database.execute("UPDATE changes SET created_at = 1")
    note(database, SERVER, "srch_new")
    assert changes.prune(timedelta(days=365)) == 1
    assert changes.page(ChangeQuery(), PageRequest(5)).items[0].subject_id == "srch_new"
    changes.note_datasets(("mine", "another"))
    changes.note_datasets(("another", "mine"))
    found = changes.page(ChangeQuery(kinds=(SubjectKind.DATASET,)), PageRequest(9)).items
    told = {(one.action.value, one.subject_id) for one in found[:2]}
    assert told == {("register", "another"), ("unregister", "yours")}
    assert len(found) == 4
