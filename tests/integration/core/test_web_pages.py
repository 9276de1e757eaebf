"""The pages: what they show, who sees them, and that they can do no harm."""

from __future__ import annotations

import hashlib
import json
import re

import httpx2
import pytest

from nas_engine.domain.measurement import DeviceClass
from server.access.auth import SESSION_COOKIE
from server.access.principal import Creator
from server.access.token import Role
from server.access.tokens import EnrolmentTokens, Tokens
from server.web.rendering import STATIC
from tests.support.worlds.api_world import ADMIN, NOISY, World, cheap_spec, latency_spec

_HTML = {"Accept": "text/html"}


def _browser(world: World, token: str | None = ADMIN) -> httpx2.Client:
    """A client that is signed in like a browser."""
    client = world.client(None)
    client.headers.update(_HTML)
    client.follow_redirects = False
    if token is not None:
        assert client.post("/login", data={"token": token}).status_code == 303
    return client


def _measured(world: World, device_type: str, device_class: DeviceClass, name: str) -> str:
    board = world.enrol(name, device_type, device_class)
    spec = latency_spec(device={"device_type": device_type}, measurement={"validity_policy": "accept_flagged"})
    search_id = str(world.client().post("/api/v1/searches", json=spec).json()["id"])
    world.step([[0, 0, 0, 0], [1, 1, 1, 1], [3, 3, 3, 3]])
    world.convert_all()
    world.measure_all(board, flags=NOISY)
    world.step(last=True)
    return search_id


def test_who_is_not_signed_in_is_sent_to_do_so_and_comes_back(world: World) -> None:
    client = _browser(world, None)
    sent = client.get("/fleet")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/fleet")
    assert "Sign in" in client.get("/login").text
    refused = client.post("/login", data={"token": "nas_wrong"})
    assert (refused.status_code, "unknown, revoked or expired" in refused.text) == (401, True)
    entered = client.post("/login", data={"token": ADMIN, "next": "/fleet"})
    assert (entered.status_code, entered.headers["location"]) == (303, "/fleet")
    cookie = entered.headers["set-cookie"].lower()
    assert SESSION_COOKIE in cookie
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert client.get("/fleet").status_code == 200
    assert client.post("/logout").headers["location"] == "/login"


def test_the_fleet_says_who_vouches_for_a_board_and_what_a_declared_one_means(world: World) -> None:
    board = world.enrol()
    client = _browser(world)
    shown = client.get("/fleet").text
    assert re.search(r"board\s*<small>enrolled", shown)
    assert ":confirm" not in shown
    world.process.uow.write(lambda tx: tx.connection.exec_driver_sql("UPDATE devices SET class_source = 'declared'"))
    shown = client.get("/fleet").text
    assert re.search(r"board\s*<small>declared", shown)
    assert f"/api/v1/devices/{board.id}:confirm" in shown
    assert "is not reused by others until an admin confirms its class" in shown


@pytest.mark.parametrize("target", ["//evil.test", "https://evil.test", "/\\evil.test", "evil"])
def test_a_login_link_cannot_lead_elsewhere(world: World, target: str) -> None:
    client = _browser(world, None)
    assert client.post("/login", data={"token": ADMIN, "next": target}).headers["location"] == "/"


def test_a_boards_token_opens_no_page(world: World) -> None:
    client = _browser(world, world.token(Role.AGENT))
    response = client.get("/")
    assert response.status_code == 403
    assert "does not permit" in response.text


def test_a_search_is_shown_with_its_candidates_and_front(world: World) -> None:
    search_id = _measured(world, "rk3588", DeviceClass.BOARD, "bench-1")
    client = _browser(world)
    assert f"/searches/{search_id}" in client.get("/").text
    page = client.get(f"/searches/{search_id}").text
    assert "completed" in page
    assert ":pause" not in page
    rows = client.get(f"/fragments/searches/{search_id}/candidates", params={"order_by": "-macs"}).text
    assert rows.count("/candidates/cand_") == 3
    assert "noisy" in rows
    assert "measured" in rows
    headings = re.findall(r"<button[^>]*>([^<]+)</button>", rows)
    assert headings == [
        "no.",
        "latency p50 [µs]",
        "MACs ↓",
        "params",
        "peak activations [KiB]",
    ]
    candidate = re.findall(r"/candidates/(cand_\w+)", rows)[0]
    shown = client.get(f"/candidates/{candidate}").text
    assert "picture.svg" in shown
    assert "measured latency" in shown
    assert client.get(f"/api/v1/candidates/{candidate}/picture.svg").status_code == 200


def test_a_running_search_can_be_paused_from_its_page(world: World) -> None:
    search_id = str(world.client().post("/api/v1/searches", json=cheap_spec()).json()["id"])
    client = _browser(world)
    assert f"/api/v1/searches/{search_id}:pause" in client.get(f"/searches/{search_id}").text
    assert client.post(f"/api/v1/searches/{search_id}:pause").status_code == 403
    done = client.post(f"/api/v1/searches/{search_id}:pause", headers={"X-Hilnas-Page": "1"})
    assert done.status_code == 202
    assert f"{search_id}:resume" in client.get(f"/fragments/searches/{search_id}/progress").text


