"""The server on a full disk: it says so with 507, is not ready, loses nothing, and goes on when there is room again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.artifacts.files import FileByteStore
from tests.support.fakes.small_disk import SmallDisk, small_disk
from tests.support.worlds.api_world import World, cheap_spec


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_mb=24) as mounted:
        yield mounted


@pytest.fixture
def world(disk: SmallDisk) -> Iterator[World]:
    opened = World.open(disk.path / "home", min_free_bytes=0)
    with opened.client() as http:
        assert http.get("/api/v1/searches").status_code == 200  # the token's last use is noted, files are open
    yield opened
    opened.close()


def checks(world: World) -> dict[str, str]:
    """What readiness says is wrong."""
    with world.client() as http:
        answer = http.get("/readyz")
    wrong = {check["name"]: check["detail"] for check in answer.json()["checks"] if not check["ok"]}
    assert answer.status_code == (503 if wrong else 200)
    return wrong


def test_an_upload_that_fills_the_disk_is_refused_and_leaves_nothing(disk: SmallDisk, world: World) -> None:
    content = bytes(range(256)) * 4096 * 32  # 32 MB
    url = f"/api/v1/artifacts/{hashlib.sha256(content).hexdigest()}"
    with world.client() as http:
        answer = http.put(url, content=(content[at : at + 65_536] for at in range(0, len(content), 65_536)))
        assert answer.status_code == 507, answer.text
        assert answer.json()["type"] == "/problems/insufficient-storage"
        assert int(answer.headers["Retry-After"]) > 0
        assert list((disk.path / "home/artifacts/incoming").iterdir()) == []
        disk.fill()
        assert "artifacts" in checks(world)
        assert http.get("/api/v1/artifacts").status_code == 200
        disk.empty()
        assert checks(world) == {}
        small = content[:1000]
        assert http.put(f"/api/v1/artifacts/{hashlib.sha256(small).hexdigest()}", content=small).status_code == 201


def test_a_store_that_turns_read_only_says_so_and_goes_on_afterwards(disk: SmallDisk, world: World) -> None:
    url = f"/api/v1/artifacts/{hashlib.sha256(b'x').hexdigest()}"
    with world.client() as http:
        with disk.read_only():
            answer = http.put(url, content=b"x")
            assert (answer.status_code, "cannot be written" in answer.json()["detail"]) == (507, True), answer.text
            assert int(answer.headers["Retry-After"]) > 0
            assert "Read-only file system" in checks(world)["artifacts"]
            assert "hilnas.sqlite3 cannot be written" in checks(world)["database"]
            answer = http.post("/api/v1/artifacts:scrub")
            assert (answer.status_code, "cannot be written" in answer.json()["detail"]) == (507, True), answer.text
            assert http.get("/api/v1/artifacts:scrub").status_code == 200
            assert http.get("/api/v1/artifacts").status_code == 200
        assert http.put(url, content=b"x").status_code == 201
        assert checks(world) == {}
        assert http.post("/api/v1/artifacts:scrub").status_code == 202


def test_a_database_without_room_answers_that_storage_is_short(disk: SmallDisk, world: World) -> None:
    with world.client() as http:
        disk.fill()
        statuses = set()
        for number in range(200):  # the log of the database has some room of its own at first
            answer = http.post("/api/v1/searches", json=cheap_spec(name=f"{number}" + "n" * 90))
            statuses.add(answer.status_code)
            if answer.status_code != 202:
                break
        assert answer.status_code in (503, 507), answer.text
        assert answer.json()["type"] in ("/problems/insufficient-storage", "/problems/unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert http.get("/api/v1/searches").status_code == 200
        disk.empty()
        assert http.post("/api/v1/searches", json=cheap_spec(name="there is room again")).status_code in (201, 202)
    assert statuses <= {201, 202, 503, 507}


def test_the_floor_of_free_space_refuses_uploads_while_the_database_still_writes(disk: SmallDisk) -> None:
    world = World.open(disk.path / "home", min_free_bytes=200 << 20)
    try:
        with world.client() as http:
            answer = http.put(f"/api/v1/artifacts/{hashlib.sha256(b'x').hexdigest()}", content=b"x")
            assert answer.status_code == 507
            assert "HILNAS_MIN_FREE_BYTES" in answer.json()["detail"]
            assert http.post("/api/v1/searches", json=cheap_spec()).status_code in (201, 202)
        assert set(checks(world)) == {"artifacts", "database"}
        assert "HILNAS_MIN_FREE_BYTES" in checks(world)["artifacts"]
    finally:
        world.close()


def test_an_announced_upload_that_cannot_fit_is_refused_before_it_is_sent(disk: SmallDisk, world: World) -> None:
    # Of what is announced one byte is sent: it is refused for the size, not for its digest.
    with world.client() as http:
        headers = {"Content-Length": str(100 << 20)}
        answer = http.put(f"/api/v1/artifacts/{'1' * 64}", content=iter([b"x"]), headers=headers)
    assert answer.status_code == 507
    assert not list((disk.path / "home/artifacts/incoming").iterdir())


def test_an_upload_lies_beside_the_store_while_it_comes_in(tmp_path: Path) -> None:
    store = FileByteStore(tmp_path)
    with store.incoming() as incoming:
        incoming.write(b"half")
        (partial,) = (tmp_path / "incoming").iterdir()
        assert partial.read_bytes() == b"half"
    assert list((tmp_path / "incoming").iterdir()) == []
