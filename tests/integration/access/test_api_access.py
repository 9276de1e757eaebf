"""Who may do what over REST: roles, tokens, sessions, hosts; and that switching it off stays on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.access.auth import CSRF_HEADER, SESSION_COOKIE
from server.access.token import Role
from server.bootstrap.settings import Settings, is_loopback
from tests.support.worlds.api_world import World, cheap_spec


@pytest.mark.parametrize("token", [None, "nas_api_wrong", ""])
def test_without_a_valid_token_nothing_is_told(world: World, token: str | None) -> None:
    for path in ("/api/v1/searches", "/api/v1/tokens", "/metrics", "/api/v1/search-spaces"):
        response = world.client(token).get(path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.json()["type"] == "/problems/unauthenticated"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version", "/problems", "/problems/not-found"])
def test_health_and_meanings_are_open(world: World, path: str) -> None:
    assert world.client(None).get(path).status_code == 200


@pytest.mark.parametrize(
    ("role", "reads", "starts", "makes_tokens"),
    [
        (Role.VIEWER, 200, 403, 403),
        (Role.ENGINEER, 200, 202, 403),
        (Role.ADMIN, 200, 202, 201),
        (Role.AGENT, 403, 403, 403),
    ],
)
def test_each_role_may_do_its_part(world: World, role: Role, reads: int, starts: int, makes_tokens: int) -> None:
    client = world.client(world.token(role))
    assert client.get("/api/v1/searches").status_code == reads
    assert client.post("/api/v1/searches", json=cheap_spec()).status_code == starts
    body = {"name": "mine", "roles": ["viewer"]}
    assert client.post("/api/v1/tokens", json=body).status_code == makes_tokens


def test_a_token_works_until_it_is_revoked(world: World) -> None:
    admin = world.client()
    made = admin.post("/api/v1/tokens", json={"name": "mine", "roles": ["viewer"], "expires_in_s": 3600}).json()
    mine = world.client(made["secret"])
    assert mine.get("/api/v1/searches").status_code == 200
    listed = admin.get("/api/v1/tokens").json()["items"]
    assert made["id"] in {token["id"] for token in listed}
    assert not any("secret" in token for token in listed)
    assert admin.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    assert mine.get("/api/v1/searches").status_code == 401


def test_secrets_are_not_stored(world: World, tmp_path: Path) -> None:
    admin = world.client()
    headers = {"Idempotency-Key": "k"}
    made = admin.post("/api/v1/tokens", json={"name": "mine", "roles": ["viewer"]}, headers=headers).json()
    boards = admin.post("/api/v1/enrolment-tokens", json={"name": "lab", "max_uses": 3}, headers=headers).json()
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("hilnas.sqlite3*"))
    assert made["prefix"].encode() in stored
    assert made["secret"].encode() not in stored
    assert boards["secret"].encode() not in stored


def test_an_enrolment_token_names_a_class_and_a_type(world: World) -> None:
    admin = world.client()
    rack = {"name": "rack", "device_class": "board", "device_type": "rk3588", "max_uses": 2, "expires_in_s": 3600}
    made = admin.post("/api/v1/enrolment-tokens", json=rack).json()
    assert {key: made[key] for key in ("device_class", "device_type", "max_uses")} == {
        "device_class": "board",
        "device_type": "rk3588",
        "max_uses": 2,
    }
    # As the first release's client asks for one: emulated devices, and both limits.
    old = admin.post("/api/v1/enrolment-tokens", json={"name": "old", "max_uses": None}).json()
    assert (old["device_class"], old["device_type"], old["max_uses"]) == ("emulated", None, 10)
    assert old["expires_at"] is not None
    for wrong in ({"device_class": "board"}, {"device_class": "phone"}, {"device_type": "rk 3588"}):
        assert admin.post("/api/v1/enrolment-tokens", json={"name": "wrong", **wrong}).status_code == 422


@pytest.mark.parametrize(("role", "answer"), [(Role.VIEWER, 403), (Role.ENGINEER, 403), (Role.AGENT, 403)])
def test_only_an_admin_vouches_for_a_board_or_takes_one_back(world: World, role: Role, answer: int) -> None:
    board = world.enrol()
    path, client = f"/api/v1/devices/{board.id}", world.client(world.token(role))
    admin = world.client()
    assert client.post(f"{path}:confirm", json={}).status_code == answer
    admin.post(f"{path}:retire", json={})
    assert client.post(f"{path}:unretire", json={}).status_code == answer
    assert admin.get(path).json()["state"] == "retired"
    assert admin.post(f"{path}:unretire", json={"reason": "found"}).json()["state"] == "active"
    assert admin.post(f"{path}:unretire").status_code == 409
    confirmed = admin.post(f"{path}:confirm", json={"device_class": "board"}).json()
    assert (confirmed["device_class"], confirmed["class_source"]) == ("board", "confirmed")


def test_the_session_cookie_reads_but_changes_nothing_by_itself(world: World) -> None:
    client = world.client(None)
    client.cookies.set(SESSION_COOKIE, world.session())
    assert client.get("/api/v1/searches").status_code == 200
    assert client.post("/api/v1/searches", json=cheap_spec()).status_code == 403
    allowed = client.post("/api/v1/searches", json=cheap_spec(), headers={CSRF_HEADER: "1"})
    assert allowed.status_code == 202


def test_another_site_cannot_post_even_with_the_cookie(world: World) -> None:
    client = world.client(None)
    client.cookies.set(SESSION_COOKIE, world.session())
    headers = {CSRF_HEADER: "1", "Origin": "https://evil.test"}
    assert client.post("/api/v1/searches", json=cheap_spec(), headers=headers).status_code == 403


def test_a_rebound_host_name_is_refused(world: World) -> None:
    response = world.client().get("/api/v1/searches", headers={"Host": "evil.test"})
    assert response.status_code == 421


def test_without_authentication_everybody_is_admin(tmp_path: Path) -> None:
    world = World.open(tmp_path, auth=False)
    created = world.client(None).post("/api/v1/searches", json=cheap_spec())
    assert (created.status_code, created.json()["created_by"]) == (202, None)
    world.close()


@pytest.mark.parametrize("place", ["http_host", "grpc_host"])
def test_no_authentication_is_refused_beyond_this_machine(tmp_path: Path, place: str) -> None:
    with pytest.raises(ValidationError, match="loopback"):
        Settings.load({"home": tmp_path, "insecure_no_auth": True, place: "0.0.0.0"})


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_told_from_other_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_settings_come_from_the_environment_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_HTTP_PORT", "1234")
    monkeypatch.setenv("HILNAS_ALLOWED_HOSTS", "nas.example.com, *.lab.example.com")
    settings = Settings.load({"grpc_port": 7})
    assert (settings.http_port, settings.grpc_port) == (1234, 7)
    assert settings.effective_allowed_hosts == ("nas.example.com", "*.lab.example.com")
    assert Settings.load({"http_port": 5}).http_port == 5
