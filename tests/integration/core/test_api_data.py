"""Measurements, boards, spaces and artifacts over REST, on a real database."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import Any

import httpx2
import pytest

from nas_engine.domain.measurement import DeviceClass
from nas_engine.spaces.registry import create_space
from server.candidates.candidate import CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.core.database.transaction import Transaction
from server.core.paging import PageRequest
from server.fleet.device import Device
from server.searches.candidate_routes import CandidateContext, candidate_resource
from server.searches.candidate_schemas import CandidateResource
from tests.support.worlds.api_world import NOISY, World, latency_spec

_GENOTYPES = ([0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2])


def _measured(world: World, device: Device, device_type: str) -> str:
    response = world.client().post("/api/v1/searches", json=latency_spec(device={"device_type": device_type}))
    world.step(_GENOTYPES)
    world.convert_all()
    world.measure_all(device)
    world.step(last=True)
    return str(response.json()["id"])


def _items(client: httpx2.Client, path: str, **params: str) -> list[dict[str, Any]]:
    response = client.get(f"/api/v1/{path}", params=params)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


def test_latencies_are_found_by_board_architecture_and_search(world: World, client: httpx2.Client) -> None:
    search_id = _measured(world, world.enrol(), "rk3588")
    everything = _items(client, "measurements")
    assert len(everything) == 3
    one = everything[0]
    assert one["stats"]["p50_us"] > 0
    assert (one["device_type"], one["validity"], one["search_id"]) == ("rk3588", "valid", search_id)
    for name in ("device_type", "device_id", "hardware_key", "latency_key", "arch_id", "search_id", "candidate_id"):
        found = _items(client, "measurements", **{name: one[name]})
        assert one["id"] in {m["id"] for m in found}
        assert _items(client, "measurements", **{name: "other"}) == []
    assert len(_items(client, "measurements", space="spos")) == 3
    assert _items(client, "measurements", since="2999-01-01T00:00:00Z") == []


def test_simulated_latencies_are_shown_only_when_asked_for(world: World, client: httpx2.Client) -> None:
    _measured(world, world.enrol(), "rk3588")
    simulator = world.enrol("sim-1", "rk3588-sim", DeviceClass.SIMULATED)
    _measured(world, simulator, "rk3588-sim")
    assert {m["kind"] for m in _items(client, "measurements")} == {"measured"}
    simulated = _items(client, "measurements", kind="simulated")
    assert {(m["kind"], m["hardware"]["device_class"]) for m in simulated} == {("simulated", "simulated")}


def test_flagged_latencies_can_be_left_out(world: World, client: httpx2.Client) -> None:
    board = world.enrol()
    client.post("/api/v1/searches", json=latency_spec(measurement={"validity_policy": "accept_flagged"}))
    world.step(_GENOTYPES)
    world.convert_all()
    world.measure_all(board, flags=NOISY)
    assert len(_items(client, "measurements", validity="noisy")) == 3
    assert _items(client, "measurements", validity="valid") == []
    assert _items(client, "measurements")[0]["flags"] == [{"validity": "noisy", "reason": "the interval did not close"}]


def test_a_resource_that_is_made_unchecked_is_the_one_that_a_check_makes(world: World, client: httpx2.Client) -> None:
    board = world.enrol()
    client.post("/api/v1/searches", json=latency_spec(measurement={"validity_policy": "accept_flagged"}))
    world.step(_GENOTYPES)
    world.convert_all()
    world.measure_all(board, flags=NOISY)
    search_id = client.get("/api/v1/searches").json()["items"][0]["id"]

    def look(tx: Transaction) -> list[CandidateResource]:
        page = CandidateStore(tx).page_of_candidates(CandidateQuery(search_id=search_id), PageRequest(50))
        known = CandidateContext.of(tx, page.items)
        return [candidate_resource(candidate, known) for candidate in page.items]

    made = world.process.uow.read(look)
    assert len(made) == len(_GENOTYPES)
    for one in made:
        checked = CandidateResource.model_validate_json(one.model_dump_json())
        assert one == checked
        assert one.latency is not None
        values = zip(one.values, checked.values, strict=True)
        for unchecked, other in ((one, checked), (one.latency, checked.latency), *values):
            found = {name: type(value) for name, value in vars(unchecked).items()}
            assert found == {name: type(value) for name, value in vars(other).items()}


def test_a_measurement_shows_environment_and_samples(world: World, client: httpx2.Client) -> None:
    _measured(world, world.enrol(), "rk3588")
    one = _items(client, "measurements")[0]
    detail = client.get(f"/api/v1/measurements/{one['id']}").json()
    assert detail["environment"]["agent_version"] == "test"
    samples = client.get(f"/api/v1/measurements/{one['id']}/samples").json()
    assert sum(len(block["e2e_ns"]) for block in samples["blocks"]) == one["stats"]["count"]
    assert {block["status"] for block in samples["blocks"]} == {"clean"}


@pytest.mark.parametrize(
    ("accept", "media_type"), [("text/csv", "text/csv"), ("application/x-ndjson", "application/x-ndjson")]
)
def test_everything_that_matches_is_exported(world: World, client: httpx2.Client, accept: str, media_type: str) -> None:
    _measured(world, world.enrol(), "rk3588")
    response = client.get("/api/v1/measurements", params={"page_size": 1}, headers={"Accept": accept})
    assert response.headers["content-type"].startswith(accept)
    if accept == "text/csv":
        p50 = [float(row["p50_us"]) for row in csv.DictReader(io.StringIO(response.text))]
    else:
        p50 = [json.loads(line)["stats"]["p50_us"] for line in response.text.splitlines()]
    assert p50 == [m["stats"]["p50_us"] for m in _items(client, "measurements")]


def test_a_format_we_do_not_have_is_not_acceptable(client: httpx2.Client) -> None:
    response = client.get("/api/v1/measurements", headers={"Accept": "application/pdf"})
    assert (response.status_code, response.json()["type"]) == (406, "/problems/not-acceptable")


def test_boards_are_listed_and_steered(world: World, client: httpx2.Client) -> None:
    device = world.enrol()
    world.enrol("bench-2", "jetson")
    assert [d["name"] for d in _items(client, "devices")] == ["bench-1", "bench-2"]
    assert [d["name"] for d in _items(client, "devices", device_type="jetson")] == ["bench-2"]
    path = f"/api/v1/devices/{device.id}"
    drained = client.post(f"{path}:drain", json={"reason": "new fan"}).json()
    assert (drained["state"], drained["reason"]) == ("draining", "new fan")
    assert client.post(f"{path}:resume", json={}).json()["state"] == "active"
    reserved = client.post(f"{path}:reserve", json={"reserved_by": "Ada", "duration_s": 60}).json()
    assert reserved["reserved_by"] == "Ada"
    kinds = {kind["device_type"]: kind for kind in _items(client, "device-types")}
    assert (kinds["rk3588"]["num_online"], kinds["rk3588"]["num_available"]) == (1, 0)
    assert client.post(f"{path}:release").json()["reserved_by"] is None
    labels = client.put(f"{path}/labels", json={"labels": {"rack": "3"}}).json()["labels"]
    assert labels == {"rack": "3"}
    assert [d["id"] for d in _items(client, "devices", label="rack:3")] == [device.id]
    assert client.get(path).json()["utilisation_24h"] == 0.0
    assert client.post(f"{path}:retire", json={}).json()["state"] == "retired"
    refused = client.post(f"{path}:drain", json={})
    assert (refused.status_code, refused.json()["from"]) == (409, "retired")


def test_spaces_decode_published_names_and_genotypes(client: httpx2.Client) -> None:
    assert "spos" in {space["id"] for space in _items(client, "search-spaces")}
    space = client.get("/api/v1/search-spaces/spos").json()
    assert len(space["genes"]) == 20
    body = {"architecture": "spos-searched", "include_layers": True, "include_svg": True}
    named = client.post("/api/v1/search-spaces/spos:decode", json=body).json()
    assert (named["macs"], named["genotype"][:3]) == (322918720, [2, 1, 0])
    assert sum(layer["macs"] for layer in named["layers"]) == named["macs"]
    assert named["svg"].startswith("<svg")
    by_genes = client.post("/api/v1/search-spaces/spos:decode", json={"architecture": named["genotype"]}).json()
    assert by_genes["arch_id"] == named["arch_id"]


def test_what_is_read_otherwise_than_it_says_is_noted(client: httpx2.Client) -> None:
    published = create_space("densenas-mbv2").named["densenas-a"].document
    assert isinstance(published, str)
    contradicting = published.replace("], 1, 2]", "], 7, 2]", 1)
    assert contradicting != published
    decode = "/api/v1/search-spaces/densenas-mbv2:decode"
    noted = client.post(decode, json={"architecture": contradicting}).json()
    plain = client.post(decode, json={"architecture": published}).json()
    assert (noted["arch_id"], plain["note"]) == (plain["arch_id"], None)
    assert "number of stack layers is 7, 1 are listed: the list counts" in noted["note"]


@pytest.mark.parametrize("architecture", ["nobody", [1], [9] * 20, {"a": 1}, None, 7])
def test_an_architecture_of_no_space_is_refused(client: httpx2.Client, architecture: object) -> None:
    response = client.post("/api/v1/search-spaces/spos:decode", json={"architecture": architecture})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-architecture")


def test_an_unknown_space_is_404(client: httpx2.Client) -> None:
    response = client.post("/api/v1/search-spaces/nobody:decode", json={"architecture": [1]})
    assert response.status_code == 404
    assert client.get("/api/v1/search-spaces/nobody").status_code == 404


def test_every_listing_pages(client: httpx2.Client) -> None:
    first = client.get("/api/v1/search-spaces", params={"page_size": 1})
    second = client.get(first.links["next"]["url"])
    both = [first.json()["items"][0]["id"], second.json()["items"][0]["id"]]
    assert both == [space["id"] for space in _items(client, "search-spaces")][:2]


def _put(client: httpx2.Client, content: bytes, digest: str | None = None) -> httpx2.Response:
    sha256 = digest or hashlib.sha256(content).hexdigest()
    headers = {"Content-Type": "application/onnx"}
    return client.put(f"/api/v1/artifacts/{sha256}", content=content, headers=headers)


def test_bytes_are_stored_once_under_their_digest(client: httpx2.Client) -> None:
    content = bytes(range(256)) * 5000
    first, again = _put(client, content), _put(client, content)
    assert (first.status_code, again.status_code) == (201, 200)
    path = first.headers["location"]
    got = client.get(path)
    assert (got.content, got.headers["content-type"]) == (content, "application/onnx")
    assert got.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert client.get(path, headers={"If-None-Match": got.headers["etag"]}).status_code == 304
    assert got.headers["x-content-type-options"] == "nosniff"
    sizes = [a["size_bytes"] for a in _items(client, "artifacts") if got.headers["etag"] == f'"{a["sha256"]}"']
    assert sizes == [len(content)]


@pytest.mark.parametrize(
    ("header", "status", "first", "last"),
    [
        ("bytes=0-0", 206, 0, 0),
        ("bytes=5-", 206, 5, 99),
        ("bytes=90-200", 206, 90, 99),
        ("bytes=-10", 206, 90, 99),
        ("bytes=-1000", 206, 0, 99),
        ("bytes=0-1,3-4", 200, 0, 99),
        ("lines=0-1", 200, 0, 99),
        ("bytes=7-3", 200, 0, 99),
    ],
)
def test_a_range_is_answered(client: httpx2.Client, header: str, status: int, first: int, last: int) -> None:
    content = bytes(range(100))
    path = _put(client, content).headers["location"]
    response = client.get(path, headers={"Range": header})
    assert (response.status_code, response.content) == (status, content[first : last + 1])
    if status == 206:
        assert response.headers["content-range"] == f"bytes {first}-{last}/100"


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=-0", "bytes=999999999999999999-"])
def test_a_range_outside_the_content_is_refused(client: httpx2.Client, header: str) -> None:
    path = _put(client, bytes(100)).headers["location"]
    response = client.get(path, headers={"Range": header})
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */100")


def test_bytes_that_are_not_what_they_claim_are_refused(client: httpx2.Client) -> None:
    claimed = hashlib.sha256(b"this").hexdigest()
    response = _put(client, b"other", claimed)
    assert (response.status_code, response.json()["type"]) == (422, "/problems/digest-mismatch")
    assert claimed not in {artifact["sha256"] for artifact in _items(client, "artifacts")}
