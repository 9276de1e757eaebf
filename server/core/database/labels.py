"""What lists are filtered by beside columns: labels, as rows so that an index finds them, and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from server.core.database.metadata import metadata
from server.core.database.types import Id, Label

# Labels of searches, supernets, networks and devices.
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


def with_words(statement: sa.Select[Any], words: Sequence[str], *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Keep rows in which each of these words stands in one of the columns at least.

    Args:
        words: as `server.core.finding.words_of` gives them.
        columns: texts that hold no capital letters.
    """
    texts = [sa.type_coerce(column, sa.Text) for column in columns]
    for word in words:
        statement = statement.where(sa.or_(*(text.contains(word, autoescape=True) for text in texts)))
    return statement
