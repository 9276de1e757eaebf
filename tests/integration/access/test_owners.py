"""Owners over REST: shown, filtered by, and the same whichever of a principal's tokens is used."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.access.permissions import Kind
from server.access.token import Role
from server.access.tokens import Tokens
from tests.support.worlds.api_world import World, cheap_spec
from tests.support.worlds.owned_things import OwnedThings

COLLECTIONS = {
    Kind.SEARCH: "searches",
    Kind.SUPERNET: "supernets",
    Kind.STUDY: "ranking-studies",
    Kind.TABLE: "latency-tables",
    Kind.REPORT: "latency-tables/{table_id}/reports",
    Kind.JOB: "jobs",
    Kind.DEVICE: "devices",
}


@pytest.fixture(scope="module")
def things(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnedThings]:
    folder = tmp_path_factory.mktemp("owners")
    shutil.copy(migrated_sqlite, folder / "hilnas.sqlite3")
    world = World.open(folder)
    yield OwnedThings(world)
    world.close()


@pytest.mark.parametrize("kind", COLLECTIONS, ids=lambda kind: kind.value)
def test_a_things_owner_is_shown_and_its_list_is_filtered_by_it(things: OwnedThings, kind: Kind) -> None:
    made = {owner: things.make(kind, owner) for owner in ("alice", "bob")}
    for owner, given in made.items():
        path, principal = f"/api/v1/{COLLECTIONS[kind].format(**given)}", things.principal(owner)
        id = list(given.values())[-1]
        shown = things.client("vic").get(f"{path}/{id}").json()
        assert shown["owner"] == {"id": principal.id, "name": owner}
        for wanted in (owner, principal.id):
            items = things.client("vic").get(path, params={"owner": wanted, "page_size": 1000}).json()["items"]
            assert id in {item["id"] for item in items}
            assert {item["owner"]["name"] for item in items} == {owner}
    assert things.client("vic").get(path, params={"owner": "nobody"}).json()["items"] == []


def test_an_artifact_is_its_first_uploaders(things: OwnedThings) -> None:
    content = b"weights of somebody's"
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"/api/v1/artifacts/{sha256}"
    first = things.client("alice").put(path, content=content)
    again = things.client("bob").put(path, content=content)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["owner"] == again.json()["owner"] == {"id": things.principal("alice").id, "name": "alice"}
    listed = things.client("bob").get("/api/v1/artifacts", params={"owner": "alice"}).json()["items"]
    assert sha256 in {item["sha256"] for item in listed}


def test_tokens_show_their_principals_and_enrolment_tokens_their_makers(things: OwnedThings) -> None:
    chief = things.client("chief")
    made = chief.post("/api/v1/tokens", json={"name": "nightly", "roles": ["engineer"], "principal": "alice"}).json()
    assert made["owner"] == {"id": things.principal("alice").id, "name": "alice"}
    listed = chief.get("/api/v1/tokens", params={"owner": "alice"}).json()["items"]
    assert [one["name"] for one in listed] == ["alice", "nightly"]
    lab = chief.post("/api/v1/enrolment-tokens", json={"name": "lab"}).json()
    assert lab["owner"]["name"] == "chief"
    mine = chief.get("/api/v1/enrolment-tokens", params={"owner": "chief"}).json()["items"]
    assert lab["id"] in {one["id"] for one in mine}
    assert {one["owner"]["name"] for one in mine} == {"chief"}


def test_an_admin_lists_every_principal_page_by_page(things: OwnedThings) -> None:
    chief = things.client("chief")
    first = chief.get("/api/v1/principals?page_size=2").json()
    assert len(first["items"]) == 2
    rest = chief.get("/api/v1/principals", params={"page_token": first["next_page_token"]}).json()["items"]
    found = {one["name"]: one for one in (*first["items"], *rest)}
    assert set(found) >= {"alice", "bob", "vic", "machine", "chief"}
    alice = things.principal("alice")
    assert found["alice"]["id"] == alice.id
    assert {one["owner"]["id"] for one in chief.get(f"/api/v1/tokens?owner={alice.id}").json()["items"]} == {alice.id}


def test_an_admin_weighs_a_principal_by_its_name_within_bounds(things: OwnedThings) -> None:
    chief, alice = things.client("chief"), things.principal("alice")
    assert chief.get(f"/api/v1/principals/{alice.id}").json()["weight"] == 1.0
    weighed = chief.patch("/api/v1/principals/alice", json={"weight": 2.5})
    assert weighed.json() == chief.get(f"/api/v1/principals/{alice.id}").json()
    assert (weighed.status_code, weighed.json()["id"], weighed.json()["weight"]) == (200, alice.id, 2.5)
    for body in ({"weight": 0.09}, {"weight": 100.1}, {"weight": None}, {}):
        assert chief.patch(f"/api/v1/principals/{alice.id}", json=body).status_code == 422
    assert things.client("alice").patch(f"/api/v1/principals/{alice.id}", json={"weight": 9}).status_code == 403
    assert chief.patch("/api/v1/principals/prin_nobody", json={"weight": 1}).status_code == 404
    assert chief.get("/api/v1/principals/alice").json()["weight"] == 2.5
    chief.patch("/api/v1/principals/alice", json={"weight": 1.0})


def test_any_token_of_a_principal_steers_what_another_of_them_made(things: OwnedThings) -> None:
    tokens = things.world.process.get(Tokens)
    secrets = [tokens.create(f"ada's {n}", [Role.ENGINEER], principal="ada")[1] for n in ("laptop", "pipeline")]
    laptop, pipeline = map(things.world.client, secrets)
    search = laptop.post("/api/v1/searches", json=cheap_spec()).json()
    cancelled = pipeline.post(f"/api/v1/searches/{search['id']}:cancel")
    assert cancelled.status_code == 202
    assert cancelled.json()["owner"] == search["owner"]
    assert cancelled.json()["created_by"] == search["created_by"]


def test_what_a_revoked_token_made_stays_its_principals(things: OwnedThings) -> None:
    tokens = things.world.process.get(Tokens)
    old, secret = tokens.create("grace's first", [Role.ENGINEER], principal="grace")
    search = things.world.client(secret).post("/api/v1/searches", json=cheap_spec()).json()
    tokens.revoke(old.id)
    new = things.world.client(tokens.create("grace's second", [Role.ENGINEER], principal="grace")[1])
    assert new.post(f"/api/v1/searches/{search['id']}:pause").status_code == 202


def test_a_key_of_somebody_elses_replays_nothing(things: OwnedThings) -> None:
    key = {"Idempotency-Key": "the-same"}
    first, second = (
        things.client(who).post("/api/v1/searches", json=cheap_spec(), headers=key) for who in ("alice", "bob")
    )
    assert first.json()["id"] != second.json()["id"]
    assert second.json()["owner"]["name"] == "bob"
