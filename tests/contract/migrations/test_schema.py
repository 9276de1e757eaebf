"""The migrations make exactly the tables the code works with, on every database."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from server.bootstrap.schema import (
    VERSION_TABLE,
    all_revisions,
    current_revision,
    head_revision,
    metadata,
    migrate,
    refuse_unusable,
)
from server.core.database.engine import open_engine
from tests.support.worlds.databases import PostgresServer, TestDatabase


def test_migrations_and_tables_are_the_same(database: TestDatabase) -> None:
    with database.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(database: TestDatabase) -> None:
    before = current_revision(database.engine)
    migrate(database.engine)
    assert current_revision(database.engine) == before == head_revision()


def test_a_new_database_has_no_revision(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'new.sqlite'}")
    assert current_revision(engine) is None
    engine.dispose()


def test_processes_that_migrate_at_once_take_turns(tmp_path: Path) -> None:
    url, failures = f"sqlite:///{tmp_path / 'new.sqlite'}", []

    def start() -> None:
        engine = open_engine(url)
        try:
            migrate(engine)
        except Exception as error:
            failures.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_every_revision_is_left_downwards_and_reached_again(own_database: TestDatabase) -> None:
    engine = own_database.engine
    before = set(sa.inspect(engine).get_table_names())
    for revision in all_revisions()[1:]:
        migrate(engine, revision)
        assert current_revision(engine) == revision
    migrate(engine)
    assert set(sa.inspect(engine).get_table_names()) == before
    test_migrations_and_tables_are_the_same(own_database)


def test_a_look_in_the_middle_of_anothers_migration_refuses_nothing(tmp_path: Path) -> None:
    url, left = f"sqlite:///{tmp_path / 'new.sqlite'}", [1]
    look, other = open_engine(url), open_engine(url)

    def migrate_first(_c: Any, _cursor: Any, statement: str, _p: Any, _context: Any, _many: bool) -> None:
        # The revision is read, the tables are not.
        if left and "sqlite_master" in statement and VERSION_TABLE not in statement:
            left.clear()
            migrate(other)

    sa.event.listen(look, "before_cursor_execute", migrate_first)
    refuse_unusable(look, "new")
    assert not left
    look.dispose()
    other.dispose()


@pytest.mark.postgres
def test_a_migration_may_take_longer_than_other_statements(postgres_server: PostgresServer) -> None:
    with postgres_server.database(migrated=False) as url:
        impatient = "-c statement_timeout=1500 -c idle_in_transaction_session_timeout=1500"
        engine = sa.create_engine(
            url.replace("postgresql:", "postgresql+psycopg:"), connect_args={"options": impatient}
        )

        @sa.event.listens_for(engine, "after_cursor_execute")
        def _delay(_c: Any, cursor: Any, statement: str, _p: Any, _context: Any, _many: bool) -> None:
            if "CREATE TABLE candidates" in statement:
                cursor.execute("SELECT pg_sleep(2.0)")
                time.sleep(2.0)

        migrate(engine)
        assert current_revision(engine) == head_revision()
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "1500ms"
        engine.dispose()


def test_the_version_table_is_ours(database: TestDatabase) -> None:
    tables = sa.inspect(database.engine).get_table_names()
    assert VERSION_TABLE in tables
    assert "alembic_version" not in tables


def test_sqlite_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="name a file"):
        open_engine("sqlite://")
