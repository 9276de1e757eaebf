"""Principals hold tokens, and own what is made with them; what is there already goes to whoever made it.

A token of before gets a principal of its own, named after it. A thing belongs to the principal of the token that
created it; a job to the owner of what it serves; a device, an enrolment token, an artifact, and whatever was created
without authentication, to the principal of the oldest token that is an admin's and may still be used (or of the oldest
admin's token, if none may).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from ulid import ULID

revision = "0009_owners"
down_revision = "0008_device_classes"
branch_labels = None
depends_on = None

CREATED = ("searches", "supernets", "ranking_studies", "latency_batches", "space_tables")
"""Tables whose rows name the token that created them."""
UNSIGNED = ("enrolment_tokens", "devices", "artifacts", "jobs")
OWNED = (*CREATED, *UNSIGNED)
MAX_NAME = 160  # of 200 characters: the id of a token follows where the name is taken


def upgrade() -> None:
    op.create_table(
        "principals",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principals")),
        sa.UniqueConstraint("name", name=op.f("uq_principals_name")),
    )
    _add_reference("api_tokens", "principal_id")
    for table in OWNED:
        _add_reference(table, "owner_id")
    op.create_index("ix_jobs_owner_id", "jobs", ["owner_id"], unique=False)
    _fill(op.get_bind())


def downgrade() -> None:
    """Back to the revision before; who owns what is lost, who created what stays."""
    op.drop_index("ix_jobs_owner_id", table_name="jobs")
    for table in OWNED:
        _drop_reference(table, "owner_id")
    _drop_reference("api_tokens", "principal_id")
    op.drop_table("principals")


def _add_reference(table: str, column: str) -> None:
    # As SQL: SQLite takes a reference with its column, and would copy the whole table for one that is added later.
    key = f"CONSTRAINT fk_{table}_{column} REFERENCES principals (id)"
    op.execute(f"ALTER TABLE {table} ADD COLUMN {column} VARCHAR(40) {key}")


def _drop_reference(table: str, column: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_column(table, column)
        return
    # SQLite drops no column that refers to another table: a copy of the table leaves out both.
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.drop_column(column)


def _fill(connection: sa.Connection) -> None:
    metadata = sa.MetaData()
    metadata.reflect(connection, only=("api_tokens", "principals", "candidates", *OWNED))
    tables = metadata.tables
    tokens = tables["api_tokens"]
    found = [row._mapping for row in connection.execute(sa.select(tokens).order_by(tokens.c.id))]
    names: set[str] = set()
    for token in found:
        name = token["name"] if token["name"] not in names else f"{token['name'][:MAX_NAME]} ({token['id']})"
        names.add(name)
        id = f"prin_{str(ULID()).lower()}"
        principal = {"id": id, "name": name, "created_at": token["created_at"]}
        connection.execute(sa.insert(tables["principals"]).values(principal))
        connection.execute(sa.update(tokens).where(tokens.c.id == token["id"]).values(principal_id=id))
    for name in CREATED:
        table = tables[name]
        creator = sa.select(tokens.c.principal_id).where(tokens.c.id == table.c.created_by).scalar_subquery()
        connection.execute(sa.update(table).values(owner_id=creator))
    admin = _admin(connection, tokens, found)
    for name in OWNED:
        if name != "jobs":
            _to(connection, tables[name], admin)
    _fill_jobs(connection, tables)
    _to(connection, tables["jobs"], admin)


def _admin(connection: sa.Connection, tokens: sa.Table, found: list[Any]) -> str | None:
    """The principal that gets what nobody is known for; None where there never was an admin."""
    admins = [token for token in found if "admin" in token["roles"]]
    oldest = next(iter(sorted(admins, key=lambda token: (token["revoked_at"] is not None, token["id"]))), None)
    if oldest is None:
        return None
    statement = sa.select(tokens.c.principal_id).where(tokens.c.id == oldest["id"])
    return str(connection.execute(statement).scalar_one())


def _fill_jobs(connection: sa.Connection, tables: Any) -> None:
    """A job belongs to the owner of its search, its candidate's search or its supernet."""
    jobs, candidates, searches, supernets = (tables[name] for name in ("jobs", "candidates", "searches", "supernets"))
    of_candidate = (
        sa.select(searches.c.owner_id)
        .join(candidates, candidates.c.search_id == searches.c.id)
        .where(candidates.c.id == jobs.c.candidate_id)
    )
    for owner in (
        sa.select(searches.c.owner_id).where(searches.c.id == jobs.c.search_id),
        of_candidate,
        sa.select(supernets.c.owner_id).where(supernets.c.id == jobs.c.supernet_id),
    ):
        unfilled = sa.update(jobs).where(jobs.c.owner_id.is_(None))
        connection.execute(unfilled.values(owner_id=owner.scalar_subquery()))
    studies = tables["ranking_studies"]
    for job in connection.execute(sa.select(jobs.c.id, jobs.c.payload).where(jobs.c.kind == "rank")).all():
        study = sa.select(studies.c.owner_id).where(studies.c.id == job.payload["study_id"]).scalar_subquery()
        connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(owner_id=study))


def _to(connection: sa.Connection, table: sa.Table, owner_id: str | None) -> None:
    """Give what has no owner yet to somebody."""
    connection.execute(sa.update(table).where(table.c.owner_id.is_(None)).values(owner_id=owner_id))
