"""Labels of searches and devices, as rows so that filters can use an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from server.core.database.metadata import metadata
from server.core.database.types import Id, Label

# Labels of searches and devices, as rows so that filters can use an index.
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("owner_id", Id, primary_key=True),
    sa.Column("key", Label, primary_key=True),
    sa.Column("value", Label, nullable=False),
    sa.Index("ix_labels_key_value", "key", "value"),
)


def with_labels(
    statement: sa.Select[Any], owner_id: sa.ColumnElement[Any], wanted: Mapping[str, str]
) -> sa.Select[Any]:
    """Keep rows whose owner carries all of these labels."""
    for key, value in wanted.items():
        carried = sa.exists().where(labels.c.owner_id == owner_id, labels.c.key == key, labels.c.value == value)
        statement = statement.where(carried)
    return statement
