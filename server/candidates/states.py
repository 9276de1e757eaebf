"""States of searches and candidates, and where each value of a candidate comes from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class SearchState(Enum):
    """What a search does now; what its owner wants is its `DesiredState`."""

    QUEUED = "queued"  # waits for its supernet
    RUNNING = "running"
    DRAINING = "draining"  # asks no more, waits for what is in flight, then pauses
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not SEARCH_TRANSITIONS[self]


class EndReason(Enum):
    """Why a search ended otherwise than by its budget, for programs; its `reason` says the same to people."""

    NO_FEASIBLE_CANDIDATE = "no_feasible_candidate"
    # COMPLETED: this stop rule of the spec held.
    PLATEAU = "plateau"
    WALL_TIME = "wall_time"
    BOARD_TIME = "board_time"
    TARGET = "target"


class DesiredState(Enum):
    """What the owner of a search or supernet wants of it."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class CandidateState(Enum):
    """ASKED -> EVALUATING -> one of the final states."""

    ASKED = "asked"
    EVALUATING = "evaluating"
    COMPLETE = "complete"
    INFEASIBLE = "infeasible"  # the architecture's own fault
    FAILED = "failed"  # ours: reported, never turned into a number

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not CANDIDATE_TRANSITIONS[self]


class EvaluationSource(Enum):
    """How a value of a candidate was obtained."""

    EVALUATED = "evaluated"  # by a worker, on images
    MEASURED = "measured"  # by an agent, for this candidate
    EXTERNAL = "external"  # by an evaluator outside this service, which is believed
    SIMULATED = "simulated"  # by an agent whose board is a simulator: never a measurement
    REUSED = "reused"  # measured (or simulated) earlier under the same latency key and hardware key
    GRAPH = "graph"  # counted from the layer graph
    TABLE = "table"  # looked up in a table of results that is the search space


SEARCH_TRANSITIONS: Mapping[SearchState, frozenset[SearchState]] = {
    SearchState.QUEUED: frozenset({SearchState.RUNNING, SearchState.PAUSED, SearchState.CANCELLED, SearchState.FAILED}),
    SearchState.RUNNING: frozenset(
        {
            SearchState.DRAINING,
            SearchState.PAUSED,
            SearchState.COMPLETED,
            SearchState.CANCELLED,
            SearchState.FAILED,
        }
    ),
    SearchState.DRAINING: frozenset(
        {SearchState.RUNNING, SearchState.PAUSED, SearchState.CANCELLED, SearchState.FAILED}
    ),
    SearchState.PAUSED: frozenset({SearchState.QUEUED, SearchState.RUNNING, SearchState.CANCELLED}),
    SearchState.COMPLETED: frozenset(),
    SearchState.CANCELLED: frozenset(),
    SearchState.FAILED: frozenset(),
}


CANDIDATE_TRANSITIONS: Mapping[CandidateState, frozenset[CandidateState]] = {
    CandidateState.ASKED: frozenset(
        {CandidateState.EVALUATING, CandidateState.COMPLETE, CandidateState.INFEASIBLE, CandidateState.FAILED}
    ),
    CandidateState.EVALUATING: frozenset({CandidateState.COMPLETE, CandidateState.INFEASIBLE, CandidateState.FAILED}),
    CandidateState.COMPLETE: frozenset(),
    CandidateState.INFEASIBLE: frozenset(),
    CandidateState.FAILED: frozenset(),
}
