"""Tables of batches and their entries, and their store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from nas_engine.domain.measurement import Validity
from server.access.store import OWNER, OWNER_PATH, owned_by, owner_column
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, chunks, count_of
from server.core.database.types import Digest, EnumText, Id, JsonOf, Timestamp, finite
from server.core.paging import Page, PageRequest
from server.fleet.store import reusable_from
from server.latency_tables.batch import Batch, BatchEntry, BatchState, EntryState, Sampling
from server.latency_tables.spec import LatencyTableSpec, parse_latency_table_spec
from server.measuring.store import measurements

latency_batches = sa.Table(
    "latency_batches",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", JsonOf(LatencyTableSpec, load=parse_latency_table_spec), nullable=False),
    sa.Column("sampling", JsonOf(Sampling)),
    sa.Column("table_id", Id, sa.ForeignKey("latency_batches.id"), index=True),
    sa.Column("state", EnumText(BatchState), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key"), nullable=False),
    sa.Column("num_entries", sa.BigInteger, nullable=False),
    sa.Column("num_draws", sa.BigInteger, nullable=False),
    sa.Column("num_measured", sa.BigInteger, nullable=False),
    sa.Column("created_by", Id),
    owner_column(),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)


latency_entries = sa.Table(
    "latency_entries",
    metadata,
    sa.Column("batch_id", Id, sa.ForeignKey("latency_batches.id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", Id, nullable=False),
    sa.Column("latency_key", Digest, nullable=False),
    sa.Column("arch_id", Digest, sa.ForeignKey("architectures.arch_id")),
    sa.Column("estimates_us", JsonOf(Mapping[str, float]), nullable=False),
    sa.Column("missing", sa.Text, nullable=False),
    sa.Column("job_id", Id, sa.ForeignKey("jobs.id")),
    sa.Column("state", EnumText(EntryState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("latency_us", sa.Double),
    sa.Column("flags", JsonOf(tuple[Validity, ...]), nullable=False),
    sa.Column("measurement_id", Id),
    sa.UniqueConstraint("batch_id", "latency_key", "arch_id"),
    sa.Index("ix_latency_entries_latency_key_state", "latency_key", "state"),
    finite("latency_us"),
)


BATCHES = Rows(Batch, latency_batches, paths={"table_id": "sampling.table_id", **OWNER_PATH}, joined=OWNER)
ENTRIES = Rows(BatchEntry, latency_entries)


class BatchStore(Store):
    """Latency tables and their reports as rows."""

    def add_batch(self, batch: Batch) -> None:
        """Store a new one."""
        self._insert(BATCHES, batch)

    def find_batch(self, batch_id: str) -> Batch | None:
        """Read one; None where there is none."""
        return self._first(BATCHES, BATCHES.select(latency_batches.c.id == batch_id))

    def get_batch(self, batch_id: str, kind: str = "latency table") -> Batch:
        """Read one; NotFoundError names it as `kind`."""
        return self._one(BATCHES, BATCHES.select(latency_batches.c.id == batch_id), kind, batch_id)

    def lock_batch(self, batch_id: str) -> Batch:
        """Read one and hold it, and with it its entries, until the transaction ends."""
        statement = BATCHES.select(latency_batches.c.id == batch_id).with_for_update(of=latency_batches)
        return self._one(BATCHES, statement, "latency table", batch_id)

    def save_batch(self, batch: Batch) -> Batch:
        """Write a locked one with its version one higher."""
        return self._save(BATCHES, batch)

    def page_of_batches(self, table_id: str | None, page: PageRequest, owner: str | None = None) -> Page[Batch]:
        """List the reports of a table, or (None) the tables, or those of them that an owner has; newest first."""
        of_table = latency_batches.c.table_id
        statement = BATCHES.select(of_table.is_(None) if table_id is None else of_table == table_id)
        statement = owned_by(statement, latency_batches.c.owner_id, owner)
        # Not by id: the first release's begin otherwise.
        created_us = sa.type_coerce(latency_batches.c.created_at, sa.BigInteger).label("created_us")
        return self._page(
            BATCHES,
            statement.add_columns(created_us),
            page,
            id_column=latency_batches.c.id,
            value_column=created_us,
            descending=True,
        )

    def num_open_of(self, owner_id: str) -> int:
        """How many tables and reports of an owner are not over."""
        c = latency_batches.c
        going_on = c.state.in_([state for state in BatchState if not state.final])
        return count_of(self._connection, sa.select(c.id).where(c.owner_id == owner_id, going_on))

    def running_batches(self) -> tuple[Batch, ...]:
        """Those that are RUNNING, oldest first."""
        statement = BATCHES.select(latency_batches.c.state == BatchState.RUNNING)
        return self._list(BATCHES, statement.order_by(latency_batches.c.created_at, latency_batches.c.id))

    def complete_tables(self, after: str, limit: int) -> tuple[Batch, ...]:
        """The next tables by id that ended with every operator measured."""
        c = latency_batches.c
        complete = (c.state == BatchState.COMPLETED, c.num_measured >= c.num_entries)
        statement = BATCHES.select(c.table_id.is_(None), *complete, c.id > after)
        return self._list(BATCHES, statement.order_by(c.id).limit(limit))

    def ended_reports(self, table_ids: Collection[str]) -> list[Batch]:
        """Reports of these tables that are over, the newest first."""
        c = latency_batches.c
        over = c.state.in_([state for state in BatchState if state.final])
        found = self._list_in(BATCHES, c.table_id, sorted(table_ids), over)
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)

    def num_trusted_entries(self, batch_ids: Collection[str]) -> Mapping[str, int]:
        """How many entries of each of these batches `trusted_entries` has."""
        e, found = latency_entries.c, dict.fromkeys(batch_ids, 0)
        for some in chunks(sorted(batch_ids)):
            statement = sa.select(e.batch_id, sa.func.count()).where(e.batch_id.in_(some), *_trusted())
            found |= {row[0]: int(row[1]) for row in self._connection.execute(statement.group_by(e.batch_id))}
        return found

    def num_compared_networks(self, table_ids: Collection[str]) -> Mapping[str, int]:
        """How many different networks the reports of each of these tables compare, of those that are over."""
        b, e, found = latency_batches.c, latency_entries.c, dict.fromkeys(table_ids, 0)
        over = b.state.in_([state for state in BatchState if state.final])
        for some in chunks(sorted(table_ids)):
            number = sa.func.count(e.arch_id.distinct())
            of_reports = (b.table_id.in_(some), over, e.batch_id == b.id, *_trusted())
            statement = sa.select(b.table_id, number).where(*of_reports).group_by(b.table_id)
            found |= {row[0]: int(row[1]) for row in self._connection.execute(statement)}
        return found

    def trusted_entries(self, batch_id: str) -> tuple[BatchEntry, ...]:
        """Entries of a batch that is over whose measurements may steer, by number: networks that the table lacks an
        operator of are left out.
        """
        e = latency_entries.c
        return self._list(ENTRIES, ENTRIES.select(e.batch_id == batch_id, *_trusted()).order_by(e.number))

    def batch_entries(self, batch_id: str) -> tuple[BatchEntry, ...]:
        """Every entry of a batch, by number."""
        statement = ENTRIES.select(latency_entries.c.batch_id == batch_id)
        return self._list(ENTRIES, statement.order_by(latency_entries.c.number))

    def batch_entries_waiting_for(self, latency_key: str, hardware_key: str) -> tuple[BatchEntry, ...]:
        """Entries of running batches on this hardware that have a job for this latency key, oldest first."""
        statement = ENTRIES.select(
            latency_entries.c.latency_key == latency_key,
            latency_entries.c.job_id.is_not(None),
            latency_batches.c.id == latency_entries.c.batch_id,
            latency_batches.c.state == BatchState.RUNNING,
            latency_batches.c.hardware_key == hardware_key,
        )
        return self._list(ENTRIES, statement.order_by(latency_entries.c.job_id))

    def add_batch_entries(self, entries: Sequence[BatchEntry]) -> None:
        """Store new entries of a locked batch."""
        self._insert(ENTRIES, *entries)

    def save_batch_entry(self, entry: BatchEntry) -> None:
        """Write an entry of a locked batch."""
        mine = (latency_entries.c.batch_id == entry.batch_id, latency_entries.c.number == entry.number)
        self._connection.execute(sa.update(latency_entries).where(*mine).values(ENTRIES.row_of(entry)))


def _trusted() -> tuple[sa.ColumnElement[bool], ...]:
    """Measured, and by a measurement that nobody came to doubt."""
    e, m = latency_entries.c, measurements.c
    return (
        e.state == EntryState.MEASURED,
        e.missing == "",
        m.id == e.measurement_id,
        m.superseded.is_(False),
        m.suspect.is_(False),
        reusable_from(m.device_id),
    )
