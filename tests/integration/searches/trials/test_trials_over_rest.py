"""Ask and tell over REST: what is answered and refused, and where metrics of one's own are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import onnx
import pytest

from server.access.token import Role
from tests.support.worlds.api_world import World, cheap_spec

EXTERNAL = [{"metric": "energy_mj", "unit": "mJ", "goal": "minimize", "minimum": 0, "maximum": 1000}]
SPEC = cheap_spec(
    2,
    objectives=[{"metric": "energy_mj"}, {"metric": "macs"}],
    constraints=[{"metric": "energy_mj", "maximum": 500}],
    external=EXTERNAL,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(world: World) -> httpx2.Client:
    return world.client()


@pytest.fixture
def search(world: World, client: httpx2.Client) -> str:
    answer = client.post("/api/v1/searches", json=SPEC)
    assert answer.status_code == 202, answer.text
    world.step([[0] * 4, [1, 1, 1, 2]])
    return f"/api/v1/searches/{answer.json()['id']}"


def asked(client: httpx2.Client, search: str, num: int = 2) -> list[dict[str, Any]]:
    answer = client.post(f"{search}/trials:ask", json={"evaluator": "rig", "num_trials": num})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["trials"]
    return found


def tell(client: httpx2.Client, search: str, trial: dict[str, Any], **how: Any) -> httpx2.Response:
    lease = {"trial_id": trial["id"], "lease_id": trial["lease_id"], "fence": trial["fence"]}
    return client.post(f"{search}/trials:tell", json={**lease, **how})


def energy(value: float, **more: Any) -> dict[str, Any]:
    return {"energy_mj": {"value": value, **more}}


def test_a_trial_names_its_candidate_its_metrics_and_its_model(client: httpx2.Client, search: str) -> None:
    trial = asked(client, search)[0]
    assert trial["metrics"] == [{"name": "energy_mj", "unit": "mJ", "goal": "minimize"}]
    assert trial["genotype"] == [0] * 4
    assert trial["layer_graph"]["nodes"][0]["type"] == "Input"
    assert trial["model"]["weights"] == "random"
    model = client.get(trial["model"]["url"])
    assert model.headers["content-type"] == "application/onnx"
    onnx.checker.check_model(onnx.load_from_string(model.content))


def test_an_interval_is_told_as_its_standard_error(client: httpx2.Client, search: str) -> None:
    trial = asked(client, search)[0]
    answer = tell(client, search, trial, metrics=energy(10.0, interval_95=[8.04, 11.0]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["values"]["energy_mj"]["standard_error"] == pytest.approx(1.0, rel=1e-3)
    assert tell(client, search, trial, metrics=energy(10.0, interval_95=[8.04, 11.0])).json() == answer.json()
    other = tell(client, search, trial, metrics=energy(11.0))
    assert other.status_code == 409
    assert "that answer stands" in other.json()["detail"]


@pytest.mark.parametrize(
    ("how", "pointer", "message"),
    [
        ({"metrics": {"energi_mj": {"value": 1.0}}}, "/metrics/energi_mj", "did you mean energy_mj?"),
        ({"metrics": energy(2000.0)}, "/metrics/energy_mj/value", "declared within 0 to 1000"),
        ({"metrics": energy(1.0, standard_error=-1.0)}, "/metrics/energy_mj/standard_error", "at least 0"),
        ({"metrics": energy(1.0, interval_95=[2.0, 3.0])}, "/metrics/energy_mj", "does not hold the value"),
        ({"metrics": energy(1.0), "give_back": True}, "", "ends in one way"),
        ({}, "", "ends in one way"),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_place(
    client: httpx2.Client, search: str, how: dict[str, Any], pointer: str, message: str
) -> None:
    trial = asked(client, search)[0]
    answer = tell(client, search, trial, **how)
    assert answer.status_code == 422, answer.text
    found = answer.json()["errors"]
    assert any(one.get("pointer", "") == pointer and message in one["detail"] for one in found), found
    assert tell(client, search, trial, metrics=energy(1.0)).status_code == 200


def test_a_number_that_is_not_finite_never_gets_in(client: httpx2.Client, search: str) -> None:
    trial = asked(client, search)[0]
    lease = f'"trial_id": "{trial["id"]}", "lease_id": "{trial["lease_id"]}", "fence": {trial["fence"]}'
    for number in ("NaN", "Infinity", "1e999"):
        body = f'{{{lease}, "metrics": {{"energy_mj": {{"value": {number}}}}}}}'
        headers = {"content-type": "application/json"}
        answer = client.post(f"{search}/trials:tell", content=body, headers=headers)
        assert answer.status_code in (400, 422), (number, answer.text)


def test_another_engineer_may_look_and_not_evaluate(world: World, client: httpx2.Client, search: str) -> None:
    other = world.client(world.token(Role.ENGINEER))
    assert other.post(f"{search}/trials:ask", json={"evaluator": "rig"}).status_code == 403
    assert [one["state"] for one in other.get(f"{search}/trials").json()["items"]] == ["queued", "queued"]


def test_metrics_of_ones_own_are_shown_wherever_metrics_are(world: World, client: httpx2.Client, search: str) -> None:
    for value, trial in zip((20.0, 10.0), asked(client, search), strict=True):
        assert tell(client, search, trial, metrics=energy(value, standard_error=0.5)).status_code == 200
    assert client.get(search).json()["spec"]["external"][0]["metric"] == "energy_mj"
    by_energy = client.get(f"{search}/candidates?order_by=energy_mj&metric=energy_mj:le:15").json()["items"]
    value = next(one for one in by_energy[0]["values"] if one["name"] == "energy_mj")
    assert (value["value"], value["unit"], value["source"]) == (10.0, "mJ", "external")
    assert len(by_energy) == 1
    table = client.get(f"{search}/candidates", headers={"accept": "text/csv"}).text.splitlines()
    assert "energy_mj" in table[0].split(",")
    assert "energy_mj_standard_error" in table[0].split(",")
    front = client.get(f"{search}/front").json()
    assert front["objectives"][0] == {"metric": "energy_mj", "unit": "mJ", "goal": "minimize", "column": "energy_mj"}
    answer = client.get(f"{search}/answer?bound=energy_mj:le:15").json()
    assert "energy_mj" in str(answer["sentences"]) + answer["headline"]
    evaluations = client.get(f"/api/v1/candidates/{by_energy[0]['id']}/evaluations").json()["items"]
    assert [(one["metric"], one["source"]) for one in evaluations] == [("energy_mj", "external")]
    events = client.get(f"{search}/events").json()["items"]
    assert [one["data"]["energy_mj"] for one in events if one["type"] == "candidate"] == [20.0, 10.0]
    browser = world.client(None)
    browser.post("/login", data={"token": "nas_adm_the-admin-token-of-the-tests"}, follow_redirects=False)
    listed = browser.get(search.replace("/api/v1", "/fragments") + "/candidates?order_by=-energy_mj")
    assert listed.status_code == 200, listed.text
    assert "energy_mj" in listed.text
    assert "mJ" in listed.text
    shown = browser.get(f"/candidates/{by_energy[0]['id']}")
    assert "energy_mj" in shown.text
    assert "external" in shown.text
    assert browser.get(search.replace("/api/v1", "")).status_code == 200


def test_a_metric_that_the_search_does_not_know_is_named(client: httpx2.Client, search: str) -> None:
    for query in ("candidates?order_by=enrgy_mj", "candidates?metric=enrgy_mj:le:3", "answer?bound=enrgy_mj:le:3"):
        refused = client.get(f"{search}/{query}")
        assert refused.status_code == 422, refused.text
        assert "did you mean energy_mj?" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"external": [{"metric": "energy_mj"}]}, "/external/0", "add its unit and its goal"),
        ({"external": [{"metric": "macs"}, *EXTERNAL]}, "/external/0", "counted from the layer graph"),
        ({"external": [{"metric": "latency_us"}, *EXTERNAL]}, "/external/0", "measured by enrolled devices alone"),
        ({"external": [{"metric": "top1", "unit": "%"}, *EXTERNAL]}, "/external/0", "leave unit out"),
        ({"external": [*EXTERNAL, *EXTERNAL]}, "", "names a metric twice"),
        ({"objectives": [{"metric": "macs"}], "constraints": []}, "", "no objective and no constraint"),
        ({"objectives": [{"metric": "energy_m"}]}, "/objectives/0/metric", "did you mean energy_mj?"),
        ({"constraints": [{"metric": "energy_mj", "minimum": 2000}]}, "/constraints/0/minimum", "feasible range"),
        ({"objectives": [{"metric": "energy_mj", "settings": {"a": 1}}]}, "/objectives/0/settings", "no settings"),
    ],
)
def test_a_spec_that_declares_wrongly_is_refused(
    client: httpx2.Client, changes: dict[str, Any], pointer: str, message: str
) -> None:
    refused = client.post("/api/v1/searches", json={**SPEC, **changes})
    assert refused.status_code == 422, refused.text
    found = refused.json()["errors"]
    assert any(one.get("pointer", "") == pointer and message in one["detail"] for one in found), found
