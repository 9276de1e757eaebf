"""Boards that leave and come back: seen at once, and said where something waits for them."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from nas_engine.domain.measurement import DeviceClass
from server.access.auth import SESSION_COOKIE
from server.core.http.problem_types import INVALID_SEARCH_SPEC
from server.fleet.device import Device, Enrolment
from server.fleet.devices import Devices
from server.fleet.sessions import AgentOrders, AgentReport, SessionState
from tests.integration.measuring.test_measure_model import model_bytes, spec, upload
from tests.support.worlds.api_world import World, capabilities, latency_spec
from tests.support.worlds.enrolment_tokens import token_for
from tests.support.worlds.table_world import DENSE_SPACE


def report(device: Device, **changes: Any) -> AgentReport:
    values: dict[str, Any] = {"boot_id": "boot", "instance_epoch": 1, "agent_version": "test", "free_slots": 1}
    return AgentReport(device_id=device.id, capabilities=device.capabilities, **{**values, **changes})


def sync(world: World, device: Device, wait_s: float = 0.0, **changes: Any) -> AgentOrders:
    return world.process.agents.sessions.sync(report(device, **changes), wait_s)


def leave(world: World, device: Device) -> None:
    """What an agent that is stopped says last."""
    sync(world, device, free_slots=0, draining=True, leaving=True)


def enrol(world: World, name: str, core_mask: str, device_class: DeviceClass = DeviceClass.BOARD) -> Device:
    said = capabilities(device_class)
    said = replace(said, identity=replace(said.identity, core_mask=core_mask))
    token = token_for(world.process.uow, device_class, "bench")
    return world.process.get(Devices).enrol(token, Enrolment(name=name, device_type="bench", capabilities=said))[0]


def order(client: httpx2.Client, **device: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/measurements", json=spec(upload(client, model_bytes()), **device))
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def read(client: httpx2.Client, path: str) -> Any:
    return client.get(f"/api/v1/{path}").raise_for_status().json()


def test_a_board_that_says_goodbye_is_offline_at_once_until_it_speaks_again(
    world: World, client: httpx2.Client
) -> None:
    board = world.enrol()
    sync(world, board)
    assert read(client, f"devices/{board.id}")["online"] is True
    leave(world, board)
    assert read(client, f"devices/{board.id}")["online"] is False
    (kind,) = read(client, "device-types")["items"]
    assert (kind["num_online"], kind["num_available"]) == (0, 0)
    sync(world, board, instance_epoch=2)
    assert read(client, f"devices/{board.id}")["online"] is True


def test_a_poll_from_before_the_goodbye_is_given_no_job(world: World, client: httpx2.Client) -> None:
    board = enrol(world, "bench-1", "any")
    orders: list[AgentOrders] = []
    poll = threading.Thread(target=lambda: orders.append(sync(world, board, wait_s=20.0)))
    poll.start()
    deadline = time.monotonic() + 20.0
    while not read(client, f"devices/{board.id}")["agent_version"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    leave(world, board)
    job = order(client)
    poll.join(20.0)
    assert [(one.session, one.assignments) for one in orders] == [(SessionState.DRAINING, ())]
    assert read(client, f"jobs/{job['id']}")["state"] == "queued"


def test_no_end_is_promised_while_nobody_takes_the_job_and_it_says_who_is_missed(
    world: World, client: httpx2.Client
) -> None:
    board = enrol(world, "bench-1", "any")
    order(client)
    assert world.measure_all(board) == 1  # how long such jobs take is known from here on
    waiting = order(client)
    assert (waiting["num_takers"], waiting["waiting_for"]) == (1, "")
    assert waiting["eta_s"] is not None
    leave(world, board)
    waiting = read(client, f"jobs/{waiting['id']}")
    seen = read(client, f"devices/{board.id}")["last_seen_at"]
    assert (waiting["num_takers"], waiting["eta_s"], waiting["takers_last_seen_at"]) == (0, None, seen)
    shown = f"{seen[:10]} {seen[11:19]}"
    assert waiting["waiting_for"] == f"no board of type 'bench' is online, last seen {shown} UTC (bench-1)"
    sync(world, board, instance_epoch=2, free_slots=0)
    assert read(client, f"jobs/{waiting['id']}")["waiting_for"] == ""


def test_a_board_that_is_there_and_takes_nothing_is_named_with_the_reason(world: World, client: httpx2.Client) -> None:
    board = enrol(world, "bench-1", "any")
    job = order(client)
    client.post(f"/api/v1/devices/{board.id}:drain", json={"reason": "new fan"}).raise_for_status()
    assert read(client, f"jobs/{job['id']}")["waiting_for"] == (
        "no board of type 'bench' takes jobs now: bench-1 is draining (new fan)"
    )
    client.post(f"/api/v1/devices/{board.id}:resume").raise_for_status()
    body = {"reserved_by": "anna", "duration_s": 3600}
    client.post(f"/api/v1/devices/{board.id}:reserve", json=body).raise_for_status()
    assert "bench-1 is reserved by anna until" in read(client, f"jobs/{job['id']}")["waiting_for"]


@pytest.mark.parametrize("leaving", ["anyx1", "anyx2"])
def test_an_order_for_a_type_goes_to_the_configuration_that_is_there(
    world: World, client: httpx2.Client, leaving: str
) -> None:
    boards = {mask: enrol(world, f"bench-{mask}", mask) for mask in ("anyx1", "anyx2")}
    leave(world, boards.pop(leaving))
    ((_, there),) = boards.items()
    job = order(client)
    assert job["num_takers"] == 1
    assert world.measure_all(there) == 1
    assert read(client, f"jobs/{job['id']}")["state"] == "done"


def test_an_order_says_whose_configuration_it_waits_for_while_another_is_there(
    world: World, client: httpx2.Client
) -> None:
    first, second = enrol(world, "bench-1", "anyx1"), enrol(world, "bench-2", "anyx2")
    job = order(client, core_mask="anyx1")
    said = job["waiting_for"]
    assert said.startswith("waits for the configuration of bench-1; online with another: bench-2 has core_mask anyx2")
    leave(world, first)
    said = read(client, f"jobs/{job['id']}")["waiting_for"]
    assert re.match(r"waits for the configuration of bench-1, last seen \S+ \S+ UTC \(bench-1\); online with", said)
    assert "bench-2 has core_mask anyx2, not anyx1" in said
    assert world.measure_all(second) == 0
    order(client, core_mask="anyx2")
    assert world.measure_all(second) == 1


@pytest.mark.parametrize("masks", [("anyx1", "anyx2"), ("anyx2", "anyx1")])
def test_with_nobody_there_the_board_heard_of_last_is_named_and_waited_for(
    world: World, client: httpx2.Client, masks: tuple[str, str]
) -> None:
    boards = [enrol(world, f"bench-{number}", mask) for number, mask in enumerate(masks, start=1)]
    for board in boards:
        leave(world, board)
    kind = "no board of type 'bench' is online, last seen "
    said = order(client)["waiting_for"]
    assert re.fullmatch(rf"{kind}\S+ \S+ UTC \(bench-2\)", said)
    said = order(client, core_mask=masks[0])["waiting_for"]
    assert re.fullmatch(rf"{kind}\S+ \S+ UTC \(bench-2\); waits for the configuration of bench-1", said)


def test_an_emulator_that_is_there_never_stands_for_a_board_that_is_away(world: World, client: httpx2.Client) -> None:
    board = enrol(world, "bench-1", "any")
    enrol(world, "emulator", "any", DeviceClass.EMULATED)
    leave(world, board)
    assert "bench-1, last seen" in order(client)["waiting_for"]


def test_what_no_configuration_ever_fits_is_still_refused_at_once(world: World, client: httpx2.Client) -> None:
    enrol(world, "bench-1", "anyx1")
    refused = client.post("/api/v1/measurements", json=spec(upload(client, model_bytes()), core_mask="anyx3"))
    assert refused.status_code == INVALID_SEARCH_SPEC.status
    assert "offered: anyx1" in refused.text


def test_a_search_s_page_says_what_board_it_waits_for(world: World, client: httpx2.Client) -> None:
    board = world.enrol()
    search_id = client.post("/api/v1/searches", json=latency_spec()).json()["id"]
    world.step([[0, 0, 0, 0]])
    world.convert_all()
    fragment = f"/fragments/searches/{search_id}/waiting"
    browser = world.client(None)
    browser.cookies.set(SESSION_COOKIE, world.session())
    assert "is online" not in browser.get(fragment).text
    leave(world, board)
    for path in (fragment, f"/searches/{search_id}"):
        shown = browser.get(path, headers={"Accept": "text/html"}).text
        assert "no board of type &#39;rk3588&#39; is online, last seen 2" in shown
        assert "UTC (bench-1)" in shown


def test_a_latency_table_says_what_board_it_waits_for(world: World, client: httpx2.Client) -> None:
    board = world.enrol()
    order = {"space": DENSE_SPACE, "device": {"device_type": "rk3588"}}
    table = client.post("/api/v1/latency-tables", json=order).json()
    assert read(client, f"latency-tables/{table['id']}")["waiting_for"] == ""
    leave(world, board)
    assert "no board of type 'rk3588' is online" in read(client, f"latency-tables/{table['id']}")["waiting_for"]
    client.post(f"/api/v1/latency-tables/{table['id']}:cancel").raise_for_status()
    assert read(client, f"latency-tables/{table['id']}")["waiting_for"] == ""
