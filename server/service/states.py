"""Every state machine of the service: states, and which may follow which. Values are only added, never renamed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from server.service.errors import InvalidStateTransitionError


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


class JobKind(Enum):
    """What a job does. All kinds share one lease mechanism; MEASURE and CLASSIFY run on device agents, the
    rest on workers.
    """

    SEARCH_STEP = "search_step"
    SHIFT = "shift"
    DERIVE = "derive"
    EVALUATE = "evaluate"
    TRAIN = "train"
    RANK = "rank"
    CONVERT = "convert"
    MEASURE = "measure"
    CLASSIFY = "classify"


WORKER_KINDS = (
    JobKind.SEARCH_STEP,
    JobKind.EVALUATE,
    JobKind.CONVERT,
    JobKind.TRAIN,
    JobKind.SHIFT,
    JobKind.DERIVE,
    JobKind.RANK,
)

SEARCH_WORK_KINDS = frozenset({JobKind.SHIFT, JobKind.DERIVE})
"""Heavy work that a search step orders: one job at a time per search, and the next step waits for its end."""

PAUSED_AT_ONCE = frozenset({JobKind.DERIVE})
"""Heavy work that a pause stops: it takes hours, and goes on from a checkpoint of its own."""


class JobState(Enum):
    """QUEUED -> LEASED -> a final state; LEASED -> QUEUED when the lease dies."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not JOB_TRANSITIONS[self]


class JobPhase(Enum):
    """What the holder of a lease is doing; information only, no transition depends on it."""

    ASSIGNED = "assigned"
    FETCHING = "fetching"
    PREPARING = "preparing"
    WARMUP = "warmup"
    MEASURING = "measuring"
    UPLOADING = "uploading"
    WORKING = "working"


class LeaseOutcome(Enum):
    """How a lease ended."""

    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    NACKED = "nacked"
    CANCELLED = "cancelled"


class DeviceState(Enum):
    """What a device may be given; whether it is reachable follows from when it was last seen."""

    ACTIVE = "active"
    DRAINING = "draining"  # finishes what it has, gets nothing new
    DEGRADED = "degraded"  # its canary is off; gets nothing until it is well again
    QUARANTINED = "quarantined"  # failed too often, or seems cloned; an engineer must resume it
    RETIRED = "retired"

    @property
    def takes_jobs(self) -> bool:
        """Whether a device in this state is given new jobs."""
        return self is DeviceState.ACTIVE


class SupernetState(Enum):
    """Life of a supernet."""

    QUEUED = "queued"
    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not SUPERNET_TRANSITIONS[self]


class StudyState(Enum):
    """Life of a ranking study."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not STUDY_TRANSITIONS[self]


class StudyEntryState(Enum):
    """What becomes of one architecture of a ranking study."""

    WAITING = "waiting"
    TRAINING = "training"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self not in (StudyEntryState.WAITING, StudyEntryState.TRAINING)


class MeasurementKind(Enum):
    """Where a latency comes from. Kinds are never mixed in one front, chart or average."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    ESTIMATED = "estimated"


class EvaluationSource(Enum):
    """How a value of a candidate was obtained."""

    EVALUATED = "evaluated"  # by a worker, on images
    MEASURED = "measured"  # by an agent, for this candidate
    SIMULATED = "simulated"  # by an agent whose board is a simulator: never a measurement
    REUSED = "reused"  # measured (or simulated) earlier under the same latency key and hardware key
    TABLE = "table"  # looked up in a table of results that is the search space


class Role(Enum):
    """What a token may do."""

    VIEWER = "viewer"
    ENGINEER = "engineer"
    AGENT = "agent"
    ADMIN = "admin"


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

JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.LEASED, JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.LEASED: frozenset({JobState.QUEUED, JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

DEVICE_TRANSITIONS: Mapping[DeviceState, frozenset[DeviceState]] = {
    DeviceState.ACTIVE: frozenset(
        {DeviceState.DRAINING, DeviceState.DEGRADED, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.DRAINING: frozenset(
        {DeviceState.ACTIVE, DeviceState.DEGRADED, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.DEGRADED: frozenset(
        {DeviceState.ACTIVE, DeviceState.DRAINING, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.QUARANTINED: frozenset({DeviceState.ACTIVE, DeviceState.RETIRED}),
    DeviceState.RETIRED: frozenset(),
}

SUPERNET_TRANSITIONS: Mapping[SupernetState, frozenset[SupernetState]] = {
    SupernetState.QUEUED: frozenset(
        {SupernetState.TRAINING, SupernetState.READY, SupernetState.FAILED, SupernetState.CANCELLED}
    ),
    SupernetState.TRAINING: frozenset({SupernetState.READY, SupernetState.FAILED, SupernetState.CANCELLED}),
    SupernetState.READY: frozenset(),
    SupernetState.FAILED: frozenset(),
    SupernetState.CANCELLED: frozenset(),
}

STUDY_TRANSITIONS: Mapping[StudyState, frozenset[StudyState]] = {
    StudyState.QUEUED: frozenset({StudyState.RUNNING, StudyState.FAILED, StudyState.CANCELLED}),
    StudyState.RUNNING: frozenset({StudyState.COMPLETED, StudyState.FAILED, StudyState.CANCELLED}),
    StudyState.COMPLETED: frozenset(),
    StudyState.FAILED: frozenset(),
    StudyState.CANCELLED: frozenset(),
}

S = TypeVar("S", bound=Enum)


def check_transition(kind: str, id: str, table: Mapping[S, frozenset[S]], current: S, wanted: S) -> None:
    """Refuse a step that a state machine does not have; staying where one is is always allowed.

    Raises:
        InvalidStateTransitionError: names the states that are allowed.
    """
    if wanted is not current and wanted not in table[current]:
        allowed = sorted(str(state.value) for state in table[current])
        raise InvalidStateTransitionError(kind, id, str(current.value), str(wanted.value), allowed)
