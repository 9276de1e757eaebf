"""Whatever a token can pile up is limited in one table: every route that makes something is run until it is refused."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

from server.access.limits.orders import ADDS_TO
from server.access.limits.quotas import QuotaSettings
from server.access.permissions import POLICY, Action, Kind
from server.access.token import Role
from server.bootstrap.owners import all_orders
from tests.support.worlds.api_world import World
from tests.support.worlds.databases import PostgresServer
from tests.support.worlds.owned_things import NETWORK, TRAINING, OwnedThings
from tests.support.worlds.policy_requests import ask, body_of

_LIMIT = 2
_MADE_BY_ENGINEERS = {
    operation
    for rule in POLICY
    if rule.action is Action.CREATE and rule.others is Role.ENGINEER
    for operation in rule.operations
}
_PILED = sorted(operation for operation, names in ADDS_TO.items() if names[0] != "queued_jobs")
_PILED.remove("create_cost_report")  # of a table that is measured whole: a test of its own
_QUEUED = sorted(operation for operation, names in ADDS_TO.items() if "queued_jobs" in names)


def _things(folder: Path, **limits: object) -> OwnedThings:
    return OwnedThings(World.open(folder, **limits))


def _path_parameters(things: OwnedThings, operation: str) -> Mapping[str, str]:
    """What the path of an order names: things of an admin's."""
    if operation in ("retrain_candidate", "export_candidate", "measure_neighbours"):
        return things.measured_search("root")
    kinds = {"create_cost_report": Kind.TABLE, "create_what_if": Kind.SEARCH, "clone_search": Kind.SEARCH}
    return things.make(kinds[operation], "root") if operation in kinds else {}


def _order(things: OwnedThings, operation: str, given: Mapping[str, str], number: int = 0) -> httpx2.Response:
    """Alice's order: what the table of permissions sends; a table of results under an id of its own each time."""
    if operation == "register_table":
        body = {**(body_of(things, operation) or {}), "id": f"mine-{number}"}
        return things.client("alice").post("/api/v1/search-spaces", json=body)
    if operation == "query_latencies":
        body = {**(body_of(things, operation) or {}), "queue_missing": True}
        return things.client("alice").post("/api/v1/latencies:query", json=body)
    return ask(things, operation, "alice", given)


def test_every_route_by_which_an_engineer_makes_something_is_limited() -> None:
    # An upload makes bytes, and is counted while they come (`test_uploads_are_counted_by_day_and_written_down`).
    # A question makes nothing but what it says it wants to have measured.
    assert set(ADDS_TO) - {"query_latencies"} == _MADE_BY_ENGINEERS - {"put_artifact"}
    names = {name for added in ADDS_TO.values() for name in added}
    assert all(hasattr(QuotaSettings(), name) for name in names)
    all_orders(QuotaSettings())


@pytest.mark.parametrize("operation", _PILED)
def test_what_piles_up_is_refused_at_its_limit_and_others_are_not(tmp_path: Path, operation: str) -> None:
    name = ADDS_TO[operation][0]
    things = _things(tmp_path, **{f"quota_{name}": _LIMIT})
    try:
        given = _path_parameters(things, operation)
        answers = [_order(things, operation, given, number) for number in range(_LIMIT + 2)]
        refused = answers[-1]
        assert [answer.status_code < 300 for answer in answers] == [True, True, False, False], refused.text
        assert refused.status_code == 429
        assert (refused.json()["limit"], refused.json()["setting"]) == (_LIMIT, f"HILNAS_QUOTA_{name.upper()}")
        assert int(refused.headers["retry-after"]) > 0
        if operation != "register_table":
            assert ask(things, operation, "bob", given).status_code in (201, 202)
    finally:
        things.world.close()


def test_reports_count_with_latency_tables(tmp_path: Path) -> None:
    things = _things(tmp_path, quota_open_latency_tables=3)
    try:
        given = things.make(Kind.TABLE, "root")
        for kind in (Kind.REPORT, Kind.REPORT, Kind.TABLE):
            things.make(kind, "alice")
        for operation, path in (("create_cost_report", given), ("create_latency_table", {})):
            answer = ask(things, operation, "alice", path)
            assert (answer.status_code, answer.json()["setting"]) == (429, "HILNAS_QUOTA_OPEN_LATENCY_TABLES")
    finally:
        things.world.close()


@pytest.mark.parametrize("operation", _QUEUED)
def test_whose_jobs_fill_the_queue_orders_nothing_by_any_route(tmp_path: Path, operation: str) -> None:
    limit = 6  # room for what the order is about, which an admin makes
    things = _things(tmp_path, quota_queued_jobs=limit)
    try:
        given = _path_parameters(things, operation)
        for _ in range(limit):
            things.job("alice")
        answer = _order(things, operation, given)
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
