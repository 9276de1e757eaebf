"""A database that cannot be used ends a process with one clear line and a status, never with a traceback."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from server.core.database.engine import open_engine
from server.core.home import ADMIN_TOKEN_FILE
from tests.support.processes.warm_start import WarmProcess
from tests.support.worlds.databases import PostgresServer

_PATIENCE_S = 120.0
_HEAD_BYTES = 100  # where SQLite notes that it keeps a log
_COMMANDS = {
    "server": ("server", "--port", "0", "--grpc-port", "0"),
    "worker": ("worker",),
}


def _garbage(file: Path) -> None:
    file.write_bytes(os.urandom(40_000))


def _text(file: Path) -> None:
    file.write_text("this is no database\n" * 500)


def _truncated(file: Path) -> None:
    _whole(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _last_byte_lost(file: Path) -> None:
    _whole(file)
    os.truncate(file, file.stat().st_size - 1)


def _emptied(file: Path) -> None:
    file.write_bytes(b"")
    (file.parent / ADMIN_TOKEN_FILE).write_text("nas_adm_of-an-earlier-start\n")


def _garbage_in_its_log(file: Path) -> None:
    file.with_name(f"{file.name}-wal").write_bytes(os.urandom(40_000))


def _only_its_head(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def _holes(file: Path) -> None:
    """Pages in the middle are zeros, as a lost disk block leaves them."""
    _whole(file)
    content = bytearray(file.read_bytes())
    content[4096 : len(content) - 4096] = bytes(len(content) - 8192)
    file.write_bytes(content)


def _newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:  # closed: what it changed is in the file, not in a log
        database.execute("UPDATE hilnas_schema_version SET version_num = '9999_of_tomorrow'")


def _two_schemas(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO hilnas_schema_version VALUES ('9999_of_tomorrow')")


def _others(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as database, database:  # closed: what it changed is in the file, not in a log
        database.execute("CREATE TABLE customers (id INTEGER)")


def _whole(file: Path) -> None:
    """Everything in the one file, nothing in the log beside it."""
    with closing(sqlite3.connect(file)) as database, database:  # closed: what it changed is in the file, not in a log
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_garbage, "not a database"),
        (_text, "not a database"),
        (_truncated, "cut off"),
        (_last_byte_lost, "1 of them are lost: restore a backup"),
        (_emptied, "is empty, though there were data"),
        (_garbage_in_its_log, "log hilnas.sqlite3-wal cannot be read"),
        (_only_its_head, "cut off"),
        (_holes, "database"),
        (_newer, "9999_of_tomorrow"),
        (_two_schemas, " and 9999_of_tomorrow"),
        (_others, "customers"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_"),
)
def test_an_unusable_database_is_one_line_and_a_status(
    tmp_path: Path, migrated_sqlite: Path, command: str, damage: Callable[[Path], None], words: str
) -> None:
    file = tmp_path / "hilnas.sqlite3"
    shutil.copy(migrated_sqlite, file)
    damage(file)
    before = file.read_bytes()
    log = tmp_path / "said.log"
    environment = {**os.environ, "HILNAS_HOME": str(tmp_path), "HILNAS_LOG_LEVEL": "error"}
    assert WarmProcess(_COMMANDS[command], environment, log).wait(_PATIENCE_S) == 1
    assert words in _line(command, log)
    assert file.read_bytes()[_HEAD_BYTES:] == before[_HEAD_BYTES:]  # whoever mends it finds it as it was


@pytest.mark.postgres
@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE hilnas_schema_version SET version_num = '9999_of_tomorrow'",
        "INSERT INTO hilnas_schema_version VALUES ('9999_of_tomorrow')",
    ],
    ids=["newer", "two"],
)
def test_a_schema_of_tomorrow_on_postgresql_is_one_line_and_a_status(
    postgres_server: PostgresServer, tmp_path: Path, command: str, statement: str
) -> None:
    with postgres_server.database() as url:
        engine = open_engine(url)
        with engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
            connection.execute(sa.text(statement))
        engine.dispose()
        log = tmp_path / "said.log"
        settings = {"HILNAS_HOME": str(tmp_path), "HILNAS_DATABASE_URL": url, "HILNAS_LOG_LEVEL": "error"}
        assert WarmProcess(_COMMANDS[command], {**os.environ, **settings}, log).wait(_PATIENCE_S) == 1
    assert "9999_of_tomorrow, which this release does not know" in _line(command, log)


def _line(command: str, log: Path) -> str:
    """The one line that a process said."""
    (line,) = log.read_text().strip().splitlines()
    assert line.startswith(f"hilnas {command}: database ")
    return line
