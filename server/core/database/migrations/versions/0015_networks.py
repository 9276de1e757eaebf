"""Networks that are trained by themselves get a table of their own: until now they were supernets that are retrained.

Their rows move there with their weights, which were the only version of such a supernet, and so do the references of
jobs and events. Their ids stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015_networks"
down_revision = "0014_search_plugins"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
CHUNK = 500  # ids in one IN list
WEIGHTS = {
    "weights_id": "id",
    "weights_sha256": "weights_sha256",
    "weights_statistics": "statistics",
    "weights_created_at": "created_at",
}
"""Columns of networks by those of the versions that they come from."""

OF_NETWORKS = (
    *("architecture", "inherit_from", "formats", "rknn_dtype", "rknn_target"),
    *("dropout", "num_calibration_batches", "evaluation_batch_size", "train_on_held_out"),
)
"""Members of a network's spec that its strategy held while it was a supernet's."""


def upgrade() -> None:
    op.create_table(
        "networks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("space_id", sa.String(length=200), nullable=False),
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("desired_state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("resume_artifact_sha256", sa.String(length=64), nullable=True),
        sa.Column("resume_step", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("owner_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("weights_id", sa.String(length=40), nullable=True),
        sa.Column("weights_sha256", sa.String(length=64), nullable=True),
        sa.Column("weights_statistics", JSON, nullable=True),
        sa.Column("weights_created_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["principals.id"], name=op.f("fk_networks_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_networks")),
    )
    op.create_index(op.f("ix_networks_state"), "networks", ["state"], unique=False)
    # As SQL: SQLite takes a reference with its column, and would copy the whole table for one that is added later.
    key = "CONSTRAINT fk_jobs_network_id REFERENCES networks (id)"
    op.execute(f"ALTER TABLE jobs ADD COLUMN network_id VARCHAR(40) {key}")
    op.create_index(op.f("ix_jobs_network_id"), "jobs", ["network_id"], unique=False)
    op.add_column("events", sa.Column("network_id", sa.String(length=40), nullable=True))
    op.create_index("ix_events_network_id_id", "events", ["network_id", "id"], unique=False)
    _move(op.get_bind())


def downgrade() -> None:
    """Back to the revision before: networks are supernets that are retrained."""
    _move_back(op.get_bind())
    op.drop_index("ix_events_network_id_id", table_name="events")
    op.drop_column("events", "network_id")
    op.drop_index(op.f("ix_jobs_network_id"), table_name="jobs")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_column("jobs", "network_id")
    else:
        # SQLite drops no column that refers to another table: the column goes with its reference in a copy.
        with op.batch_alter_table("jobs", schema=None) as batch_op:
            batch_op.drop_column("network_id")
    op.drop_index(op.f("ix_networks_state"), table_name="networks")
    op.drop_table("networks")


def _tables(connection: sa.Connection) -> tuple[sa.Table, ...]:
    names = ("supernets", "supernet_versions", "networks", "jobs", "events")
    metadata = sa.MetaData()
    metadata.reflect(connection, only=names)
    return tuple(metadata.tables[name] for name in names)


def _move(connection: sa.Connection) -> None:
    supernets, versions, networks, jobs, events = _tables(connection)
    found = connection.execute(sa.select(supernets.c.id, supernets.c.spec)).all()
    retrained = [row.id for row in found if row.spec.get("strategy", {}).get("kind") == "retrain"]
    for ids in _chunks(retrained):
        of_them = versions.c.supernet_id.in_(ids)
        rows = connection.execute(sa.select(versions).where(of_them).order_by(versions.c.number))
        weights = {row.supernet_id: row._mapping for row in rows}
        for row in connection.execute(sa.select(supernets).where(supernets.c.id.in_(ids))).mappings().all():
            values = {c.name: row[c.name] for c in networks.c if c.name not in WEIGHTS}
            if row["id"] in weights:
                values |= {name: weights[row["id"]][source] for name, source in WEIGHTS.items()}
            connection.execute(sa.insert(networks).values(_plain(values)))
        _refer(connection, jobs, "supernet_id", "network_id", ids)
        _rename(connection, events, "supernet_id", "network_id", ids)
        connection.execute(sa.delete(versions).where(of_them))
        connection.execute(sa.delete(supernets).where(supernets.c.id.in_(ids)))


def _move_back(connection: sa.Connection) -> None:
    supernets, versions, networks, jobs, events = _tables(connection)
    for row in connection.execute(sa.select(networks)).mappings().all():
        values = {c.name: row[c.name] for c in networks.c if c.name not in WEIGHTS}
        values["spec"] = _with_strategy(values["spec"])
        connection.execute(sa.insert(supernets).values(_plain({**values, "latest_version_id": row["weights_id"]})))
        if row["weights_id"] is not None:
            version = {source: row[name] for name, source in WEIGHTS.items()}
            version |= {"supernet_id": row["id"], "number": 1}
            connection.execute(sa.insert(versions).values(_plain(version)))
        _refer(connection, jobs, "network_id", "supernet_id", [row["id"]])
        _rename(connection, events, "network_id", "supernet_id", [row["id"]])


def _with_strategy(spec: dict[str, Any]) -> dict[str, Any]:
    """A network's spec as a supernet's: later releases write what it is trained from into the spec itself."""
    if "strategy" in spec:
        return spec
    strategy = {name: spec[name] for name in OF_NETWORKS if name in spec}
    others = {name: value for name, value in spec.items() if name not in OF_NETWORKS}
    return {**others, "strategy": {"kind": "retrain", **strategy}}


def _refer(connection: sa.Connection, jobs: sa.Table, old: str, new: str, ids: Sequence[str]) -> None:
    """Let jobs name what they are for by their other column, in the payload of those that train it too."""
    training = sa.select(jobs.c.id, jobs.c.payload).where(jobs.c[old].in_(ids), jobs.c.kind == "train")
    for job in connection.execute(training).all():
        payload = {new if name == old else name: value for name, value in job.payload.items() if name != new}
        connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(payload=payload))
    _rename(connection, jobs, old, new, ids)


def _rename(connection: sa.Connection, table: sa.Table, old: str, new: str, ids: Sequence[str]) -> None:
    moved = sa.update(table).where(table.c[old].in_(ids))
    connection.execute(moved.values({new: table.c[old], old: None}))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """NULL for None also in JSON columns."""
    return {name: sa.null() if value is None else value for name, value in values.items()}


def _chunks(ids: list[Any]) -> list[list[Any]]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
