"""Batches of measuring jobs: a latency table measures the operators of a space, a cost report sampled networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from nas_engine.domain.json_value import AS_DOCUMENT
from nas_engine.domain.measurement import Validity
from nas_engine.domain.measuring.environment import Dtype
from server.access.principal import Principal
from server.latency_tables.spec import LatencyTableSpec


class BatchState(Enum):
    """RUNNING until every entry has ended; PAUSED and CANCELLED by a user. Named as the states of searches are."""

    RUNNING = "running"
    PAUSED = "paused"  # what boards and workers hold goes on, nothing more is given out
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self not in (BatchState.RUNNING, BatchState.PAUSED)


class EntryState(Enum):
    """Where an entry stands. On the wire these are the states of candidates."""

    QUEUED = "asked"
    UNDER_WAY = "evaluating"
    MEASURED = "complete"
    REJECTED = "infeasible"  # the compiler or the board refuses the model: the model's own fault
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self in (EntryState.MEASURED, EntryState.REJECTED, EntryState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which networks a report draws; see `CostReportSpec`.

    Attributes:
        table_id: the latency table that estimates them.
    """

    table_id: str
    num_networks: int
    seed: int
    logit_std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A latency table, or (with `sampling`) a report of one.

    Attributes:
        id: ``ltab_...`` or ``crep_...``; those of the first release are ``srch_...``.
        spec: what is measured, on what and how; that of a report is its table's, narrowed to the table's hardware.
        sampling: of a report; None for a table.
        reason: why it is in this state, for people; empty where there is nothing to say.
        hardware_key: what its latencies are filed under.
        num_entries: how many there will be.
        num_draws: networks drawn so far, repeated ones included.
        num_measured: as of the last change of state; `server.latency_tables.progress` counts while it runs.
        created_by: id of the token that created it; None without authentication.
        owner: whose token that was; None without authentication.
        version: grows with every change.
    """

    id: str
    spec: LatencyTableSpec
    sampling: Sampling | None = None
    state: BatchState = BatchState.RUNNING
    reason: str = ""
    hardware_key: str
    num_entries: int
    num_draws: int = 0
    num_measured: int = 0
    created_by: str | None = None
    owner: Principal | None = None
    created_at: datetime
    finished_at: datetime | None = None
    version: int = 1

    @property
    def batch_size(self) -> int:
        """Images per inference."""
        return self.spec.device.batch

    @property
    def dtype(self) -> Dtype:
        """Number format on the device."""
        return self.spec.device.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEntry:
    """One operator of a table, or one network of a report.

    Attributes:
        id: ``cand_...``, as reports name their networks on the wire.
        number: 1 for the first of its batch.
        latency_key: what its latency is filed under.
        arch_id: of a report's network; None for an operator.
        estimates_us: of a network, by estimator, made from the table before it was measured.
        missing: the operator that the table lacks of a network; empty where it has all.
        job_id: first job of those that bring its latency; None where it was known, and before it is ordered.
        state, reason: as of the last change of the batch's state; see `server.latency_tables.progress`.
        latency_us: median; None before it is measured.
        flags: why the latency may not be trusted.
    """

    batch_id: str
    number: int
    id: str
    latency_key: str
    arch_id: str | None = None
    estimates_us: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""
    job_id: str | None = None
    state: EntryState = EntryState.QUEUED
    reason: str = ""
    latency_us: float | None = None
    flags: tuple[Validity, ...] = ()
    measurement_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateAgreement:
    """How well one estimator agrees with the measurements of the same networks."""

    __pydantic_config__ = AS_DOCUMENT

    estimator: str
    """Estimator that is compared: `chained` and `local` follow the architecture parameters (DenseNAS), `operators` sums
    the network's own operators."""

    num_networks: int
    """Number of measured networks that are compared."""

    kendall_tau: float | None
    """Kendall's tau of the two orders, -1 to 1; null where all of one side are equal."""

    mean_absolute_error_us: float
    """Mean absolute difference of estimate and measurement, in microseconds."""

    mean_relative_error: float
    """Mean absolute difference over the measurement, as a fraction."""

    mean_error_us: float
    """Mean of estimate less measurement, in microseconds: positive where the estimator is too high."""
