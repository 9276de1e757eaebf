"""Rules of use and owners of boards over REST: who may set them, what is refused, what is recorded and seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from server.access.permissions import Kind
from server.jobs.dispatch import Dispatch
from tests.support.worlds.api_world import World, latency_spec
from tests.support.worlds.owned_things import OwnedThings

RULES = {
    "users": ["bob"],
    "windows": [{"days": ["sat", "fri"], "start": "22:00", "end": "06:00"}, {"start": "00:00", "end": "24:00"}],
    "time_zone": "Europe/Berlin",
    "max_share_per_day": 0.25,
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnedThings]:
    world = World.open(tmp_path_factory.mktemp("sharing"))
    yield OwnedThings(world)
    world.close()


def put(things: OwnedThings, caller: str, device_id: str, what: str, body: dict[str, Any]) -> Any:
    return things.client(caller).put(f"/api/v1/devices/{device_id}/{what}", json=body)


def test_an_owner_and_an_admin_set_rules_and_nobody_else_does(things: OwnedThings) -> None:
    board = things.make(Kind.DEVICE, "alice")["device_id"]
    before = things.client("bob").get(f"/api/v1/devices/{board}").json()
    assert before["rules"] == {
        "users": None,
        "windows": [],
        "time_zone": "UTC",
        "max_hours_per_day": None,
        "max_share_per_day": None,
    }
    assert put(things, "bob", board, "rules", {}).status_code == 403
    assert put(things, "alice", board, "owner", {"owner": "bob"}).status_code == 403
    assert put(things, "alice", "dev_of_nobody", "rules", {}).status_code in (403, 404)
    made = put(things, "alice", board, "rules", RULES)
    assert made.status_code == 200, made.text
    every_day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    assert made.json()["rules"] == {
        "users": ["bob"],
        "windows": [
            {"days": ["fri", "sat"], "start": "22:00", "end": "06:00"},
            {"days": every_day, "start": "00:00", "end": "24:00"},
        ],
        "time_zone": "Europe/Berlin",
        "max_hours_per_day": None,
        "max_share_per_day": 0.25,
    }
    assert made.json()["version"] == before["version"] + 1
    given = put(things, "root", board, "owner", {"owner": things.principal("bob").id}).json()
    assert (given["owner"]["name"], given["rules"]) == ("bob", made.json()["rules"])
    assert put(things, "alice", board, "rules", {}).status_code == 403
    assert put(things, "bob", board, "rules", {}).json()["rules"] == before["rules"]
    changes = things.client("root").get("/api/v1/changes", params={"subject_id": board, "action": "amend"}).json()
    assert [(one["actor"]["name"], one["members"]) for one in changes["items"]] == [
        ("bob", []),
        ("first admin", ["owner"]),
        ("alice", sorted(RULES)),
    ]


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"users": ["bob", "carl"]}, "/users/1", "no principal has the name or the id 'carl'"),
        ({"users": ["x"] * 65}, "/users", "64"),
        ({"time_zone": "Europe/Berlln"}, "/time_zone", "time zone 'Europe/Berlln' is not known"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone", ""),
        ({"time_zone": "Europe"}, "/time_zone", "time zone 'Europe' is not known"),
        ({"windows": [{"start": "18:00", "end": "18:00"}]}, "/windows/0", "has no length"),
        ({"windows": [{"start": "24:00", "end": "08:00"}]}, "/windows/0/start", ""),
        ({"windows": [{"start": "8:00", "end": "24:01"}]}, "/windows/0/end", ""),
        ({"windows": [{"days": [], "start": "08:00", "end": "09:00"}]}, "/windows/0/days", ""),
        ({"windows": [{"days": ["someday"], "start": "08:00", "end": "09:00"}]}, "/windows/0/days/0", ""),
        ({"windows": [{"start": "08:00", "end": "09:00"}] * 33}, "/windows", "32"),
        ({"max_hours_per_day": 0}, "/max_hours_per_day", ""),
        ({"max_share_per_day": 1.5}, "/max_share_per_day", ""),
        ({"max_hours_per_day": 1, "max_share_per_day": 0.5}, "", "give one of them"),
        ({"owner": "bob"}, "/owner", ""),
    ],
)
def test_what_is_wrong_is_said_where_it_is(things: OwnedThings, body: dict[str, Any], pointer: str, said: str) -> None:
    board = things.make(Kind.DEVICE, "alice")["device_id"]
    refused = put(things, "alice", board, "rules", body)
    assert refused.status_code == 422, refused.text
    errors = refused.json()["errors"]
    assert pointer in [one["pointer"] for one in errors]
    assert said in refused.text
    assert things.client("alice").get(f"/api/v1/devices/{board}").json()["rules"]["users"] is None


def test_closed_boards_are_said_at_admission_in_jobs_and_in_searches(things: OwnedThings) -> None:
    world = things.world
    search = things.client("alice").post("/api/v1/searches", json=latency_spec(1)).json()
    world.step([[0] * 4])
    world.convert_all()
    listed = things.client("root").get("/api/v1/devices", params={"page_size": 200}).json()["items"]
    for board in (one["id"] for one in listed):
        assert put(things, "root", board, "owner", {"owner": "bob"}).status_code == 200
        assert put(things, "root", board, "rules", {"users": []}).status_code == 200
    refused = things.client("alice").post("/api/v1/searches", json=latency_spec(1))
    assert refused.status_code == 422
    assert "may be used for alice" in refused.text
    tried = things.client("alice").post("/api/v1/searches:validate", json=latency_spec(1)).json()
    assert "may be used for alice" in str(tried)
    assert "may be used for" not in things.client("bob").post("/api/v1/searches:validate", json=latency_spec(1)).text
    asked = {
        "architectures": [{"space": latency_spec(1)["space"], "genotype": [1] * 4}],
        "devices": [{"device_type": "rk3588"}],
        "queue_missing": True,
    }
    answers = things.client("alice").post("/api/v1/latencies:query", json=asked)
    assert answers.status_code == 200, answers.text
    assert "may be used for alice" in answers.text
    (job,) = [
        one
        for one in things.client("alice").get("/api/v1/jobs", params={"state": "queued"}).json()["items"]
        if one["search_id"] == search["id"] and one["kind"] == "measure"
    ]
    shown = things.client("alice").get(f"/api/v1/jobs/{job['id']}").json()
    assert (shown["num_takers"], shown["eta_s"]) == (0, None)
    assert "may be used for alice" in shown["waiting_for"]
    waiting = things.client("alice").get(f"/api/v1/searches/{search['id']}").json()["waiting_for"]
    assert waiting == shown["waiting_for"] == world.process.get(Dispatch).search_waits_for(search["id"])
