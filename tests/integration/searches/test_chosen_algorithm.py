"""A search that names no algorithm gets one, and REST says which and because of what, from its start to its end."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from hilnas.cli.progress import algorithm_text
from tests.support.worlds.worker_world import TINY_SPACE

SPEC: dict[str, Any] = {
    "name": "s",
    "space": TINY_SPACE,
    "objectives": [{"metric": "macs"}, {"metric": "params", "goal": "maximize"}],
    "budget": {"num_candidates": 12},
}


@pytest.mark.parametrize("named", [{}, {"algorithm": {"kind": "auto"}}])
def test_the_server_chooses_and_says_why(client: httpx2.Client, named: dict[str, Any]) -> None:
    answer = client.post("/api/v1/searches", json={**SPEC, **named})
    assert answer.status_code == 202, answer.text
    created = answer.json()
    said = created["progress"]["report"]["algorithm"]
    assert created["spec"]["algorithm"]["kind"] == said["kind"] == "predictor_assisted"
    assert said["because"].startswith("12 evaluations")
    assert created["chosen_because"] == said["because"]
    assert client.get(f"/api/v1/searches/{created['id']}").json()["progress"]["report"]["algorithm"] == said
    assert algorithm_text(created["progress"]["report"]) == f"predictor_assisted, chosen: {said['because']}"


def test_a_named_algorithm_stays_and_needs_no_reason(client: httpx2.Client) -> None:
    created = client.post("/api/v1/searches", json={**SPEC, "algorithm": {"kind": "nsga2"}}).json()
    assert created["spec"]["algorithm"]["kind"] == "nsga2"
    assert created["progress"]["report"] == {}
    assert created["chosen_because"] == ""
    assert algorithm_text(created["progress"]["report"]) is None


def test_auto_is_in_the_described_spec(client: httpx2.Client) -> None:
    schema = client.get("/api/v1/openapi.json").json()["components"]["schemas"]["SearchSpec"]
    kinds = [one["properties"]["kind"]["const"] for one in schema["properties"]["algorithm"]["oneOf"] if "title" in one]
    assert kinds == ["auto"]


def test_auto_takes_no_settings(client: httpx2.Client) -> None:
    answer = client.post("/api/v1/searches", json={**SPEC, "algorithm": {"kind": "auto", "population_size": 5}})
    assert answer.status_code == 422
    assert "/algorithm" in str(answer.json()["errors"])
