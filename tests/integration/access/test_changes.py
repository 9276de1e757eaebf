"""Who did what: every route that changes something leaves one record in its transaction, and nothing else does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from server.access.changes.change import ActorKind, ChangeAction, SubjectKind
from server.access.changes.recorded import RECORDED, UNRECORDED, check_recorded
from server.access.permissions import POLICY, Kind, Rule
from server.bootstrap.schema import metadata
from server.core.database.transaction import Transaction
from server.fleet.device import DeviceState
from server.fleet.lifecycle import move_device
from server.fleet.store import DeviceStore
from tests.support.worlds.api_world import ADMIN, SMALL_SPACE, World, cheap_spec
from tests.support.worlds.owned_things import OwnedThings
from tests.support.worlds.policy_requests import ask, routes

REFUSED = {
    "export_candidate": 409,  # its search has no supernet
    "create_cost_report": 422,  # of a table that is not measured whole
    "create_what_if": 422,  # of a search that runs; `test_what_ifs` has those that are made
    "measure_next_of_what_if": 409,  # it has not been measured yet
}
"""Routes that these things are not fit for: what is refused changes nothing, and has no record."""
READS = frozenset({"query_latencies"})
"""Routes that change something only where their request says so, which those of the table do not."""
LEASES = frozenset({"ask_trials", "renew_trial"})
"""Routes that lend, which is no change: the only ones without a record that write."""
APART = frozenset({"changes", "idempotency_keys", "sessions", "uploads", "wake_counts"})
"""Tables in which a request leaves traces without changing a thing."""
RULES = [rule for rule in POLICY if any(name in RECORDED or name in UNRECORDED for name in rule.operations)]


@pytest.fixture(scope="module")
def things(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnedThings]:
    folder = tmp_path_factory.mktemp("changes")
    shutil.copy(migrated_sqlite, folder / "hilnas.sqlite3")
    world = World.open(folder)
    yield OwnedThings(world)
    world.close()


@pytest.fixture(scope="module")
def ids(things: OwnedThings) -> Mapping[str, str]:
    """Ids of things of alice's, by path parameter."""
    return {
        **things.measured_search("alice"),
        **things.make(Kind.TABLE, "alice"),
        "supernet_id": things.registered("alice"),
        "principal_id": things.principal("vic").id,
        "sha256": things.weights.sha256,
        "space_id": "spos",
    }


class Watched:
    """What the database holds just before and just after the request of a caller, set-up left aside."""

    def __init__(self, things: OwnedThings, caller: str) -> None:
        self._engine = things.world.process.engine
        self._client = things.client(caller)
        self.before: frozenset[str] = frozenset()
        self.after: frozenset[str] = frozenset()

    def __enter__(self) -> Watched:
        self._client.event_hooks = {"request": [self._look_before], "response": [self._look_after]}
        return self

    def __exit__(self, *_: object) -> None:
        self._client.event_hooks = {"request": [], "response": []}

    def _look_before(self, _: httpx2.Request) -> None:
        self.before = self._rows()

    def _look_after(self, _: httpx2.Response) -> None:
        self.after = self._rows()

    def _rows(self) -> frozenset[str]:
        tables = [table for name, table in metadata.tables.items() if name not in APART]
        with self._engine.connect() as connection:
            return frozenset(f"{one.name} {row}" for one in tables for row in connection.execute(sa.select(one)).all())


