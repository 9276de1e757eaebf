"""Searches, checkpoints and what a search has reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.plugins.doors import Door, Provider
from server.access.principal import Principal
from server.candidates.boards import Board
from server.candidates.spec import SearchSpec
from server.candidates.states import DesiredState, EndReason, SearchState
from server.core.errors import InvalidValueError
from server.core.finding import found_by
from server.core.ids import short_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProgress:
    """How far a search is. Counts are of candidates; the rest is as of the last completed step.

    Attributes:
        generation: generations completed.
        num_asked: candidates proposed so far; what the budget counts.
        num_complete, num_infeasible, num_failed: of these, how many ended so.
        num_cancelled: of these, how many were cancelled with the search; versions before counted them as failed.
        num_reused: latencies taken from earlier measurements.
        num_unmet: complete candidates that missed a constraint; None before the first step that counted them.
        front_size: feasible non-dominated candidates.
        hypervolume: against `reference_point`, in the objectives' own units; None before the first front.
        reference_point: one value per objective, fixed when first set, so that hypervolumes compare.
        report: what the algorithm says beside that, by topic (warm start, predictor quality, picked models).
        end_reason: why it ended as FAILED, or before its budget was spent, where that has a name.
        warnings: what was known against the spec when the search was created.
    """

    generation: int = 0
    num_asked: int = 0
    num_complete: int = 0
    num_infeasible: int = 0
    num_failed: int = 0
    num_reused: int = 0
    front_size: int = 0
    hypervolume: float | None = None
    reference_point: tuple[float, ...] | None = None
    report: Mapping[str, JsonValue] = field(default_factory=dict)
    end_reason: EndReason | None = None
    warnings: tuple[str, ...] = ()
    num_unmet: int | None = None
    num_cancelled: int = 0

    def __post_init__(self) -> None:
        numbers = (*(self.reference_point or ()), *(() if self.hypervolume is None else (self.hypervolume,)))
        if not all(math.isfinite(number) for number in numbers):
            raise InvalidValueError(f"hypervolume or reference point of a search holds {numbers}: give finite numbers")

    @property
    def chosen_because(self) -> str:
        """Why the server chose the algorithm; empty where the spec named it."""
        match self.report.get("algorithm"):
            case {"because": str(because)}:
                return because
            case _:
                return ""

    @property
    def num_finished(self) -> int:
        """Candidates in a final state."""
        return self.num_complete + self.num_infeasible + self.num_failed + self.num_cancelled

    @property
    def num_in_flight(self) -> int:
        """Candidates asked and not finished."""
        return self.num_asked - self.num_finished


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedPlugin:
    """Something that a search uses and that a package other than hilnas brings, as the server knew it at the start."""

    door: Door
    name: str
    provider: Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search.

    Attributes:
        id: ``srch_...``.
        spec: what it goes by: what was asked for, with its amendments written into it.
        state: what it does now; `desired_state` is what its owner wants.
        reason: why it is in this state, for people; empty where there is nothing to say.
        hardware_key: digest that latencies on its device are filed under; None where they are not wanted.
        board_hardware_keys: the same of the further boards that its spec names, by their names there.
        supernet_id: supernet it evaluates with; None where accuracy is not wanted.
        supernet_version_id: version it started with; None until the supernet is ready.
        checkpoint_seq: number of the last committed step; 0 before the first.
        created_by: id of the token that created it; None without authentication.
        owner: whose token that was; None without authentication.
        version: grows with every change; what an ETag is made of.
        moved_to: path of the resource that this search of the first release is today; None for a search.
        plugins: what comes from packages other than hilnas itself; workers with other versions refuse the search, so
            that all of its evaluations were made with these.
        cloned_from: search that it was launched again from, with or without changes; None where it was from none.
    """

    id: str
    spec: SearchSpec
    state: SearchState
    desired_state: DesiredState
    reason: str = ""
    hardware_key: str | None = None
    board_hardware_keys: Mapping[str, str] = field(default_factory=dict)
    supernet_id: str | None = None
    supernet_version_id: str | None = None
    checkpoint_seq: int = 0
    progress: SearchProgress = field(default_factory=SearchProgress)
    created_by: str | None = None
    owner: Principal | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: int = 1
    moved_to: str | None = None
    plugins: tuple[UsedPlugin, ...] = ()
    cloned_from: str | None = None

    @property
    def short_id(self) -> str:
        """Short name of it, taken wherever its id is."""
        return short_id(self.id)

    def hardware_key_on(self, board: Board) -> str | None:
        """Digest that latencies on one of its boards are filed under; None where none are measured there."""
        return self.hardware_key if board.is_own_device else self.board_hardware_keys.get(board.name)

    @property
    def words(self) -> str:
        """What it is found by besides its state: name, labels, ids, space, algorithm, kind of device, owner."""
        spec = self.spec
        device_types = " ".join(dict.fromkeys(board.device.device_type for board in spec.all_boards())) or None
        owner = None if self.owner is None else self.owner.name
        said = (spec.name, self.id, self.supernet_id, spec.space.id, spec.algorithm.kind, device_types, owner)
        return found_by(*said, labels=spec.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """Which searches to list; None does not filter. Newest first.

    Attributes:
        states: any of these.
        labels: all of these.
        space_id, supernet_id, hardware_key: exactly this.
        owner: what this principal (by id or name) owns.
        words: those in which each of these stands somewhere; see `server.core.finding`.
        newest_first: False lists the oldest first.
    """

    states: tuple[SearchState, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    space_id: str | None = None
    supernet_id: str | None = None
    hardware_key: str | None = None
    owner: str | None = None
    words: tuple[str, ...] = ()
    newest_first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCheckpoint:
    """The algorithm's state after one step, committed with the results it reflects.

    Attributes:
        seq: 1 for the first step of the search.
        payload: what the algorithm resumes from.
        code_version: of the worker that wrote it.
    """

    search_id: str
    seq: int
    payload: JsonValue
    code_version: str
    created_at: datetime
