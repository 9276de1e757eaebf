"""Tables of jobs, exclusions and leases, and how their values lie in them."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from nas_engine.domain.job_protocol import FailureType
from server.access.store import OWNER, OWNER_PATH, owner_column
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.types import Digest, EnumText, Id, Json, JsonOf, Label, Timestamp
from server.jobs.job import Job, LeaseRecord
from server.jobs.states import JobKind, JobPhase, JobState, LeaseOutcome

_UNFINISHED = sa.text("state IN ('queued', 'leased') AND dedupe_key IS NOT NULL")
_WAITING = sa.text("state = 'queued'")


jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", EnumText(JobKind), nullable=False),
    sa.Column("state", EnumText(JobState), nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("dedupe_key", sa.Text),
    sa.Column("priority", sa.BigInteger, nullable=False),
    sa.Column("interactive", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("target_device_type", Label),
    sa.Column("target_pool_key", Digest),
    sa.Column("target_device_id", Id),
    sa.Column("target_labels", JsonOf(Mapping[str, str]), nullable=False),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), index=True),
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id")),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), index=True),
    sa.Column("network_id", Id, sa.ForeignKey("networks.id"), index=True),
    sa.Column("latency_key", Digest),
    sa.Column("hardware_key", Digest),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("max_attempts", sa.BigInteger, nullable=False),
    sa.Column("not_before", Timestamp, nullable=False),
    sa.Column("lease_owner", Id, index=True),
    sa.Column("lease_id", Id),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("lease_expires_at", Timestamp),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("phase", EnumText(JobPhase)),
    sa.Column("failure_type", EnumText(FailureType)),
    sa.Column("failure_message", sa.Text, nullable=False),
    sa.Column("result", Json),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    owner_column(),
    sa.Index("ix_jobs_latency_key_hardware_key", "latency_key", "hardware_key"),
    # One unfinished job per dedupe key.
    sa.Index(
        "uq_jobs_active_dedupe_key", "dedupe_key", unique=True, sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED
    ),
)


# In the order of claims, so that the first match ends a search for work.
sa.Index(
    "ix_jobs_queue",
    jobs.c.state,
    jobs.c.kind,
    jobs.c.priority.desc(),
    jobs.c.interactive.desc(),
    jobs.c.turn,
    jobs.c.id,
)
# In the order of turns: the last one that an owner has, and the first of a pool, are read for every order.
_LINE = (jobs.c.kind, jobs.c.priority, jobs.c.interactive, jobs.c.target_device_type)
sa.Index("ix_jobs_owner_id", jobs.c.owner_id, jobs.c.state, *_LINE, jobs.c.turn)
sa.Index(
    "ix_jobs_waiting",
    *_LINE,
    jobs.c.target_pool_key,
    jobs.c.turn,
    jobs.c.id,
    sqlite_where=_WAITING,
    postgresql_where=_WAITING,
)

job_exclusions = sa.Table(
    "job_exclusions",
    metadata,
    sa.Column("job_id", Id, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("owner", Id, primary_key=True),
)


leases = sa.Table(
    "leases",
    metadata,
    sa.Column("lease_id", Id, primary_key=True),
    sa.Column("job_id", Id, sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("owner", Id, nullable=False),
    sa.Column("device_id", Id),
    sa.Column("claimed_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp),
    sa.Column("outcome", EnumText(LeaseOutcome)),
    sa.Column("failure_type", EnumText(FailureType)),
    sa.Column("failure_message", sa.Text, nullable=False),
    sa.Column("result_digest", Digest),
    sa.UniqueConstraint("job_id", "lease_epoch"),
    # With the end: what a device did of late is counted at its claims, however much it did before.
    sa.Index("ix_leases_device_id", "device_id", "ended_at"),
    # In the order of time: the latest of a claimant.
    sa.Index("ix_leases_owner", "owner", "lease_id"),
)


JOBS = Rows(
    Job,
    jobs,
    paths={f"target_{name}": f"target.{name}" for name in ("device_type", "pool_key", "device_id", "labels")}
    | OWNER_PATH,
    joined=OWNER,
)
LEASES = Rows(LeaseRecord, leases)
