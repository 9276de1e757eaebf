"""What-if boards as records: what is measured on the new board, and what is estimated of every candidate from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum

from nas_engine.domain.json_value import AS_DOCUMENT
from nas_engine.domain.measurement import Validity
from server.access.principal import Principal
from server.latencies.predictors.predictor import FitQuality
from server.latency_tables.batch import EntryState
from server.searches.what_if.spec import WhatIfSpec

NUM_NEXT = 8
"""Candidates that are named as those whose measurement would most settle the front."""

VALIDATION = "each measured network left out of the fit in turn"


class WhatIfState(Enum):
    """PLANNING (a worker chooses what to measure) -> MEASURING -> FITTING (a worker estimates) -> COMPLETED.

    COMPLETED -> MEASURING where more is measured to be sure.
    """

    PLANNING = "planning"
    MEASURING = "measuring"
    FITTING = "fitting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing is under way."""
        return self in (WhatIfState.COMPLETED, WhatIfState.FAILED, WhatIfState.CANCELLED)


class LatencyKind(StrEnum):
    """What a latency on the new board is; kinds are never mixed under one name."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    ESTIMATED = "estimated"
    REJECTED = "rejected"  # the board or its compiler refused the network: it has no latency there


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenNetwork:
    """A candidate that is measured on the new board.

    Attributes:
        seq: number of the candidate in its search.
        latency_key: what its latency is filed under.
        num_round: 1 for the first ones, 2 for those that were to make sure of the front, and so on.
        job_id: first job of those that bring its latency; None where it was known, and before it is ordered.
        state, reason: where it stands; as of the last change of the what-if's state.
        latency_us, low_us, high_us: median and its 95 % interval; None before it is measured.
        flags: why the latency may not be trusted.
    """

    __pydantic_config__ = AS_DOCUMENT

    candidate_id: str
    seq: int
    arch_id: str
    latency_key: str
    num_round: int = 1
    job_id: str | None = None
    state: EntryState = EntryState.QUEUED
    reason: str = ""
    latency_us: float | None = None
    low_us: float | None = None
    high_us: float | None = None
    flags: tuple[Validity, ...] = ()
    measurement_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedNetwork:
    """One candidate of the search, on the new board.

    Attributes:
        kind: what `latency_us` is.
        latency_us, low_us, high_us: on the new board, with its 95 % interval; None of what was rejected.
        old_latency_us: on the search's own board.
        values: all objectives in the search's order, the latency being that on the new board; empty of what was
            rejected.
        is_feasible: whether it meets the search's constraints; those on latency are of the other board and not asked.
        on_front: whether no feasible candidate is better in every objective, as these values stand.
        front_share: share of the draws from what was learned in which it is on the front.
        measurement_id: of what was measured; None of an estimate.
    """

    __pydantic_config__ = AS_DOCUMENT

    candidate_id: str
    seq: int
    arch_id: str
    kind: LatencyKind
    latency_us: float | None
    low_us: float | None
    high_us: float | None
    old_latency_us: float
    values: tuple[float, ...]
    is_feasible: bool
    on_front: bool
    front_share: float
    measurement_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedOver:
    """What a fit gave; kept as an artifact.

    Attributes:
        metrics: of the values, by name.
        networks: every candidate whose objectives are known, by number.
        next_candidate_ids: whose measurement would most settle the front, the most settling first.
    """

    metrics: tuple[str, ...]
    networks: tuple[CarriedNetwork, ...]
    next_candidate_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """A search's front on a board that it was not measured on.

    Attributes:
        id: ``wif_...``.
        hardware_key: what the new latencies are filed under.
        reason: why it is in this state; empty where there is nothing to say.
        chosen: what is measured.
        artifact_sha256: of what the last fit gave; None before the first.
        quality: of the last fit, on measured networks left out; None before the first.
        num_fitted: measurements that the last fit stands on.
        created_by: id of the token that created it; None without authentication.
        owner: whose token that was.
        version: grows with every change.
    """

    id: str
    search_id: str
    spec: WhatIfSpec
    hardware_key: str
    state: WhatIfState = WhatIfState.PLANNING
    reason: str = ""
    chosen: tuple[ChosenNetwork, ...] = ()
    artifact_sha256: str | None = None
    quality: FitQuality | None = None
    num_fitted: int = 0
    created_by: str | None = None
    owner: Principal | None = None
    created_at: datetime
    finished_at: datetime | None = None
    version: int = 1

    @property
    def num_rounds(self) -> int:
        """How many times candidates were chosen."""
        return max((one.num_round for one in self.chosen), default=0)


WHAT_IF_TRANSITIONS: Mapping[WhatIfState, frozenset[WhatIfState]] = {
    WhatIfState.PLANNING: frozenset({WhatIfState.MEASURING, WhatIfState.FAILED, WhatIfState.CANCELLED}),
    WhatIfState.MEASURING: frozenset({WhatIfState.FITTING, WhatIfState.FAILED, WhatIfState.CANCELLED}),
    WhatIfState.FITTING: frozenset({WhatIfState.COMPLETED, WhatIfState.FAILED, WhatIfState.CANCELLED}),
    WhatIfState.COMPLETED: frozenset({WhatIfState.MEASURING}),
    WhatIfState.FAILED: frozenset(),
    WhatIfState.CANCELLED: frozenset(),
}
