"""Folders that cannot be written and disks without a byte left end a start with one line and a status; nothing is left
half-written, and with room again everything goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fakes.small_disk import SmallDisk, small_disk
from tests.support.processes.api_process import running_server
from tests.support.processes.warm_start import WarmProcess

COMMANDS = {"server": ("server", "--port", "0", "--grpc-port", "0"), "worker": ("worker",)}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_mb=24) as mounted:
        yield mounted


@pytest.fixture
def used(disk: SmallDisk) -> Path:
    """The home of a server that ran once."""
    home = disk.path / "home"
    with running_server(home) as server:
        server.stop()
    return home


def last_line(command: str, home: Path, folder: Path, **settings: str) -> str:
    """The one line with which a start ends."""
    log = folder / f"{command}.log"
    log.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HILNAS_")}
    environment |= {"HILNAS_HOME": str(home), "HILNAS_LOG_LEVEL": "error", **settings}
    process = WarmProcess(COMMANDS[command], environment, log)
    try:
        assert process.wait(60.0) == 1, log.read_text()
    finally:
        process.kill()
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"hilnas {command}: ")
    return line


def contents(folder: Path) -> dict[str, bytes]:
    """What a folder holds; of SQLite's files those that are the database."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_home_that_cannot_be_written(disk: SmallDisk, used: Path, tmp_path: Path) -> None:
    before = contents(used)
    with disk.read_only():
        for command in COMMANDS:
            assert f"{used} cannot be written: mount it for writing" in last_line(command, used, tmp_path)
        assert "Read-only file system" in last_line("server", disk.path / "new", tmp_path)
    assert contents(used) == before


def test_a_home_on_a_disk_without_a_free_byte(disk: SmallDisk, used: Path, tmp_path: Path) -> None:
    before, new = contents(used), disk.path / "new"
    disk.fill()
    for command in COMMANDS:
        assert f"the disk of {used} is full: make room" in last_line(command, used, tmp_path)
    assert f"the disk of {new} is full: make room" in last_line("server", new, tmp_path)
    disk.empty()
    assert contents(used) == before
    with running_server(new) as server, server.sdk() as api:  # what an ended start left behind does not matter
        assert api.version().version


def test_first_files_that_do_not_fit_beside_a_database_elsewhere(disk: SmallDisk, used: Path, tmp_path: Path) -> None:
    database = tmp_path / "elsewhere.sqlite3"
    shutil.copy(used / "hilnas.sqlite3", database)
    elsewhere = {"HILNAS_DATABASE_URL": f"sqlite:///{database}"}
    shutil.rmtree(used / "artifacts")
    disk.fill()
    assert "the artifact store's disk is full" in last_line("server", used, tmp_path, **elsewhere)
    disk.empty()
    (used / "secret.key").unlink()
    disk.fill()
    assert "No space left on device" in last_line("server", used, tmp_path, **elsewhere)
    assert not (used / "secret.key").exists()
    disk.empty()
    with running_server(used, "--database-url", elsewhere["HILNAS_DATABASE_URL"]):
        assert len((used / "secret.key").read_bytes()) == 64


def test_artifacts_that_cannot_be_written(disk: SmallDisk, tmp_path: Path) -> None:
    with disk.read_only():
        line = last_line("server", tmp_path / "home", tmp_path, HILNAS_ARTIFACT_DIR=str(disk.path / "artifacts"))
    assert "Read-only file system" in line
