"""Amending and cloning over REST and by the SDK: what is answered, who is named, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.access.token import Role
from tests.support.worlds.api_world import World, cheap_spec, latency_spec


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(world: World) -> httpx2.Client:
    return world.client()


def started(world: World, client: httpx2.Client, spec: dict[str, Any] | None = None) -> str:
    answer = client.post("/api/v1/searches", json=spec or cheap_spec(10))
    assert answer.status_code == 202, answer.text
    world.step([[0] * 4, [1, 1, 1, 2]])
    return f"/api/v1/searches/{answer.json()['id']}"


def test_an_amendment_is_in_the_document_and_in_the_list_with_who_and_when(world: World, client: httpx2.Client) -> None:
    search = started(world, client)
    before = client.get(search)
    assert before.json()["launched_spec"] is None
    patch = {
        "budget": {"num_candidates": 20},
        "constraints": [{"metric": "macs", "maximum": 1e8}],
        "stop": {"wall_time_s": 60, "target": [{"metric": "macs", "maximum": 2e7}]},
    }
    answer = client.post(f"{search}:amend", json=patch, headers={"If-Match": before.headers["etag"]})
    assert answer.status_code == 200, answer.text
    after = client.get(search).json()
    assert after["spec"]["budget"] == {"num_candidates": 20}
    assert after["progress"]["num_candidates"] == 20
    assert after["spec"]["stop"]["wall_time_s"] == 60
    assert after["launched_spec"] == before.json()["spec"]
    (one,) = client.get(f"{search}/amendments").json()["items"]
    assert (one["seq"], one["step_seq"], one["search_id"]) == (1, 1, after["id"])
    assert one["principal"]["name"]
    assert one["amended_by"].startswith("tok_")
    assert one["amended_at"] >= before.json()["created_at"]
    changed = {change["pointer"]: (change["old"], change["new"]) for change in one["changes"]}
    assert changed["/budget/num_candidates"] == (10, 20)
    assert changed["/constraints"] == ([], after["spec"]["constraints"])
    stale = client.post(f"{search}:amend", json={"priority": -1}, headers={"If-Match": before.headers["etag"]})
    assert stale.status_code == 412
    assert client.patch(search, json={"num_candidates": 30}).status_code == 200
    assert [one["seq"] for one in client.get(f"{search}/amendments").json()["items"]] == [2, 1]


@pytest.mark.parametrize(
    ("patch", "pointer", "message"),
    [
        ({"seed": 1}, "/seed", "clone the search"),
        ({"budget": {"num_candidates": 1}}, "/budget/num_candidates", "2 candidates were asked already"),
        ({"constraints": [{"metric": "latency_us", "maximum": 9}]}, "/constraints/0/metric", "no value of latency_us"),
        ({"constraints": [{"metric": "macs", "maximum": 9}]}, "/constraints/0/maximum", "the feasible range is"),
        ({"stop": {"board_time_s": "1 h"}}, "/stop/board_time_s", "number"),
        ({"stop": {"target": [{"metric": "macs", "maximum": 9}]}}, "/stop/target/0/maximum", "the feasible range is"),
        ([1], "", "an object of its members"),
    ],
)
def test_what_cannot_be_amended_is_refused_with_its_place(
    world: World, client: httpx2.Client, patch: Any, pointer: str, message: str
) -> None:
    search = started(world, client)
    answer = client.post(f"{search}:amend", json=patch)
    assert answer.status_code == 422, answer.text
    found = answer.json()["errors"]
    assert any(one.get("pointer", "") == pointer and message in one["detail"] for one in found), found
    assert client.get(f"{search}/amendments").json()["items"] == []


def test_an_ended_search_is_not_amended_and_says_what_to_do(world: World, client: httpx2.Client) -> None:
    search = started(world, client)
    world.step(last=True)
    answer = client.post(f"{search}:amend", json={"budget": {"num_candidates": 20}})
    assert answer.status_code == 409
    assert ":clone" in answer.json()["detail"]
    assert "warm_start.search" in answer.json()["detail"]


def test_others_may_clone_a_search_and_not_amend_it(world: World, client: httpx2.Client) -> None:
    search = started(world, client)
    other = world.client(world.token(Role.ENGINEER))
    assert other.post(f"{search}:amend", json={"budget": {"num_candidates": 20}}).status_code == 403
    cloned = other.post(f"{search}:clone", json={})
    assert cloned.status_code == 202, cloned.text
    assert cloned.json()["owner"]["name"] != client.get(search).json()["owner"]["name"]
    own = f"/api/v1/searches/{cloned.json()['id']}"
    assert other.post(f"{own}:amend", json={"priority": 5}).status_code == 403
    assert other.get(own).json()["spec"]["priority"] == 0


def test_a_clone_is_launched_with_the_changes_of_a_merge_patch(world: World, client: httpx2.Client) -> None:
    spec = cheap_spec(10, constraints=[{"metric": "macs", "maximum": 1e8}], labels={"team": "vision", "run": "1"})
    search = started(world, client, spec)
    client.post(f"{search}:amend", json={"budget": {"num_candidates": 20}})
    patch = {"seed": 7, "labels": {"run": "2", "team": None}, "constraints": None, "algorithm": {"kind": "nsga2"}}
    answer = client.post(f"{search}:clone", json=patch, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 202, answer.text
    clone = answer.json()
    assert answer.headers["location"] == f"/api/v1/searches/{clone['id']}"
    assert clone["cloned_from"] == search.rsplit("/", 1)[1]
    assert client.get(answer.headers["location"]).json()["cloned_from"] == clone["cloned_from"]
    spec = clone["spec"]
    assert (spec["seed"], spec["labels"], spec["constraints"]) == (7, {"run": "2"}, [])
    assert (spec["budget"], spec["algorithm"]["kind"]) == ({"num_candidates": 20}, "nsga2")
    again = client.post(f"{search}:clone", json=patch, headers={"Idempotency-Key": "k1"})
    assert again.json()["id"] == clone["id"]
    launched = client.post(f"{search}:clone?as_launched=true", json={}).json()
    assert launched["spec"] == client.get(search).json()["launched_spec"]
    refused = client.post(f"{search}:clone", json={"budget": None, "sead": 1})
    assert refused.status_code == 422
    assert {one["pointer"] for one in refused.json()["errors"]} == {"/budget", "/sead"}


def test_a_search_that_is_over_is_cloned(world: World, client: httpx2.Client) -> None:
    search = started(world, client)
    world.step(last=True)
    clone = client.post(f"{search}:clone", json={"warm_start": {"search": search.rsplit("/", 1)[1]}})
    assert clone.status_code == 202, clone.text
    assert clone.json()["state"] == "running"


def test_the_page_shows_rules_amendments_and_what_it_was_cloned_from(world: World, client: httpx2.Client) -> None:
    search = started(world, client, cheap_spec(10, stop={"wall_time_s": 3600}))
    client.post(f"{search}:amend", json={"budget": {"num_candidates": 20}})
    clone = client.post(f"{search}:clone", json={}).json()
    browser = world.client(None)
    browser.cookies.set("hilnas_session", world.session())
    shown = browser.get(f"/searches/{search.rsplit('/', 1)[1]}").text
    assert "/budget/num_candidates" in shown
    assert "Spec as amended" in shown
    assert f'href="/searches/{clone["cloned_from"]}"' in browser.get(f"/searches/{clone['id']}").text


def test_front_and_answer_follow_amended_constraints_before_the_next_step(world: World, client: httpx2.Client) -> None:
    board = world.enrol()
    search = started(world, client, latency_spec(10))
    world.convert_all()
    assert world.measure_all(board) == 2
    latencies = [one["values"][0] for one in client.get(f"{search}/front?include_dominated=true").json()["points"]]
    latencies += [1000.0, 1010.0]
    limit = 1005.0
    answer = client.post(f"{search}:amend", json={"constraints": [{"metric": "latency_us", "maximum": limit}]})
    assert answer.status_code == 200, answer.text
    front = client.get(f"{search}/front").json()
    assert front["num_feasible"] == 1
    assert all(point["values"][0] <= limit for point in front["points"])
    assert client.get(search).json()["progress"]["front_size"] == len(front["points"])
