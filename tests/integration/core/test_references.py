"""Names, parts of ids and stand-ins in place of ids: in documents, paths and filters, whatever they name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx2
import pytest

from server.access.token import Role
from tests.support.worlds.api_world import World, latency_spec
from tests.support.worlds.owned_things import MODEL, NETWORK, TRAINING, OwnedThings

API = "/api/v1"


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnedThings]:
    world = World.open(tmp_path_factory.mktemp("references"))
    yield OwnedThings(world)
    world.close()


@pytest.fixture(scope="module")
def client(things: OwnedThings) -> httpx2.Client:
    return things.client("root")


@pytest.fixture(scope="module")
def version(things: OwnedThings, client: httpx2.Client) -> dict[str, str]:
    """A supernet that is ready, and its newest version."""
    body = {"spec": {**TRAINING, "name": "ready-net"}, "weights_sha256": things.weights.sha256[:10]}
    made = client.post(f"{API}/supernets:register", json=body)
    assert made.status_code == 201, made.text
    (only,) = client.get(f"{API}/supernets/ready-net/versions").json()["items"]
    return {"supernet": made.json()["id"], "version": only["id"]}


def inheriting(source: str) -> dict[str, object]:
    return {**NETWORK, "inherit_from": source}


def test_a_network_inherits_from_a_version_however_it_is_named(client: httpx2.Client, version: dict[str, str]) -> None:
    named = ("ready-net", version["supernet"], version["supernet"][-8:], version["version"], version["version"][-10:])
    for source in named:
        made = client.post(f"{API}/networks", json=inheriting(source))
        assert made.status_code == 202, (source, made.text)
        assert made.json()["spec"]["inherit_from"] == version["version"], source
        first = {**TRAINING, "strategy": {"kind": "retrain", "architecture": [0] * 4, "inherit_from": source}}
        made = client.post(f"{API}/supernets", json=first)
        assert made.json()["spec"]["strategy"]["inherit_from"] == version["version"], source
    unknown = client.post(f"{API}/networks", json=inheriting("no-such-net"))
    assert [one["pointer"] for one in unknown.json()["errors"]] == ["/inherit_from"]


def test_a_supernet_without_weights_stands_for_none(client: httpx2.Client) -> None:
    client.post(f"{API}/supernets", json={**TRAINING, "name": "not-yet"})
    refused = client.post(f"{API}/networks", json=inheriting("not-yet"))
    assert refused.status_code == 422, refused.text
    assert [one["pointer"] for one in refused.json()["errors"]] == ["/inherit_from"]
    assert "not-yet" in refused.text


def test_a_study_takes_a_part_of_a_version(client: httpx2.Client, version: dict[str, str]) -> None:
    for source in ("ready-net", version["version"][-8:]):
        body = {"supernet": source, "num_architectures": 2, "training": {"epochs": 1}}
        made = client.post(f"{API}/ranking-studies", json=body)
        assert made.status_code == 202, made.text
        assert made.json()["supernet_version_id"] == version["version"]


def test_enrolment_tokens_are_revoked_by_name_and_no_other_token_is_touched(
    things: OwnedThings, client: httpx2.Client
) -> None:
    things.world.token(Role.VIEWER)
    for path in ("tokens", "enrolment-tokens"):
        body = {"name": "lab", **({"roles": ["viewer"]} if path == "tokens" else {})}
        assert client.post(f"{API}/{path}", json=body).status_code == 201
    assert client.delete(f"{API}/enrolment-tokens/lab").status_code == 204
    revoked = {
        path: [one["revoked_at"] for one in client.get(f"{API}/{path}").json()["items"] if one["name"] == "lab"]
        for path in ("tokens", "enrolment-tokens")
    }
    assert revoked["tokens"] == [None]
    assert revoked["enrolment-tokens"] != [None]


def test_files_are_named_by_the_beginning_of_their_digest(client: httpx2.Client) -> None:
    digest = hashlib.sha256(MODEL).hexdigest()
    for reference in (digest, digest[:8], digest[:12].upper()):
        assert client.get(f"{API}/artifacts/{reference}").content == MODEL, reference
    assert client.get(f"{API}/artifacts/{digest[:2]}").status_code in (404, 422)


def test_owners_are_filtered_by_name_id_and_part_of_it(things: OwnedThings, client: httpx2.Client) -> None:
    alice = things.principal("alice")
    made = things.client("alice").post(f"{API}/searches", json=latency_spec(2, name="of-alice"))
    assert made.status_code == 202, made.text
    for reference in (alice.name, alice.id, alice.id[-8:]):
        found = client.get(f"{API}/searches", params={"owner": reference}).json()["items"]
        assert [one["name"] for one in found] == ["of-alice"], reference
    assert client.get(f"{API}/searches", params={"owner": "nobody-here"}).json()["items"] == []
