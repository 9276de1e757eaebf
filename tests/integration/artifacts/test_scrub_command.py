"""`hilnas artifacts scrub` against a real server: what it prints, and what its exit status says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.artifacts.files import FileByteStore
from tests.support.commands import artifacts
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import World


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    with running_server(tmp_path / "home") as running:
        monkeypatch.setenv("HILNAS_URL", running.url)
        monkeypatch.setenv("HILNAS_TOKEN", running.token)
        yield running


def put(server: RunningServer, content: bytes) -> tuple[str, Path]:
    """Upload a content; its digest and its file."""
    world = World.open(server.home)
    try:
        sha256 = FileByteStore(server.home / "artifacts").put_bytes(content).sha256
        with world.client(server.token) as http:
            assert http.put(f"/api/v1/artifacts/{sha256}", content=content).status_code in (200, 201)
    finally:
        world.close()
    return sha256, server.home / "artifacts/objects" / sha256[:2] / sha256[2:]


def scrub(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    status = artifacts.main(["scrub", *argv])
    return status, capsys.readouterr().out


def test_corrupted_missing_and_stray_files_are_named_and_the_status_is_1(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    well, _ = put(server, b"well " * 50)
    corrupted, damaged_file = put(server, b"corrupted " * 50)
    missing, lost_file = put(server, b"missing " * 50)
    assert scrub(capsys)[0] == 0
    damaged_file.write_bytes(b"otherwise " * 50)
    lost_file.unlink()
    stray = FileByteStore(server.home / "artifacts").put_bytes(b"recorded nowhere").sha256
    path = server.home / "artifacts/objects" / stray[:2] / stray[2:]
    os.utime(path, (time.time() - 7200,) * 2)
    status, shown = scrub(capsys)
    assert status == 1
    assert shown.startswith("done: ")
    assert sorted(shown.splitlines()[1:]) == sorted(
        [f"corrupted {corrupted}", f"missing {missing}", f"orphaned {stray}"]
    )
    assert well not in shown
    assert path.exists(), "a scrub changes nothing"
    status, last = scrub(capsys, "--no-start", "--json")
    report: dict[str, Any] = json.loads(last)
    assert (status, report["corrupted"], report["missing"]) == (1, [corrupted], [missing])


def test_strays_alone_are_no_damage(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    stray = FileByteStore(server.home / "artifacts").put_bytes(b"recorded nowhere").sha256
    path = server.home / "artifacts/objects" / stray[:2] / stray[2:]
    os.utime(path, (time.time() - 7200,) * 2)
    assert scrub(capsys) == (0, scrub(capsys, "--no-start")[1])
    assert f"orphaned {stray}" in scrub(capsys, "--no-start")[1]
