"""What-if boards on the wire."""

from __future__ import annotations

from pydantic import AwareDatetime

from server.access.schemas import Owner
from server.candidates.states import CandidateState
from server.core.http.resources import Id, Resource
from server.latencies.schemas import FitQualityResource
from server.searches.fronts.schemas import FrontObjectiveResource
from server.searches.what_if.what_if import LatencyKind, WhatIfState


class ChosenNetworkResource(Resource):
    """A candidate that is measured on the new board."""

    candidate_id: Id
    """Candidate of the search."""

    short_id: str
    """Name of the candidate that is taken wherever its id is."""

    arch_id: str
    """Identity of its architecture: SHA-256 of its canonical JSON."""

    num_round: int
    """1 for the first ones; 2 for those that were measured to be surer of the front, and so on."""

    state: CandidateState
    """State of its measurement; infeasible where the board or its compiler refuses the network."""

    reason: str
    """Reason of its state for people; empty where there is none."""

    latency_us: float | None
    """Median latency on the new board, microseconds; null before it is measured."""

    low_us: float | None
    """Lower end of the median's 95 % interval, microseconds."""

    high_us: float | None
    """Upper end of the median's 95 % interval, microseconds."""

    flags: list[str]
    """Reasons why the latency may not be trusted, set by the server; empty where valid."""

    measurement_id: Id | None
    """Measurement with its samples; null before it is there."""


class CarriedNetworkResource(Resource):
    """One candidate of the search on the new board: measured there, or estimated."""

    candidate_id: Id
    """Candidate of the search."""

    short_id: str
    """Name of the candidate that is taken wherever its id is."""

    arch_id: str
    """Identity of its architecture: SHA-256 of its canonical JSON."""

    kind: LatencyKind
    """What the latency is: measured or simulated on the new board, estimated, or `rejected` where the board refuses the
    network."""

    latency_us: float | None
    """Latency on the new board, microseconds: the median of a measurement, or the estimate; null where rejected."""

    low_us: float | None
    """Lower end of its 95 % interval, microseconds: of the median, or for a new measurement of what is estimated."""

    high_us: float | None
    """Upper end of its 95 % interval, microseconds."""

    old_latency_us: float
    """Latency on the search's own board, microseconds."""

    values: list[float]
    """Values of the objectives, in their order and units, with the latency on the new board; empty where rejected."""

    is_feasible: bool
    """Whether it meets the search's constraints; those on latency are of the search's own board and not asked."""

    on_front: bool
    """Whether no feasible candidate is better in every objective, as the values stand."""

    front_share: float
    """Share of what the latencies may be, by what was learned, in which it is on the front: 0 to 1."""

    measurement_id: Id | None
    """Measurement that the latency is of; null of an estimate."""


class WhatIfResource(Resource):
    """A finished search's front on a board that it was not measured on."""

    id: Id
    """Identifier, given by the server."""

    search_id: Id
    """Search whose candidates they are."""

    state: WhatIfState
    """`planning` while a worker chooses what to measure, `measuring`, `fitting` while a worker estimates, `completed`,
    `failed` or `cancelled`."""

    reason: str
    """Reason of its state for people; empty where there is none."""

    device_type: str
    """Device type that the front is wanted for."""

    hardware_key: str
    """Hardware key that the new latencies are filed under."""

    num_chosen: int
    """Number of candidates that are measured on the new board."""

    num_measured: int
    """Number of them that have a latency so far."""

    num_fitted: int
    """Number of measurements that the estimates stand on; 0 before the first fit."""

    quality: FitQualityResource | None
    """How the estimates did on measured networks that were left out; null before the first fit."""

    validation: str
    """How they were validated, in words; empty before the first fit."""

    created_at: AwareDatetime
    """Time at which it was ordered, RFC 3339 in UTC."""

    finished_at: AwareDatetime | None
    """Time at which it ended, RFC 3339 in UTC; null while it is under way."""

    owner: Owner = None
    """Principal that ordered it; null without authentication."""


class WhatIfDetail(WhatIfResource):
    """One, with what is measured and, once it is fitted, every candidate on the new board."""

    chosen: list[ChosenNetworkResource]
    """Candidates that are measured on the new board, the most telling first."""

    objectives: list[FrontObjectiveResource]
    """Objectives of the search, in the order of every list of values."""

    front: list[CarriedNetworkResource]
    """Candidates of the estimated front, by the latency on the new board; empty before the first fit. Measured and
    estimated ones are told apart by `kind`."""

    networks: list[CarriedNetworkResource]
    """Every candidate whose objectives are known, by number; empty before the first fit."""

    measure_next: list[CarriedNetworkResource]
    """Up to 8 candidates whose measurement would most settle the front, the most settling first; `:measure-next` has
    them measured."""

    waiting_for: str = ""
    """What it waits for, in words for people: a board that is away, or a worker; empty where there is nothing to
    say."""
