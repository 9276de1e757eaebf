"""Searches over REST, on a real database: started once, followed, steered, and shown with their front."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass
from tests.support.worlds.api_world import NOISY, SMALL_PARAMETERS, World, cheap_spec, latency_spec

_THREE = ([0, 0, 0, 0], [1, 1, 1, 1], [3, 3, 3, 3])


def _created(client: httpx2.Client, spec: dict[str, JsonValue]) -> str:
    response = client.post("/api/v1/searches", json=spec)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def _problem(response: httpx2.Response, status: int, slug: str) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["type"] == f"/problems/{slug}"
    return document


def test_a_search_is_accepted_with_its_place(client: httpx2.Client) -> None:
    response = client.post("/api/v1/searches", json=cheap_spec())
    assert response.status_code == 202
    body = response.json()
    assert response.headers["location"] == f"/api/v1/searches/{body['id']}"
    assert (body["state"], body["progress"]["num_candidates"]) == ("running", 3)
    later = client.get(response.headers["location"]).json()
    assert later.pop("waiting_for").startswith("no worker is running")  # looked up when it is asked for
    body.pop("waiting_for")
    assert later.pop("time")["elapsed_s"] >= 0.0
    body.pop("time")
    assert later == body


def test_one_key_starts_one_search(client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "3f1"}
    first = client.post("/api/v1/searches", json=cheap_spec(), headers=headers)
    again = client.post("/api/v1/searches", json=cheap_spec(), headers=headers)
    assert again.json() == first.json()
    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(client.get("/api/v1/searches").json()["items"]) == 1


def test_a_key_belongs_to_one_request(client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "3f1"}
    client.post("/api/v1/searches", json=cheap_spec(), headers=headers)
    other = client.post("/api/v1/searches", json=cheap_spec(seed=1), headers=headers)
    _problem(other, 422, "idempotency-key-reused")


def test_a_refused_request_may_be_corrected_under_its_key(client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "3f1"}
    _problem(client.post("/api/v1/searches", json=latency_spec(), headers=headers), 422, "invalid-search-spec")
    assert client.post("/api/v1/searches", json=cheap_spec(), headers=headers).status_code == 202


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä".encode()])
def test_a_key_that_cannot_be_one_is_refused(client: httpx2.Client, key: str | bytes) -> None:
    headers = [(b"Idempotency-Key", key if isinstance(key, bytes) else key.encode())]
    response = client.post("/api/v1/searches", json=cheap_spec(), headers=headers)
    _problem(response, 400, "idempotency-key-invalid")


def test_every_wrong_place_of_a_spec_is_named(client: httpx2.Client) -> None:
    spec = cheap_spec(budget={"num_candidates": 0}, objectives=[{"metric": "speed"}], unknown=1)
    problem = _problem(client.post("/api/v1/searches", json=spec), 422, "invalid-search-spec")
    assert {error["pointer"] for error in problem["errors"]} == {
        "/budget/num_candidates",
        "/objectives/0/metric",
        "/unknown",
    }


def test_an_impossible_constraint_is_refused_with_the_feasible_range(client: httpx2.Client) -> None:
    spec = cheap_spec(constraints=[{"metric": "macs", "maximum": 10}])
    problem = _problem(client.post("/api/v1/searches", json=spec), 422, "invalid-search-spec")
    (error,) = problem["errors"]
    assert error["pointer"] == "/constraints/0/maximum"
    assert 10 < error["feasible_minimum"] < error["feasible_maximum"]


def test_a_device_type_that_never_registered_is_refused(client: httpx2.Client) -> None:
    problem = _problem(client.post("/api/v1/searches", json=latency_spec()), 422, "invalid-search-spec")
    assert "no device of type 'rk3588' ever registered" in str(problem["detail"])


@pytest.mark.parametrize(
    ("content", "content_type", "status", "slug"),
    [
        (b"{", "application/json", 400, "malformed-request"),
        (b'{"seed": NaN}', "application/json", 400, "malformed-request"),
        (b'{"name": "\\ud800"}', "application/json", 400, "malformed-request"),
        (b'{"name": "a\\u0000b"}', "application/json", 400, "malformed-request"),
        (b"\xff", "application/json", 400, "malformed-request"),
        (b"[" * 100_000, "application/json", 400, "malformed-request"),
        (b"[]", "application/json", 422, "invalid-search-spec"),
        (b"name: x", "application/yaml", 415, "unsupported-media-type"),
        (b" " * (1 << 20) + b"{}", "application/json", 413, "content-too-large"),
    ],
)
def test_a_body_that_is_no_spec_is_refused(
    client: httpx2.Client, content: bytes, content_type: str, status: int, slug: str
) -> None:
    response = client.post("/api/v1/searches", content=content, headers={"Content-Type": content_type})
    _problem(response, status, slug)


def test_a_dry_run_reports_ranges_and_starts_nothing(world: World, client: httpx2.Client) -> None:
    report = client.post("/api/v1/searches:validate", json=latency_spec()).json()
    assert (report["valid"], report["num_devices"]) == (False, 0)
    world.enrol()
    report = client.post("/api/v1/searches:validate", json=latency_spec()).json()
    assert (report["valid"], report["violations"], report["num_devices"]) == (True, [], 1)
    assert {one["metric"] for one in report["metric_ranges"]} >= {"macs", "params"}
    assert client.get("/api/v1/searches").json()["items"] == []


def test_a_finished_search_shows_its_front_with_uncertainty_and_validity(world: World, client: httpx2.Client) -> None:
    board = world.enrol()
    search_id = _created(client, latency_spec(measurement={"validity_policy": "accept_flagged"}))
    world.step(_THREE)
    world.convert_all()
    assert world.measure_all(board, flags=NOISY) == 3
    world.step(last=True)
    search = client.get(f"/api/v1/searches/{search_id}").json()
    assert (search["state"], search["progress"]["num_complete"]) == ("completed", 3)
    front = client.get(f"/api/v1/searches/{search_id}/front", params={"include_dominated": "true"}).json()
    assert (front["latency_kind"], front["device_class"]) == ("measured", "board")
    assert [axis["metric"] for axis in front["objectives"]] == ["latency_us", "macs"]
    assert len(front["points"]) + len(front["dominated"]) == 3
    for point in front["points"]:
        latency = point["candidate"]["latency"]
        assert (latency["validity"], latency["flags"]) == ("noisy", ["noisy"])
        assert point["uncertainties"][0] is not None


def test_a_simulated_front_says_so(world: World, client: httpx2.Client) -> None:
    board = world.enrol(device_type="rk3588-sim", device_class=DeviceClass.SIMULATED)
    search_id = _created(client, latency_spec(device={"device_type": "rk3588-sim"}))
    world.step(_THREE)
    world.convert_all()
    world.measure_all(board)
    front = client.get(f"/api/v1/searches/{search_id}/front").json()
    assert (front["latency_kind"], front["device_class"]) == ("simulated", "simulated")
    assert {point["candidate"]["latency"]["kind"] for point in front["points"]} == {"simulated"}


def test_the_front_of_a_search_without_results_is_empty(client: httpx2.Client) -> None:
    front = client.get(f"/api/v1/searches/{_created(client, cheap_spec())}/front").json()
    assert (front["points"], front["hypervolume"], front["num_complete"]) == ([], None, 0)


def test_candidates_are_filtered_sorted_and_paged(world: World, client: httpx2.Client) -> None:
    path = f"/api/v1/searches/{_created(client, cheap_spec(20))}/candidates"
    world.step([[a, b, 0, c] for a in range(4) for b in range(2) for c in (0, 3)][:16])
    everything = client.get(path, params={"order_by": "-macs", "page_size": 100}).json()["items"]
    macs = [candidate["macs"] for candidate in everything]
    assert macs == sorted(macs, reverse=True)
    seen: list[int] = []
    params = {"order_by": "-macs", "page_size": "3", "include_total": "true"}
    url: str | None = str(httpx2.URL(path, params=params))
    while url is not None:
        response = client.get(url)
        seen += [candidate["macs"] for candidate in response.json()["items"]]
        assert response.json()["total"] == 16
        url = response.links["next"]["url"] if "next" in response.links else None
    assert seen == macs
    bound = sorted(macs)[5]
    below = client.get(path, params={"metric": f"macs:le:{bound}"}).json()["items"]
    assert {candidate["macs"] for candidate in below} == {value for value in macs if value <= bound}


def test_a_page_token_is_bound_to_its_filters(world: World, client: httpx2.Client) -> None:
    path = f"/api/v1/searches/{_created(client, cheap_spec())}/candidates"
    world.step(_THREE)
    token = client.get(path, params={"page_size": 1}).json()["next_page_token"]
    assert client.get(path, params={"page_size": 2, "page_token": token}).status_code == 200
    wrong = client.get(path, params={"order_by": "macs", "page_token": token})
    _problem(wrong, 400, "invalid-page-token")


@pytest.mark.parametrize(
    "params",
    [
        {"order_by": "speed"},
        {"metric": "macs:lt:3"},
        {"metric": "macs:le:nan"},
        {"page_size": "0"},
        {"page_size": "1001"},
        {"state": "done"},
        {"generatoin": "1"},
    ],
)
def test_a_wrong_filter_is_refused_and_never_ignored(client: httpx2.Client, params: dict[str, str]) -> None:
    search_id = _created(client, cheap_spec())
    response = client.get(f"/api/v1/searches/{search_id}/candidates", params=params)
    _problem(response, 422, "invalid-request")


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ("top1:ge:abc", "'abc' is no number: write one, such as top1:ge:0.75"),
        ("macs:lt:3", "'lt' is neither le (at most) nor ge (at least)"),
        ("macs", "write metric:le:number (at most) or metric:ge:number (at least)"),
    ],
)
def test_a_bound_that_is_none_is_answered_in_words(client: httpx2.Client, bound: str, said: str) -> None:
    search_id = _created(client, cheap_spec())
    answered = client.get(f"/api/v1/searches/{search_id}/candidates", params={"metric": bound}).json()
    (error,) = answered["errors"]
    assert error["parameter"].startswith("metric")
    assert error["detail"].startswith(f"'{bound}' is no bound: {said}")


def test_searches_are_listed_by_state_and_label(client: httpx2.Client) -> None:
    kept = _created(client, cheap_spec(labels={"team": "vision"}))
    other = _created(client, cheap_spec(labels={"team": "audio"}))
    client.post(f"/api/v1/searches/{other}:cancel")
    by_label = client.get("/api/v1/searches", params={"label": "team:vision"}).json()["items"]
    by_state = client.get("/api/v1/searches", params={"state": "cancelled"}).json()["items"]
    assert ([s["id"] for s in by_label], [s["id"] for s in by_state]) == ([kept], [other])


def test_a_search_is_paused_resumed_and_cancelled(client: httpx2.Client) -> None:
    search_id = _created(client, cheap_spec())
    states = [
        client.post(f"/api/v1/searches/{search_id}:{verb}").json()["desired_state"]
        for verb in ("pause", "resume", "cancel")
    ]
    assert states == ["paused", "running", "cancelled"]
    problem = _problem(client.post(f"/api/v1/searches/{search_id}:resume"), 409, "invalid-state-transition")
    assert (problem["from"], problem["allowed"]) == ("cancelled", [])


def test_a_change_decided_on_an_old_state_is_refused(client: httpx2.Client) -> None:
    search_id = _created(client, cheap_spec())
    path = f"/api/v1/searches/{search_id}"
    etag = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
    assert client.patch(path, json={"priority": 5}, headers={"If-Match": etag}).json()["spec"]["priority"] == 5
    _problem(client.patch(path, json={"priority": 6}, headers={"If-Match": etag}), 412, "precondition-failed")
    _problem(client.post(f"{path}:cancel", headers={"If-Match": etag}), 412, "precondition-failed")
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_a_budget_cannot_fall_below_what_was_asked(world: World, client: httpx2.Client) -> None:
    search_id = _created(client, cheap_spec())
    world.step(_THREE)
    response = client.patch(f"/api/v1/searches/{search_id}", json={"num_candidates": 2})
    problem = _problem(response, 422, "invalid-search-spec")
    assert problem["errors"][0]["feasible_minimum"] == 3


def test_events_are_read_page_by_page(world: World, client: httpx2.Client) -> None:
    search_id = _created(client, cheap_spec())
    world.step(_THREE)
    path = f"/api/v1/searches/{search_id}/events"
    everything = client.get(path).json()
    assert [event["type"] for event in everything["items"][:2]] == ["state", "generation"]
    assert not everything["ended"]
    half = client.get(path, params={"limit": 2}).json()
    rest = client.get(path, params={"after": half["last_id"]}).json()
    assert half["items"] + rest["items"] == everything["items"]
    client.post(f"/api/v1/searches/{search_id}:cancel")
    ended = client.get(path, params={"after": rest["last_id"]}).json()
    assert ended["ended"]
    assert ended["items"][-1]["data"]["state"] == "cancelled"


def test_a_candidate_has_its_picture_and_evaluations(world: World, client: httpx2.Client) -> None:
    board = world.enrol()
    search_id = _created(client, latency_spec())
    world.step(_THREE)
    world.convert_all()
    world.measure_all(board)
    first, second, _ = client.get(f"/api/v1/searches/{search_id}/candidates").json()["items"]
    picture = client.get(f"/api/v1/candidates/{first['id']}/picture.svg")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert picture.text.startswith("<svg")
    difference = client.get(f"/api/v1/candidates/{first['id']}/picture.svg", params={"compared_with": second["id"]})
    assert difference.text != picture.text
    evaluations = client.get(f"/api/v1/candidates/{first['id']}/evaluations").json()["items"]
    assert [(one["metric"], one["source"], one["attempt"]) for one in evaluations] == [("latency_us", "measured", 1)]


@pytest.mark.parametrize("path", ["searches/srch_x", "candidates/cand_x", "searches/srch_x/front", "jobs/job_x"])
def test_what_is_not_there_is_404(client: httpx2.Client, path: str) -> None:
    _problem(client.get(f"/api/v1/{path}"), 404, "not-found")


def test_a_supernet_is_ordered_listed_and_cancelled(client: httpx2.Client) -> None:
    space = {"id": "spos", "parameters": {**SMALL_PARAMETERS, "input_channels": 1}}
    spec = {"space": space, "dataset": "fashion-mnist-12k", "epochs": 1}
    response = client.post("/api/v1/supernets", json=spec)
    assert response.status_code == 202
    supernet_id = response.json()["id"]
    assert [one["id"] for one in client.get("/api/v1/supernets").json()["items"]] == [supernet_id]
    assert client.get(f"/api/v1/supernets/{supernet_id}/versions").json()["items"] == []
    assert client.post(f"/api/v1/supernets/{supernet_id}:cancel").json()["state"] == "cancelled"
    wrong = client.post("/api/v1/supernets", json={**spec, "dataset": "nothing"})
    assert "known are fashion-mnist-12k" in str(_problem(wrong, 422, "invalid-supernet-spec")["detail"])


def test_the_references_example_can_be_run(world: World, client: httpx2.Client) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "search_spec.md").read_text(encoding="utf-8")
    world.enrol("board-1", "emulated-board", DeviceClass.EMULATED)
    for example in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL):
        report = client.post("/api/v1/searches:validate", json=yaml.safe_load(example)).json()
        assert report["violations"] == []


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
def test_every_candidate_that_matches_is_exported(world: World, client: httpx2.Client, accept: str) -> None:
    path = f"/api/v1/searches/{_created(client, cheap_spec(20))}/candidates"
    world.step([[a, b, 0, c] for a in range(4) for b in range(2) for c in (0, 3)])
    params = {"order_by": "-macs", "page_size": "3"}
    response = client.get(path, params=params, headers={"Accept": accept})
    assert response.headers["content-type"].startswith(accept)
    if accept == "text/csv":
        macs = [int(row["macs"]) for row in csv.DictReader(io.StringIO(response.text))]
    else:
        macs = [json.loads(line)["macs"] for line in response.text.splitlines()]
    assert (len(macs), macs) == (16, sorted(macs, reverse=True))


def test_a_front_is_whole_and_what_lies_behind_it_can_be_thinned(world: World, client: httpx2.Client) -> None:
    path = f"/api/v1/searches/{_created(client, cheap_spec(20))}/front"
    world.step([[a, b, 0, c] for a in range(4) for b in range(2) for c in (0, 3)])
    whole = client.get(path, params={"include_dominated": "true"}).json()
    thinned = client.get(path, params={"include_dominated": "true", "max_dominated": "3"}).json()
    assert len(whole["points"]) + len(whole["dominated"]) == 16
    assert thinned["points"] == whole["points"]
    assert 0 < len(thinned["dominated"]) <= 3


def test_the_hypervolume_is_told_evaluation_by_evaluation(world: World, client: httpx2.Client) -> None:
    search_id = _created(client, cheap_spec(objectives=[{"metric": "macs"}, {"metric": "params"}]))
    path = f"/api/v1/searches/{search_id}/hypervolume"
    assert client.get(path).json()["points"] == []
    world.step(_THREE)
    world.step(last=True)
    history, front = client.get(path).json(), client.get(f"/api/v1/searches/{search_id}/front").json()
    assert [point["num_evaluated"] for point in history["points"]] == [1, 2, 3]
    assert history["num_evaluated"] == 3
    hypervolumes = [point["hypervolume"] for point in history["points"]]
    assert hypervolumes == sorted(hypervolumes)
    assert hypervolumes[0] > 0.0
    last = history["points"][-1]
    assert (last["hypervolume"], last["front_size"]) == (front["hypervolume"], len(front["points"]))
    assert history["reference_point"] == front["reference_point"]
    assert [axis["metric"] for axis in history["objectives"]] == ["macs", "params"]
    few = client.get(path, params={"max_points": 2}).json()
    assert [point["num_evaluated"] for point in few["points"]] == [2, 3]
    assert few["points"][-1] == last


def test_how_long_a_search_takes_is_told_and_where_the_time_went(world: World, client: httpx2.Client) -> None:
    search_id = _created(client, cheap_spec(num_candidates=6))
    world.step(_THREE)
    time = client.get(f"/api/v1/searches/{search_id}").json()["time"]
    assert time["elapsed_s"] >= 0.0
    assert time["left_s"] >= 0.0  # three of six have ended: there is a pace
    assert [(kind["kind"], kind["num_jobs"]) for kind in time["kinds"]] == [("search_step", 2)]
    (listed,) = client.get("/api/v1/searches").json()["items"]
    assert listed["time"]["left_s"] >= 0.0
    assert listed["time"]["kinds"] == []
    world.step(last=True)
    assert client.get(f"/api/v1/searches/{search_id}").json()["time"]["left_s"] is None


def test_the_curve_of_what_is_not_there_is_not_found(client: httpx2.Client) -> None:
    _problem(client.get("/api/v1/supernets/sup_x/curve"), 404, "not-found")
    _problem(client.get("/api/v1/networks/network_x/curve"), 404, "not-found")
