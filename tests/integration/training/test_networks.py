"""Networks that are trained by themselves over REST; and as the supernets that they were to first-release clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from server.core.ids import IdPrefix, new_id
from server.core.paging import PageRequest
from server.jobs.job import JobQuery
from server.jobs.queue import JobStore
from server.training.networks.network import parse_network_spec
from tests.support.worlds.api_world import World
from tests.support.worlds.owned_things import NETWORK, TRAINING, OwnedThings

API = "/api/v1"


@pytest.fixture
def things(tmp_path: Path) -> Iterator[OwnedThings]:
    world = World.open(tmp_path)
    yield OwnedThings(world)
    world.close()


@pytest.fixture
def client(things: OwnedThings) -> httpx.Client:
    return things.client("alice")


def made(client: httpx.Client, path: str, document: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"{API}/{path}", json=document, follow_redirects=False)
    assert answer.status_code in (201, 202), answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["Location"].partition("?")[0] == f"{API}/networks/{found['id']}"
    assert client.get(answer.headers["Location"]).json()["spec"] == found["spec"]
    return found


def listed(client: httpx.Client, path: str) -> list[str]:
    return [item["id"] for item in client.get(f"{API}/{path}").json()["items"]]


def test_a_network_is_listed_among_networks_and_a_supernet_among_supernets(client: httpx.Client) -> None:
    network = made(client, "networks", NETWORK)
    supernet = client.post(f"{API}/supernets", json=TRAINING).json()
    assert (network["name"], network["spec"]["architecture"]) == ("network", [0] * 4)
    assert "strategy" not in network["spec"]
    assert (listed(client, "networks"), listed(client, "supernets")) == ([network["id"]], [supernet["id"]])
    assert client.get(f"{API}/networks/{supernet['id']}").status_code == 404
    assert client.post(f"{API}/networks/{network['id']}:cancel").json()["state"] == "cancelled"
    assert client.get(f"{API}/networks?state=queued").json()["items"] == []


def test_a_network_is_trained_by_a_job_that_names_it(things: OwnedThings, client: httpx.Client) -> None:
    network = made(client, "networks", NETWORK)
    (job,) = client.get(f"{API}/jobs?kind=train").json()["items"]
    assert (job["network_id"], job["supernet_id"]) == (network["id"], network["id"])
    stored = things.world.process.uow.read(
        lambda tx: JobStore(tx).page_of_jobs(JobQuery(network_id=network["id"]), PageRequest(10)).items
    )
    assert [(one.id, one.supernet_id, one.payload["network_id"]) for one in stored] == [
        (job["id"], None, network["id"])
    ]
    (event,) = client.get(f"{API}/networks/{network['id']}/events").json()["items"]
    assert (event["network_id"], event["supernet_id"]) == (network["id"], network["id"])


def test_weights_of_a_network_that_was_trained_elsewhere_are_taken_in(
    things: OwnedThings, client: httpx.Client
) -> None:
    document = {"spec": NETWORK, "weights_sha256": things.weights.sha256, "statistics": {"test_top1": 0.5}}
    for path in ("networks:register", "supernets:register"):
        network = made(client, path, document)
        assert (network["state"], network["weights_sha256"]) == ("ready", things.weights.sha256)
        assert network["statistics"] == {"test_top1": 0.5}
        (version,) = client.get(f"{API}/supernets/{network['id']}/versions").json()["items"]
        assert (version["id"], version["supernet_id"]) == (network["latest_version_id"], network["id"])
        assert (version["number"], version["weights_sha256"]) == (1, things.weights.sha256)


def test_what_cannot_be_trained_is_refused_with_the_place(client: httpx.Client) -> None:
    for path, slug in (("networks", "invalid-network-spec"), ("supernets", "invalid-supernet-spec")):
        for wrong, pointer in (
            ({"architecture": None}, "/architecture"),
            ({"architecture": [9]}, "/architecture"),
            ({"architecture": [0] * 4, "inherit_from": "supv_none"}, "/inherit_from"),
            ({"architecture": [0] * 4, "dropout": 2}, "/dropout"),
        ):
            # As the first release writes it, the place is that of its own document.
            for place, spec in (("", wrong), ("/strategy", {"strategy": {"kind": "retrain", **wrong}})):
                answer = client.post(f"{API}/{path}", json={**TRAINING, **spec})
                assert answer.status_code == 422
                assert answer.json()["type"].endswith(slug)
                assert [error["pointer"] for error in answer.json()["errors"]] == [f"{place}{pointer}"]
    assert client.post(f"{API}/networks", json=TRAINING).json()["errors"][0]["pointer"] == "/architecture"
    twice = {**NETWORK, "strategy": {"kind": "retrain", "architecture": [0] * 4}}
    (error,) = client.post(f"{API}/networks", json=twice).json()["errors"]
    assert "architecture is given here and in strategy: leave strategy out" in error["detail"]


def test_a_spec_of_the_first_release_is_the_same_network_and_is_read_there_as_it_was_written(
    client: httpx.Client,
) -> None:
    own = {"architecture": [0] * 4, "dropout": 0.1, "formats": ["onnx", "rknn"]}
    first = {**TRAINING, "strategy": {"kind": "retrain", **own}}
    stored = [
        made(client, path, spec)["id"] for path in ("networks", "supernets") for spec in (first, {**TRAINING, **own})
    ]
    specs = [client.get(f"{API}/networks/{id}").json()["spec"] for id in stored]
    assert specs == [specs[0]] * 4
    assert {name: specs[0][name] for name in own} == own
    assert "strategy" not in specs[0]
    for id in stored:
        spec = client.get(f"{API}/supernets/{id}", follow_redirects=False).json()["spec"]
        assert spec["strategy"] == {
            "kind": "retrain",
            "inherit_from": None,
            "num_calibration_batches": 50,
            "rknn_dtype": "fp16",
            "rknn_target": "rk3588",
            **own,
        }
        assert not own.keys() & spec.keys()
        assert parse_network_spec(spec) == parse_network_spec(specs[0])


def test_the_path_of_a_supernet_leads_to_the_network_and_has_its_document_for_those_who_do_not_follow(
    client: httpx.Client,
) -> None:
    network = made(client, "supernets", NETWORK)
    path = f"{API}/supernets/{network['id']}"
    answer = client.get(path, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (308, f"{API}/networks/{network['id']}?as_supernet=true")
    assert client.get(path, follow_redirects=True).json()["spec"] == answer.json()["spec"]
    read = client.get(f"{API}/networks/{network['id']}").json()
    assert answer.json() == network
    assert {**read, "spec": None, "time": None} == {**network, "spec": None, "time": None}
    assert parse_network_spec(read["spec"]) == parse_network_spec(network["spec"])
    assert client.get(f"{path}/models").json()["items"] == client.get(f"{path}/versions").json()["items"] == []
    assert client.get(f"{path}/events").json() == client.get(f"{API}/networks/{network['id']}/events").json()
    cancelled = client.post(f"{path}:cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert client.get(f"{API}/supernets/{new_id(IdPrefix.SUPERNET)}/models").status_code == 404


def test_a_network_of_somebody_elses_is_cancelled_by_neither_path(things: OwnedThings, client: httpx.Client) -> None:
    network = made(client, "networks", NETWORK)
    for path in ("networks", "supernets"):
        assert things.client("bob").post(f"{API}/{path}/{network['id']}:cancel").status_code == 403
    assert client.get(f"{API}/networks/{network['id']}").json()["state"] == "queued"


def test_where_imported_weights_come_from_is_kept_with_the_version(things: OwnedThings, client: httpx.Client) -> None:
    provenance = {"layout": "attentivenas", "licence": "CC-BY-NC 4.0", "file": "alphanet.pth"}
    document = {"spec": TRAINING, "weights_sha256": things.weights.sha256, "statistics": {"loss": 0.5}}
    supernet = client.post(f"{API}/supernets:register", json={**document, "provenance": provenance}).json()
    (version,) = client.get(f"{API}/supernets/{supernet['id']}/versions").json()["items"]
    assert version["statistics"] == {"loss": 0.5, "provenance": provenance}
    for refused in ({"": "x"}, {"file": "x" * 201}, {str(number): "x" for number in range(21)}):
        answer = client.post(f"{API}/supernets:register", json={**document, "provenance": refused})
        assert answer.status_code == 422, refused
