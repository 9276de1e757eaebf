"""Latency tables and their reports get tables of their own: until now they were searches.

Their rows among the searches stay as history, with their candidates, evaluations, checkpoints and jobs, and say where
to look today. What such a search was still waiting for is ordered anew by its batch.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007_latency_tables"
down_revision = "0006_npu_time_source"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
OPERATORS = "operators"
TABLE_LABEL = "latency-table"
ACTIVE = ("queued", "leased")
FINAL = ("completed", "failed", "cancelled")


def upgrade() -> None:
    op.create_table(
        "latency_batches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("sampling", JSON, nullable=True),
        sa.Column("table_id", sa.String(length=40), nullable=True),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hardware_key", sa.String(length=64), nullable=False),
        sa.Column("num_entries", sa.BigInteger(), nullable=False),
        sa.Column("num_draws", sa.BigInteger(), nullable=False),
        sa.Column("num_measured", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hardware_key"], ["hardware.hardware_key"], name=op.f("fk_latency_batches_hardware_key")
        ),
        sa.ForeignKeyConstraint(["table_id"], ["latency_batches.id"], name=op.f("fk_latency_batches_table_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_latency_batches")),
    )
    op.create_index(op.f("ix_latency_batches_state"), "latency_batches", ["state"], unique=False)
    op.create_index(op.f("ix_latency_batches_table_id"), "latency_batches", ["table_id"], unique=False)
    op.create_table(
        "latency_entries",
        sa.Column("batch_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("latency_key", sa.String(length=64), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=True),
        sa.Column("estimates_us", JSON, nullable=False),
        sa.Column("missing", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("latency_us", sa.Double(), nullable=True),
        sa.Column("flags", JSON, nullable=False),
        sa.Column("measurement_id", sa.String(length=40), nullable=True),
        sa.CheckConstraint(
            "latency_us >= -1.7e308 AND latency_us <= 1.7e308", name=op.f("ck_latency_entries_latency_us_finite")
        ),
        sa.ForeignKeyConstraint(["arch_id"], ["architectures.arch_id"], name=op.f("fk_latency_entries_arch_id")),
        sa.ForeignKeyConstraint(["batch_id"], ["latency_batches.id"], name=op.f("fk_latency_entries_batch_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_latency_entries_job_id")),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_latency_entries")),
        sa.UniqueConstraint(
            "batch_id", "latency_key", "arch_id", name=op.f("uq_latency_entries_batch_id_latency_key_arch_id")
        ),
    )
    op.create_index("ix_latency_entries_latency_key_state", "latency_entries", ["latency_key", "state"], unique=False)
    op.add_column("searches", sa.Column("moved_to", sa.Text(), nullable=True))
    _move(op.get_bind())


def downgrade() -> None:
    """Back to the revision before; tables and reports that were not there as searches are lost."""
    with op.batch_alter_table("searches", schema=None) as batch_op:
        batch_op.drop_column("moved_to")
    op.drop_table("latency_entries")
    op.drop_table("latency_batches")


def _move(connection: sa.Connection) -> None:
    """Give every search that is a table or a report its row as a batch; tables first, which reports point to."""
    names = (
        "searches",
        "candidates",
        "evaluations",
        "awaited_evaluations",
        "jobs",
        "latency_batches",
        "latency_entries",
    )
    metadata = sa.MetaData()
    metadata.reflect(connection, only=names)
    tables = {name: metadata.tables[name] for name in names}
    searches = tables["searches"]
    found = [row._mapping for row in connection.execute(sa.select(searches).order_by(searches.c.id))]
    operators = [search for search in found if search["space_id"] == OPERATORS]
    reports = [search for search in found if search["spec"]["algorithm"]["kind"] == "cost_report"]
    for search in (*operators, *reports):
        connection.execute(sa.insert(tables["latency_batches"]).values(_batch(search)))
        entries = _entries(connection, tables, search)
        if entries:
            connection.execute(sa.insert(tables["latency_entries"]), entries)
        moved = sa.update(searches).where(searches.c.id == search["id"])
        connection.execute(moved.values(moved_to=_path(search)))
    _end_waiting(connection, tables, [search["id"] for search in (*operators, *reports)])


def _path(search: Any) -> str:
    algorithm = search["spec"]["algorithm"]
    if algorithm["kind"] != "cost_report":
        return f"/api/v1/latency-tables/{search['id']}"
    return f"/api/v1/latency-tables/{algorithm['latency_table']}/reports/{search['id']}"


def _batch(search: Any) -> dict[str, Any]:
    spec, sampling = search["spec"], None
    paused = search["desired_state"] == "paused"
    algorithm, num_entries = spec["algorithm"], spec["budget"]["num_candidates"]
    space = spec["space"]
    if search["space_id"] == OPERATORS:
        space = {"id": space["parameters"]["space"], "parameters": space["parameters"]["parameters"]}
    else:
        sampling = {
            "table_id": algorithm["latency_table"],
            "num_networks": num_entries,
            "seed": spec["seed"],
            "logit_std": algorithm["logit_std"],
        }
        if search["state"] == "completed":  # a small space may hold fewer networks than were asked for
            num_entries = search["progress"]["num_asked"]
    labels = {name: value for name, value in spec["labels"].items() if sampling is None or name != TABLE_LABEL}
    return {
        "id": search["id"],
        "spec": {**{key: spec[key] for key in ("name", "device", "measurement", "priority")}, "space": space}
        | {"labels": labels},
        "sampling": sampling,
        "table_id": None if sampling is None else sampling["table_id"],
        "state": search["state"] if search["state"] in FINAL else "paused" if paused else "running",
        "reason": search["reason"],
        "hardware_key": search["hardware_key"],
        "num_entries": num_entries,
        "num_draws": 0,
        "num_measured": search["progress"]["num_complete"],
        "created_by": search["created_by"],
        "created_at": search["created_at"],
        "finished_at": search["finished_at"],
        "version": search["version"],
    }


def _entries(connection: sa.Connection, tables: dict[str, sa.Table], search: Any) -> list[dict[str, Any]]:
    candidates, evaluations = tables["candidates"], tables["evaluations"]
    measured = sa.select(evaluations.c.candidate_id, evaluations.c.measurement_id).where(
        evaluations.c.search_id == search["id"], evaluations.c.metric == "latency_us"
    )
    # The highest attempt stays.
    rows = connection.execute(measured.order_by(evaluations.c.attempt))
    measurement_of = {row.candidate_id: row.measurement_id for row in rows}
    of_search = sa.select(candidates).where(candidates.c.search_id == search["id"]).order_by(candidates.c.seq)
    entries = []
    for candidate in connection.execute(of_search):
        drawn = candidate.provenance if isinstance(candidate.provenance, dict) else {}
        entries.append(
            {
                "batch_id": search["id"],
                "number": candidate.seq,
                "id": candidate.id,
                "latency_key": candidate.latency_key,
                "arch_id": None if search["space_id"] == OPERATORS else candidate.arch_id,
                "estimates_us": drawn.get("estimates_us", {}),
                "missing": drawn.get("missing", ""),
                "job_id": None,
                "state": "asked" if candidate.state == "evaluating" else candidate.state,
                "reason": candidate.reason,
                "latency_us": candidate.latency_us,
                "flags": candidate.latency_flags,
                "measurement_id": measurement_of.get(candidate.id),
            }
        )
    return entries


def _end_waiting(connection: sa.Connection, tables: dict[str, sa.Table], moved: list[str]) -> None:
    """Cancel what runs for moved searches, or leave it to a search that waits for the same measurement."""
    awaited, jobs = tables["awaited_evaluations"], tables["jobs"]
    connection.execute(sa.delete(awaited).where(awaited.c.search_id.in_(moved)))
    heirs: dict[tuple[str, str], tuple[str, str]] = {}
    for row in connection.execute(sa.select(awaited).where(awaited.c.latency_key.is_not(None))):
        heirs.setdefault((row.latency_key, row.hardware_key), (row.search_id, row.candidate_id))
    active = sa.select(jobs).where(jobs.c.search_id.in_(moved), jobs.c.state.in_(ACTIVE))
    clock = sa.text(
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
        if connection.dialect.name == "postgresql"
        else "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"
    )
    for job in connection.execute(active).all():
        heir = heirs.get((job.latency_key, job.hardware_key))
        values: dict[str, Any] = {"state": "cancelled", "phase": None, "lease_expires_at": None, "finished_at": clock}
        if heir is not None:
            values = {"search_id": heir[0], "candidate_id": heir[1]}
        connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(values))
