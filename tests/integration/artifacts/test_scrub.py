"""The scrub of the artifact store: what it finds, who may start it, and that uploading again heals."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.access.token import Role
from server.artifacts.artifact import ScrubReport, ScrubState
from server.artifacts.artifacts import Artifacts
from server.artifacts.files import FileByteStore
from server.artifacts.scrub import ArtifactScrubs
from tests.support.worlds.api_world import World

PATH = "/api/v1/artifacts:scrub"
CONTENTS = [f"content number {n}".encode() * 50 for n in range(6)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def world(home: Path) -> Iterator[World]:
    opened = World.open(home)
    yield opened
    opened.close()


def scrubbed(http: httpx2.Client) -> dict[str, Any]:
    assert http.post(PATH).status_code == 202
    deadline = time.monotonic() + 30
    while (report := http.get(PATH).json())["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(report)


def test_a_scrub_names_what_is_corrupted_missing_and_orphaned_and_uploading_heals(world: World, home: Path) -> None:
    digests = [world.process.get(Artifacts).put(content, "text/plain").sha256 for content in CONTENTS]
    objects = home / "artifacts/objects"
    files = [objects / sha256[:2] / sha256[2:] for sha256 in digests]
    files[1].write_bytes(CONTENTS[1][:-3] + b"???")
    files[4].unlink()
    orphan = FileByteStore(home / "artifacts").put_bytes(b"of an upload whose server was killed").sha256
    young = FileByteStore(home / "artifacts").put_bytes(b"of an upload that is being recorded").sha256
    (objects / "ab").mkdir(exist_ok=True)
    (objects / "ab" / "notes.txt").write_text("put here by hand")
    for path in (objects / orphan[:2] / orphan[2:], objects / "ab" / "notes.txt"):
        os.utime(path, (time.time() - 7200,) * 2)
    with world.client() as http:
        assert http.get(PATH).json()["state"] == "never"
        report = scrubbed(http)
        assert (report["state"], report["error"]) == ("done", "")
        assert (report["corrupted"], report["missing"]) == ([digests[1]], [digests[4]])
        assert sorted(report["orphaned"]) == sorted([orphan, "ab/notes.txt"])
        assert young not in report["orphaned"]
        assert report["num_checked"] == len(CONTENTS) + 1  # the golden model
        for number in (1, 4):
            assert http.put(f"/api/v1/artifacts/{digests[number]}", content=CONTENTS[number]).status_code == 200
        report = scrubbed(http)
    assert (report["num_corrupted"], report["num_missing"]) == (0, 0)


def test_only_an_admin_starts_a_scrub_and_every_viewer_reads_its_report(world: World) -> None:
    with world.client(world.token(Role.ENGINEER)) as http:
        assert http.post(PATH).status_code == 403
    with world.client(world.token(Role.VIEWER)) as http:
        assert http.get(PATH).status_code == 200


def test_scrubs_of_servers_that_share_a_store_do_not_overlap(world: World, home: Path) -> None:
    ours = world.process.get(ArtifactScrubs)
    theirs = ArtifactScrubs(world.process.uow, FileByteStore(home / "artifacts"))
    with theirs._only_one(), world.client() as http:
        assert http.post(PATH).status_code == 409
    assert ours.start().state in (ScrubState.RUNNING, ScrubState.DONE)
    ours.stop()


def test_a_scrub_whose_server_was_killed_is_reported_as_failed(world: World, home: Path) -> None:
    (home / "artifacts/scrub.json").write_text('{"state": "running", "started_at": "2026-01-01T00:00:00Z"}')
    report = world.process.get(ArtifactScrubs).report()
    assert (report.state, "server ended" in report.error) == (ScrubState.FAILED, True)


def test_a_scrub_is_started_when_the_last_is_long_ago(world: World, home: Path) -> None:
    store = FileByteStore(home / "artifacts")
    ArtifactScrubs(world.process.uow, store).start_if_due()
    never = ArtifactScrubs(world.process.uow, store).report()
    assert never.state is ScrubState.NEVER
    weekly = ArtifactScrubs(world.process.uow, store, timedelta(days=7))
    weekly.start_if_due()
    weekly.stop()
    first = weekly.report()
    assert first.started_at is not None
    weekly.start_if_due()
    assert weekly.report().started_at == first.started_at


def test_a_scrub_of_the_future_holds_none_back_when_the_clock_is_set_right(world: World, home: Path) -> None:
    weekly = ArtifactScrubs(world.process.uow, FileByteStore(home / "artifacts"), timedelta(days=7))
    ahead = datetime.now(UTC) + timedelta(days=3650)
    weekly._write(ScrubReport(state=ScrubState.DONE, started_at=ahead, finished_at=ahead))
    weekly.start_if_due()
    weekly.stop()
    started_at = weekly.report().started_at
    assert started_at is not None
    assert started_at < ahead - timedelta(days=3000)
