"""Damage to a SQLite file that SQLite does not see when it opens it, and what only looks like damage."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hilnas.cli.main import main
from server.core.database.sqlite_file import damage_of, was_ended_cleanly

_FRAME_BYTES = 24 + 4096


@pytest.fixture
def left(tmp_path: Path, migrated_sqlite: Path) -> Path:
    """What a killed process leaves: a file, and in the log beside it several transactions that are not in the file."""
    live, copy = tmp_path / "live.sqlite3", tmp_path / "hilnas.sqlite3"
    shutil.copy(migrated_sqlite, live)
    with closing(sqlite3.connect(live)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        for number in range(20):
            with database:
                database.execute(
                    "INSERT INTO principals (id, name, created_at) VALUES (?, ?, 0)",
                    (f"prin_{number}" + "x" * 900, str(number)),
                )
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{copy}{suffix}")
    return copy


def _log(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _num_rows(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        return int(database.execute("SELECT count(*) FROM principals WHERE id LIKE 'prin_%'").fetchone()[0])


def _overwrite(path: Path, at: int, num: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(num))


def _check(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit status and findings of `hilnas db check`."""
    status = main(["db", "check", "--home", str(folder), "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out)["faults"] if said.out else [said.err.strip()]


def test_what_a_killed_process_leaves_is_whole(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (left.read_bytes(), _log(left).read_bytes())
    assert damage_of(left, used=True) is None
    assert not was_ended_cleanly(left)
    assert _check(left.parent, capsys) == (0, [])
    assert (left.read_bytes(), _log(left).read_bytes()) == before
    assert _num_rows(left) == 20


def test_a_frame_that_was_being_written_is_no_damage(left: Path) -> None:
    log = _log(left)
    _overwrite(log, log.stat().st_size - 50, 50)
    assert damage_of(left, used=True) is None
    os.truncate(log, log.stat().st_size - 1000)
    assert damage_of(left, used=True) is None
    assert 0 < _num_rows(left) < 20


def test_pages_that_are_in_the_log_alone_are_not_lost(left: Path) -> None:
    with closing(sqlite3.connect(left)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with database:
            database.execute("CREATE TABLE large AS SELECT randomblob(200000) AS content")
        grown = left.parent / "grown.sqlite3"
        for suffix in ("", "-wal"):
            shutil.copy(f"{left}{suffix}", f"{grown}{suffix}")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with grown.open("r+b") as file:  # a checkpoint that was killed after the first page
        file.write(left.read_bytes()[:4096])
    assert damage_of(grown, used=True) is None
    _log(grown).unlink()
    assert "of them are lost" in str(damage_of(grown, used=True))


@pytest.mark.parametrize("num_bytes", [1, 4096, 5 * 4096 + 7])
def test_a_file_that_is_cut_off_is_named(left: Path, num_bytes: int, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(left)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert was_ended_cleanly(left)
    assert damage_of(left, used=True) is None
    os.truncate(left, left.stat().st_size - num_bytes)
    words = f"{-(-num_bytes // 4096)} of them are lost"
    assert words in str(damage_of(left, used=True))
    status, (fault,) = _check(left.parent, capsys)
    assert status == 1
    assert words in fault


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda log: log.write_bytes(os.urandom(40_000)), "cannot be read"),
        (lambda log: _overwrite(log, 8, 4), "cannot be read"),
        (lambda log: _overwrite(log, 32 + 2 * _FRAME_BYTES + 100, 8), "damaged in frame 3"),
        (lambda log: _overwrite(log, 32 + 4, 4), "damaged in frame 1"),
    ],
    ids=["garbage", "head", "page", "frame"],
)
def test_commits_in_a_log_that_cannot_be_read_are_missed(
    left: Path, damage: Callable[[Path], object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(_log(left))
    assert words in str(damage_of(left, used=True))
    status, (fault,) = _check(left.parent, capsys)
    assert status == 1
    assert words in fault


def test_an_empty_file_is_a_beginning_only_where_nothing_was(left: Path) -> None:
    left.write_bytes(b"")
    _log(left).unlink()
    assert damage_of(left, used=False) is None
    assert "is empty, though there were data" in str(damage_of(left, used=True))
    assert damage_of(left.with_name("none.sqlite3"), used=True) is None


def test_a_damaged_page_is_found_by_the_check(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(left)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'principals'").fetchone()
    _overwrite(left, (page - 1) * 4096, 4096)
    status, faults = _check(left.parent, capsys)
    assert status == 1
    assert faults
    assert all(f"page {page}" in fault.lower() or "malformed" in fault for fault in faults)
    assert not any("\n" in fault for fault in faults)


def test_rows_without_what_they_refer_to_are_found_by_the_check(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(left)) as database, database:
        database.execute("INSERT INTO job_exclusions VALUES ('job_none', 'worker')")
    status, (fault,) = _check(left.parent, capsys)
    assert status == 1
    assert "of table job_exclusions refers to a row of jobs that is not there" in fault


def test_no_database_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, (line,) = _check(tmp_path, capsys)
    assert status == 1
    assert f"there is no database {tmp_path / 'hilnas.sqlite3'}" in line


def test_a_database_in_use_is_never_taken_for_a_damaged_one(left: Path) -> None:
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(left)) as database:
            database.execute("PRAGMA wal_autocheckpoint = 10")
            number = 0
            while not ended.is_set():
                number += 1
                with database:
                    database.execute(
                        "INSERT INTO principals (id, name, created_at) VALUES (?, 'x', 0)", (f"{number}" + "x" * 3000,)
                    )
                with database:
                    database.execute("DELETE FROM principals WHERE rowid % 7 = 0")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert [damage_of(left, used=True) for _ in range(200)] == [None] * 200
    finally:
        ended.set()
        writer.join()
