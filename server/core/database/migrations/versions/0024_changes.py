"""Who did what, a record of every change; and what searches, supernets and networks are found by."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024_changes"
down_revision = "0023_amendments"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("subject_id", sa.String(length=200), nullable=False),
        sa.Column("subject_name", sa.String(length=200), nullable=False),
        sa.Column("owner_id", sa.String(length=40)),
        sa.Column("actor_kind", sa.String(length=200), nullable=False),
        sa.Column("actor_id", sa.String(length=40), nullable=False),
        sa.Column("actor_name", sa.String(length=200), nullable=False),
        sa.Column("token_id", sa.String(length=40)),
        sa.Column("token_name", sa.String(length=200), nullable=False),
        sa.Column("roles", JSON, nullable=False),
        sa.Column("members", JSON, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changes")),
    )
    op.create_index("ix_changes_created_at_id", "changes", ["created_at", "id"])
    for column in ("kind", "subject_id", "owner_id", "actor_id", "token_id"):
        op.create_index(f"ix_changes_{column}_created_at_id", "changes", [column, "created_at", "id"])

    for table in ("searches", "supernets", "networks"):
        op.add_column(table, sa.Column("words", sa.Text()))
        _find(table)


def _find(table: str) -> None:
    """Write down what a table's rows are found by, and the labels of those that had theirs in their specs alone."""
    connection = op.get_bind()
    more = {"searches": "supernet_id", "supernets": "dataset", "networks": "dataset"}[table]
    rows = connection.execute(
        sa.text(
            f"SELECT t.id, t.spec, t.space_id, t.{more} AS more, p.name AS owner FROM {table} t "
            "LEFT JOIN principals p ON p.id = t.owner_id"
        )
    ).all()
    for row in rows:
        spec: Mapping[str, Any] = json.loads(row.spec) if isinstance(row.spec, str) else row.spec
        labels = {str(name): str(text) for name, text in (spec.get("labels") or {}).items()}
        said = [spec.get("name"), row.id, row.more, row.space_id, row.owner]
        if table == "searches":
            said += [(spec.get("algorithm") or {}).get("kind"), (spec.get("device") or {}).get("device_type")]
        elif table == "supernets":
            said.append((spec.get("strategy") or {}).get("kind"))
        words = "\n".join([str(one) for one in said if one] + [f"{name}:{text}" for name, text in labels.items()])
        plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", words).casefold())
        connection.execute(sa.text(f"UPDATE {table} SET words = :words WHERE id = :id"), {"words": plain, "id": row.id})
        if table != "searches" and labels:
            rows_of_labels = [{"id": row.id, "key": name, "value": text} for name, text in labels.items()]
            insert = "INSERT INTO labels (owner_id, key, value) VALUES (:id, :key, :value)"
            connection.execute(sa.text(insert), rows_of_labels)


def downgrade() -> None:
    """Back to the revision before: nothing is known of who did what, and trainings have labels in their specs alone."""
    for table in ("networks", "supernets"):
        op.execute(f"DELETE FROM labels WHERE owner_id IN (SELECT id FROM {table})")
    for table in ("networks", "supernets", "searches"):
        op.drop_column(table, "words")
    op.drop_table("changes")