def test_long_tables_go_on_page_by_page(world: World) -> None:
    search_id = str(world.client().post("/api/v1/searches", json=cheap_spec(20)).json()["id"])
    world.step([[a, b, 0, c] for a in range(4) for b in range(2) for c in (0, 3)])
    client = _browser(world)
    url: str | None = f"/fragments/searches/{search_id}/candidates?order_by=macs&page_size=7"
    seen: list[str] = []
    for _ in range(4):
        if url is None:
            break
        text = client.get(url).text
        seen += re.findall(r"/candidates/(cand_\w+)", text)
        found = re.search(r'hx-get="([^"]+page_token[^"]+)"', text)
        url = None if found is None else found[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == 16


def test_the_explorer_shows_one_kind_of_number_at_a_time(world: World) -> None:
    _measured(world, "rk3588", DeviceClass.BOARD, "bench-1")
    _measured(world, "rk3588-sim", DeviceClass.SIMULATED, "sim-1")
    client = _browser(world)
    measured = client.get("/latencies").text
    assert (measured.count("data-p50"), "rk3588-sim</td>" in measured) == (3, False)
    simulated = client.get("/latencies", params={"kind": "simulated"}).text
    assert (simulated.count("data-p50"), '<span class="label">simulated</span>' in simulated) == (3, True)
    assert "Nothing has been measured" in client.get("/latencies", params={"arch_id": "other"}).text


def test_the_fleet_is_shown_and_steered(world: World) -> None:
    device = world.enrol()
    client = _browser(world)
    shown = client.get("/fleet").text
    assert "bench-1" in shown
    assert re.search(r"\d\d:\d\d:\d\d UTC</td>", shown), "times say their zone"
    asking = re.findall(r"<button[^>]*:(\w+)\"[^>]*hx-confirm=\"([^\"]+)\"", shown)
    assert asking == [("quarantine", "Quarantine bench-1? It gets no jobs until somebody resumes it.")]
    drained = client.post(f"/api/v1/devices/{device.id}:drain", headers={"X-Hilnas-Page": "1"})
    assert drained.status_code == 200
    assert "draining" in client.get("/fragments/fleet").text


def test_pages_say_whose_a_search_and_a_board_are(world: World) -> None:
    tokens = world.process.get(Tokens)
    made, secret = tokens.create("t", [Role.ENGINEER], principal="alice & team")
    search_id = world.client(secret).post("/api/v1/searches", json=cheap_spec()).json()["id"]
    _, enrolment = world.process.get(EnrolmentTokens).create(
        "rack",
        device_class=DeviceClass.BOARD,
        device_type="rk3588",
        creator=Creator(made.id, made.owner),
    )
    world.enrol(enrolment_token=enrolment)
    client = _browser(world)
    for path in ("/", f"/searches/{search_id}", "/fleet", "/fragments/fleet"):
        assert "alice &amp; team" in client.get(path).text, path


def test_what_users_wrote_is_text_and_never_markup(world: World) -> None:
    world.client().post("/api/v1/searches", json=cheap_spec(name="<script>alert(1)</script>"))
    page = _browser(world).get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_pages_run_and_show_only_what_this_server_ships(world: World) -> None:
    search_id = _measured(world, "rk3588", DeviceClass.BOARD, "bench-1")
    client = _browser(world)
    for path in ("/", f"/searches/{search_id}", "/latencies", "/fleet", "/login"):
        response = client.get(path)
        policy = response.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert not re.findall(r"<script(?![^>]*\bsrc=)", response.text), "inline scripts would not run"
        assert not re.findall(r"\sstyle=|<style|\son\w+=", response.text), "inline styles and handlers would not work"
        for target in re.findall(r'(?:src|href)="(/static/[^"]+)"', response.text):
            assert client.get(target).status_code == 200
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', response.text)


def test_every_request_of_the_api_is_on_its_page(world: World) -> None:
    client = _browser(world)
    assert 'href="/api-reference"' in client.get("/").text
    shown = client.get("/api-reference").text
    document = client.get("/api/v1/openapi.json").json()
    operations = [(method.upper(), path) for path, found in document["paths"].items() for method in found]
    assert len(operations) > 50
    assert [one for one in operations if f"<code>{one[0]} {one[1]}</code>" not in shown] == []


def test_a_missing_page_is_a_page_for_browsers_and_a_document_for_programs(world: World) -> None:
    client = _browser(world)
    assert "There is nothing here" in client.get("/searches/srch_x").text
    document = client.get("/searches/srch_x", headers={"Accept": "application/json"})
    assert document.headers["content-type"] == "application/problem+json"
    assert client.get("/api/v1/searches/srch_x").headers["content-type"] == "application/problem+json"


def test_vendored_scripts_are_the_published_ones() -> None:
    vendored = STATIC / "vendor"
    entries = json.loads((vendored / "VENDORED.json").read_text(encoding="utf-8"))
    assert {entry["file"] for entry in entries} == {file.name for file in vendored.glob("*.js")}
    for entry in entries:
        assert hashlib.sha256((vendored / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
