"""Alembic's entry: runs the migrations on the connection that `server.bootstrap.schema.migrate` passes in."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from server.bootstrap.schema import VERSION_TABLE, metadata
from server.core.database.types import Timestamp


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations spell our column types in plain SQLAlchemy, so that they never change with the code."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Timestamp) else False


def run() -> None:
    """Run on the given connection, inside the caller's transaction."""
    connection: sa.Connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=render_item,
        compare_type=True,
    )
    context.run_migrations()


run()