def listed(things: OwnedThings, caller: str = "root", **params: Any) -> list[dict[str, Any]]:
    answer = things.client(caller).get("/api/v1/changes", params={"page_size": 1000, **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def given_for(things: OwnedThings, rule: Rule, operation: str, ids: Mapping[str, str]) -> Mapping[str, str]:
    """What a request of a route is about: something fresh where the request would end it."""
    if operation in ("revoke_token", "revoke_enrolment_token"):
        of_people = operation == "revoke_token"
        body: dict[str, Any] = {"name": "to be revoked", **({"roles": ["viewer"]} if of_people else {})}
        path = "tokens" if of_people else "enrolment-tokens"
        made = things.client("root").post(f"/api/v1/{path}", json=body).json()
        return {"token_id": made["id"], "enrolment_token_id": made["id"]}
    if operation == "unretire_device":
        device_id = things.device("alice").id
        things.client("root").post(f"/api/v1/devices/{device_id}:retire")
        return {"device_id": device_id}
    return ids


def test_every_route_that_is_not_read_only_is_named_once(things: OwnedThings) -> None:
    unsafe = {name for name, (method, _) in routes(things.world).items() if method != "GET"}
    assert unsafe == set(RECORDED) | set(UNRECORDED)
    assert not set(RECORDED) & set(UNRECORDED)
    assert all(UNRECORDED.values()), "say why nothing is recorded"


def test_a_route_that_could_forget_its_record_does_not_start() -> None:
    with pytest.raises(LookupError, match="steal_search"):
        check_recorded([], ["steal_search"])
    with pytest.raises(LookupError, match="pause_search: take PermittedOnce"):
        check_recorded(["cancel_search"], ["cancel_search", "pause_search"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind.value}, {rule.action.value}")
def test_what_changes_something_leaves_one_record_and_nothing_else_does(
    things: OwnedThings, ids: Mapping[str, str], rule: Rule
) -> None:
    operations = [name for name in rule.operations if name in RECORDED or name in UNRECORDED]
    owned = {**ids, **things.make(rule.kind, "alice")} if rule.subject else {**ids, "device_id": things.board.id}
    for operation in operations:
        if operation in ("sign_in", "sign_out"):
            continue
        given = given_for(things, rule, operation, owned)
        known = {one["id"] for one in listed(things, actor="chief")}
        with Watched(things, "chief") as watched:
            answer = ask(things, operation, "chief", given)
        new = [one for one in listed(things, actor="chief") if one["id"] not in known]
        if operation in REFUSED:
            assert answer.status_code == REFUSED[operation], (operation, answer.text)
            assert (new, watched.after) == ([], watched.before), operation
            continue
        assert answer.is_success, (operation, answer.text)
        if operation in UNRECORDED or operation in READS:
            assert new == [], operation
            assert watched.after == watched.before or operation in LEASES, operation
            continue
        assert len(new) == 1, (operation, new)
        recorded = RECORDED[operation]
        assert (new[0]["action"], new[0]["kind"]) == (recorded.action.value, recorded.kind.value), operation
        assert new[0]["actor"] == {
            "kind": "token",
            "id": things.principal("chief").id,
            "name": "chief",
            "token_id": things.tokens["chief"].id,
            "token_name": "chief",
            "roles": ["admin"],
        }
        if recorded.subject in given:
            assert new[0]["subject_id"] == given[recorded.subject] or operation == "put_artifact", operation
        elif operation != "scrub_artifacts":
            assert new[0]["subject_id"] == answer.json()["id"], operation


def test_a_question_that_queues_what_is_missing_is_recorded(things: OwnedThings) -> None:
    things.device("alice")
    body: dict[str, Any] = {
        "architectures": [{"space": SMALL_SPACE, "genotype": [1] * 4}, {"space": SMALL_SPACE, "genotype": [2] * 4}],
        "devices": [{"device_type": "rk3588"}],
        "queue_missing": True,
    }
    before = len(listed(things))
    for num in (2, 1):
        asked = {**body, "architectures": body["architectures"][:num]}
        answer = things.client("alice").post("/api/v1/latencies:query", json=asked)
        assert answer.status_code == 200, answer.text
        assert all(one["job_id"] for one in answer.json()["answers"]), answer.text
    one, several = listed(things)[:2]
    assert len(listed(things)) == before + 2
    assert (several["action"], several["kind"], several["subject_id"]) == ("measure", "job", "")
    assert one["subject_id"] == answer.json()["answers"][0]["job_id"]


def test_what_is_refused_and_what_is_sent_again_has_no_record_of_its_own(things: OwnedThings) -> None:
    alice, before = things.client("alice"), len(listed(things))
    key = {"Idempotency-Key": "the-same-search"}
    made = [alice.post("/api/v1/searches", json=cheap_spec(name="once"), headers=key) for _ in range(3)]
    assert len({one.json()["id"] for one in made}) == 1
    wrong = alice.post("/api/v1/searches", json={**cheap_spec(), "budget": {"num_candidates": -1}})
    path = f"/api/v1/searches/{made[0].json()['id']}"
    stale = alice.patch(path, json={"priority": -1}, headers={"If-Match": '"v99"'})
    foreign = things.client("bob").post(f"{path}:cancel")
    assert (wrong.status_code, stale.status_code, foreign.status_code) == (422, 412, 403)
    assert len(listed(things)) == before + 1


def test_a_change_that_is_rolled_back_takes_its_record_along(things: OwnedThings) -> None:
    before = len(listed(things))
    uow, board = things.world.process.uow, things.device("alice")

    def work(tx: Transaction) -> None:
        move_device(tx, DeviceStore(tx).lock_device(board.id), DeviceState.QUARANTINED, "it failed")
        raise RuntimeError("the transaction fails")

    with pytest.raises(RuntimeError, match="the transaction fails"):
        uow.write(work)
    assert [one["action"] for one in listed(things, subject_id=board.id)] == ["enrol"]
    assert len(listed(things)) == before + 1


def test_an_amendment_names_its_members_and_keeps_no_value(things: OwnedThings) -> None:
    search_id = things.make(Kind.SEARCH, "alice")["search_id"]
    secret = "hunter2-of-a-label"
    body = {"labels": {"note": secret}, "priority": -3}
    assert things.client("alice").patch(f"/api/v1/searches/{search_id}", json=body).status_code == 200
    (amended, created) = listed(things, subject_id=search_id)
    assert (amended["action"], amended["members"]) == ("amend", ["labels", "priority"])
    assert (created["action"], created["members"], created["owner_id"]) == ("create", [], things.principal("alice").id)
    made = things.client("root").post("/api/v1/tokens", json={"name": "a secret one", "roles": ["viewer"]}).json()
    with things.world.process.engine.connect() as connection:
        stored = str(connection.execute(sa.select(metadata.tables["changes"])).all())
    assert made["id"] in stored
    assert secret not in stored
    assert made["secret"] not in stored
    assert ADMIN not in stored


def test_owners_see_what_is_theirs_and_what_they_did_and_admins_all(things: OwnedThings) -> None:
    mine = things.make(Kind.SEARCH, "alice")["search_id"]
    things.client("chief").post(f"/api/v1/searches/{mine}:cancel")
    board = things.device("root").id
    things.client("alice").post(f"/api/v1/devices/{board}:drain")
    assert [one["actor"]["name"] for one in listed(things, "alice", subject_id=mine)] == ["chief", "alice"]
    assert [one["action"] for one in listed(things, "alice", subject_id=board)] == ["drain"]
    assert listed(things, "bob", subject_id=mine) == listed(things, "vic", subject_id=board) == []
    assert [one["action"] for one in listed(things, "root", subject_id=board)] == ["drain", "enrol"]
    assert things.client("machine").get("/api/v1/changes").status_code == 403
    assert things.client("anonymous").get("/api/v1/changes").status_code == 401
    assert {one["actor"]["name"] for one in listed(things, "bob")} <= {"bob", "root", "chief"}


def test_changes_are_filtered_and_come_page_by_page_newest_first(things: OwnedThings) -> None:
    ids = [things.make(Kind.SEARCH, "bob")["search_id"] for _ in range(3)]
    things.client("bob").post(f"/api/v1/searches/{ids[0]}:cancel")
    of_bob: dict[str, Any] = {"kind": "search", "actor": "bob"}
    assert [one["subject_id"] for one in listed(things, **of_bob, action="create")][:3] == ids[::-1]
    assert [one["subject_id"] for one in listed(things, **of_bob, action="cancel")] == [ids[0]]
    assert listed(things, actor=things.tokens["bob"].id) == listed(things, actor="bob")
    assert listed(things, actor=things.principal("bob").id, actor_kind="token") == listed(things, actor="bob")
    everything = listed(things)
    seen: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        params: dict[str, Any] = {"page_size": 7, **({} if token is None else {"page_token": token})}
        page = things.client("root").get("/api/v1/changes", params=params).json()
        seen += page["items"]
        if (token := page["next_page_token"]) is None:
            break
    assert seen == everything
    times = [one["created_at"] for one in everything]
    assert times == sorted(times, reverse=True)
    middle = everything[len(everything) // 2]["created_at"]
    assert listed(things, since=middle) == [one for one in everything if one["created_at"] >= middle]
    assert listed(things, until=middle) == [one for one in everything if one["created_at"] < middle]
    for wrong in ({"kind": "secret"}, {"since": "1700000000"}, {"action": "steal"}):
        assert things.client("root").get("/api/v1/changes", params=wrong).status_code == 422


def test_a_principals_name_may_be_anything_that_a_name_may_be(things: OwnedThings) -> None:
    name = "\u202eevil<script>%_'\"\u05d0".ljust(200, "x")
    made = things.client("root").post("/api/v1/tokens", json={"name": name, "roles": ["engineer"]})
    assert made.status_code == 201, made.text
    client = things.world.client(made.json()["secret"])
    assert client.post("/api/v1/searches", json=cheap_spec(name=name)).status_code == 202
    (own,) = listed(things, actor=name)
    assert (own["actor"]["name"], own["actor"]["token_name"], own["subject_name"]) == (name, name, name)
    assert things.client("root").get("/api/v1/changes", params={"actor": "a\x00b"}).status_code == 422
    assert listed(things, subject_id="%") == []


def test_the_server_and_boards_that_enrol_are_actors_too(things: OwnedThings) -> None:
    board = things.device("alice")
    uow = things.world.process.uow
    uow.write(lambda tx: move_device(tx, DeviceStore(tx).lock_device(board.id), DeviceState.QUARANTINED, "5 failures"))
    held_back, enrolled = listed(things, subject_id=board.id)
    assert (held_back["actor"]["kind"], held_back["action"], held_back["reason"]) == (
        ActorKind.SERVER.value,
        ChangeAction.QUARANTINE.value,
        "5 failures",
    )
    assert held_back["owner_id"] == things.principal("alice").id
    assert enrolled["actor"]["kind"] == ActorKind.ENROLMENT_TOKEN.value
    assert enrolled["actor"]["id"].startswith("enr_")
    first = listed(things, actor="server", action="create")
    assert {one["kind"] for one in first} == {SubjectKind.TOKEN.value, SubjectKind.ENROLMENT.value}


def test_without_authentication_the_actor_is_anonymous(tmp_path: Path) -> None:
    world = World.open(tmp_path, auth=False)
    client = world.client(None)
    search_id = client.post("/api/v1/searches", json=cheap_spec()).json()["id"]
    (made,) = client.get("/api/v1/changes", params={"actor": "anonymous"}).json()["items"]
    assert (made["actor"]["kind"], made["actor"]["token_id"], made["owner_id"]) == ("anonymous", None, None)
    assert made["subject_id"] == search_id
    world.close()
