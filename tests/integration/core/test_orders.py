"""Whatever a token can pile up is limited in one table: every route that makes something is run until it is refused."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.access.orders import ADDS_TO
from server.access.permissions import POLICY, Action, Kind
from server.access.quotas import QuotaSettings
from server.access.token import Role
from server.artifacts.artifacts import Artifacts
from server.bootstrap.owners import all_orders
from tests.support.samples.odd_models import relu
from tests.support.samples.table_results import table_bytes
from tests.support.worlds.api_world import World
from tests.support.worlds.databases import PostgresServer
from tests.support.worlds.owned_things import NETWORK, TRAINING, OwnedThings
from tests.support.worlds.policy_requests import ask, routes

_LIMIT = 2
_MADE_BY_ENGINEERS = {
    operation
    for rule in POLICY
    if rule.action is Action.CREATE and rule.others is Role.ENGINEER
    for operation in rule.operations
}
_PILED = sorted(operation for operation, names in ADDS_TO.items() if names[0] != "queued_jobs")
_QUEUED = sorted(operation for operation, names in ADDS_TO.items() if "queued_jobs" in names)


def _things(folder: Path, **limits: object) -> OwnedThings:
    return OwnedThings(World.open(folder, **limits))


def _given(things: OwnedThings, operation: str, number: int) -> tuple[Mapping[str, str], dict[str, Any] | None]:
    """Path parameters and, where that of the table of permissions would not do, the body of an order."""
    if operation in ("retrain_candidate", "export_candidate", "measure_neighbours"):
        return things.measured_search("root"), None
    if operation == "create_cost_report":
        return {"table_id": things.make(Kind.TABLE, "root")["table_id"]}, None
    if operation == "register_table":
        stored = things.world.process.get(Artifacts).put(table_bytes(), "application/json")
        return {}, {"id": f"mine-{number}", "sha256": stored.sha256}
    if operation == "measure_model":
        content = relu((1, 4))
        stored = things.world.process.get(Artifacts).put(content, "application/onnx")
        return {}, {"model_sha256": stored.sha256, "device": {"device_type": "rk3588"}}
    return {}, None


def _order(things: OwnedThings, operation: str, number: int = 0) -> httpx2.Response:
    given, body = _given(things, operation, number)
    if body is None:
        return ask(things, operation, "alice", given)
    return things.client("alice").post(routes(things.world)[operation][1], json=body)


def test_every_route_by_which_an_engineer_makes_something_is_limited() -> None:
    # An upload makes bytes, and is counted while they come (`test_uploads_are_counted_by_day_and_written_down`).
    assert set(ADDS_TO) == _MADE_BY_ENGINEERS - {"put_artifact"}
    names = {name for added in ADDS_TO.values() for name in added}
    assert all(hasattr(QuotaSettings(), name) for name in names)
    all_orders(QuotaSettings())


@pytest.mark.parametrize("operation", _PILED)
def test_what_piles_up_is_refused_at_its_limit_and_others_are_not(tmp_path: Path, operation: str) -> None:
    name = ADDS_TO[operation][0]
    things = _things(tmp_path, **{f"quota_{name}": _LIMIT})
    try:
        answers = [_order(things, operation, number) for number in range(_LIMIT + 2)]
        refused = answers[-1]
        assert [answer.status_code < 300 for answer in answers] == [True, True, False, False], refused.text
        assert refused.status_code == 429
        assert (refused.json()["limit"], refused.json()["setting"]) == (_LIMIT, f"HILNAS_QUOTA_{name.upper()}")
        assert int(refused.headers["retry-after"]) > 0
        if operation != "register_table":
            given, _ = _given(things, operation, 9)
            assert ask(things, operation, "bob", given).status_code in (201, 202)
    finally:
        things.world.close()


@pytest.mark.parametrize("operation", _QUEUED)
def test_whose_jobs_fill_the_queue_orders_nothing_by_any_route(tmp_path: Path, operation: str) -> None:
    things = _things(tmp_path, quota_queued_jobs=1)
    try:
        given, body = _given(things, operation, 0)
        if "study" in operation:
            things.study_spec()
        things.job("alice")
        path = routes(things.world)[operation][1]
        answer = (
            ask(things, operation, "alice", given) if body is None else things.client("alice").post(path, json=body)
        )
        assert (answer.status_code, answer.json()["setting"]) == (429, "HILNAS_QUOTA_QUEUED_JOBS"), answer.text
    finally:
        things.world.close()


def test_an_order_of_the_same_key_is_answered_as_before_when_there_is_no_room(tmp_path: Path) -> None:
    world = World.open(tmp_path, quota_open_trainings=1)
    mine = world.client(world.token(Role.ENGINEER))
    try:
        first = mine.post("/api/v1/supernets", json=TRAINING, headers={"Idempotency-Key": "one"})
        assert first.status_code == 202
        for path, body in (("supernets", TRAINING), ("networks", NETWORK)):
            assert mine.post(f"/api/v1/{path}", json=body).status_code == 429
            assert mine.post(f"/api/v1/{path}", json=body, headers={"Idempotency-Key": "two"}).status_code == 429
        again = mine.post("/api/v1/supernets", json=TRAINING, headers={"Idempotency-Key": "one"})
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        assert mine.post(f"/api/v1/supernets/{first.json()['id']}:cancel").status_code == 202
        assert mine.post("/api/v1/networks", json=NETWORK, headers={"Idempotency-Key": "two"}).status_code == 202
    finally:
        world.close()


def test_300_orders_at_once_are_the_limit_and_no_more(tmp_path: Path) -> None:
    _at_once(World.open(tmp_path))


@pytest.mark.postgres
def test_300_orders_at_once_are_the_limit_on_postgresql(tmp_path: Path, postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        _at_once(World.open(tmp_path, database_url=url))


def _at_once(world: World) -> None:
    mine = world.client(world.token(Role.ENGINEER))
    statuses: list[int] = []

    def order() -> None:
        for _ in range(30):
            statuses.append(mine.post("/api/v1/supernets", json=TRAINING).status_code)

    threads = [threading.Thread(target=order) for _ in range(10)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses.count(202) == QuotaSettings().open_trainings == 100
        assert set(statuses) <= {202, 429, 503}
    finally:
        world.close()


def test_sessions_of_one_token_are_limited(tmp_path: Path) -> None:
    world = World.open(tmp_path, quota_open_sessions=_LIMIT)
    secret = world.token(Role.VIEWER)
    try:
        browsers = [world.client(None) for _ in range(_LIMIT + 1)]
        answers = [one.post("/login", data={"token": secret}, follow_redirects=False) for one in browsers]
        assert [answer.status_code for answer in answers] == [303, 303, 429]
        assert "HILNAS_QUOTA_OPEN_SESSIONS" in answers[-1].text
        browsers[0].post("/logout", follow_redirects=False)
        assert browsers[-1].post("/login", data={"token": secret}, follow_redirects=False).status_code == 303
    finally:
        world.close()
