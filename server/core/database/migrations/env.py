"""Alembic's entry: runs the migrations on the connection that the caller passes in.

The config's attributes hold all that this file needs, since the tables are known to what stands above it alone:
`connection`, `metadata` (the tables of every concern) and `version_table` (the name of the table with the revision).
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from server.core.database.types import Timestamp


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations spell our column types in plain SQLAlchemy, so that they never change with the code."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Timestamp) else False


def run() -> None:
    """Run on the given connection, inside the caller's transaction."""
    attributes = context.config.attributes
    connection: sa.Connection = attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=attributes["metadata"],
        version_table=attributes["version_table"],
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=render_item,
        compare_type=True,
    )
    context.run_migrations()


run()
