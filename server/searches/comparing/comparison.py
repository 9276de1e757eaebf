"""Fronts of several searches side by side: one reference point for all, and the front of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.objective import Objective
from nas_engine.domain.uncertainty import Interval
from server.candidates.candidate import Candidate
from server.core.database.transaction import UnitOfWork
from server.core.errors import InvalidValueError
from server.searches.answers.answer import measured_intervals
from server.searches.fronts.fronts import Front, FrontMaths, Fronts, default_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFront:
    """One of several fronts.

    Attributes:
        hypervolume: against the reference point of all.
        share: of the hypervolume of all together, a fraction; None where that is nothing.
        on_joint_front: its points that no point of any of them beats.
        latencies: of its points with the intervals that their samples gave, by candidate and metric.
    """

    front: Front
    hypervolume: float
    share: float | None
    on_joint_front: tuple[Candidate, ...]
    latencies: Mapping[str, Mapping[Metric, Interval]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Fronts of several searches.

    Attributes:
        reference_point: one value per objective, worse than every point of every front; None where there is none.
        hypervolume: of all fronts together.
    """

    objectives: tuple[Objective, ...]
    reference_point: tuple[float, ...] | None
    hypervolume: float
    fronts: tuple[ComparedFront, ...]


class Comparisons:
    """Use case of comparing searches."""

    def __init__(self, uow: UnitOfWork, fronts: Fronts, maths: FrontMaths) -> None:
        self._uow, self._fronts, self._maths = uow, fronts, maths

    def of_searches(self, search_ids: Sequence[str]) -> Comparison:
        """Compare fronts as each search takes its own, also while searches run.

        Raises:
            NotFoundError: there is no such search.
            InvalidValueError: their objectives differ, or what their latencies were measured on.
        """
        fronts = [self._fronts.of_search(search_id) for search_id in dict.fromkeys(search_ids)]
        objectives = _shared_objectives(fronts)
        all_points = [(front, point) for front in fronts for point in front.points]
        rows = [front.values(point) for front, point in all_points]
        reference = _reference(objectives, fronts, rows)
        joint = {all_points[place][1].id for place in self._maths.non_dominated(objectives, rows)}
        whole = 0.0 if reference is None else self._maths.hypervolume(objectives, rows, reference)
        return Comparison(
            objectives=objectives,
            reference_point=reference,
            hypervolume=whole,
            fronts=tuple(self._compared(front, objectives, reference, whole, joint) for front in fronts),
        )

    def _compared(
        self,
        front: Front,
        objectives: Sequence[Objective],
        reference: Sequence[float] | None,
        whole: float,
        joint: set[str],
    ) -> ComparedFront:
        rows = [front.values(point) for point in front.points]
        own = 0.0 if reference is None else self._maths.hypervolume(objectives, rows, reference)
        return ComparedFront(
            front=front,
            hypervolume=own,
            share=own / whole if whole > 0 else None,
            on_joint_front=tuple(point for point in front.points if point.id in joint),
            latencies=self._uow.read(lambda tx: measured_intervals(tx, front.points)),
        )


def _reference(
    objectives: Sequence[Objective], fronts: Sequence[Front], rows: Sequence[Sequence[float]]
) -> tuple[float, ...] | None:
    """The worst, objective by objective, of the searches' own reference points, and just beyond what is on any front.

    A search's own is fixed early, and later members of its front may lie beyond it.
    """
    known = [*(front.reference_point for front in fronts), default_reference(objectives, rows)]
    points = [one for one in known if one is not None]
    if not points:
        return None
    worst = [max(one.minimized(point[place]) for point in points) for place, one in enumerate(objectives)]
    return tuple(
        one.minimized(value) for one, value in zip(objectives, worst, strict=True)
    )  # turning is its own inverse


def _shared_objectives(fronts: Sequence[Front]) -> tuple[Objective, ...]:
    first = fronts[0]
    for other in fronts[1:]:
        if other.objectives != first.objectives:
            said = [", ".join(one.metric.name for one in front.objectives) for front in (first, other)]
            raise InvalidValueError(
                f"search {first.search.id} has the objectives {said[0]}, search {other.search.id} {said[1]}: "
                "fronts are compared along the same axes, in the same order"
            )
        is_latency_judged = LATENCY_US in {one.metric for one in first.objectives}
        if (is_latency_judged and first.hardware != other.hardware) or _boards(first) != _boards(other):
            raise InvalidValueError(
                f"latencies of search {first.search.id} and of search {other.search.id} come from different hardware "
                f"({_hardware(first)}; {_hardware(other)}): only equal hardware keys may be compared"
            )
    return first.objectives


def _boards(front: Front) -> dict[Metric, str]:
    """Hardware keys of further boards whose latencies are objectives."""
    judged = {one.metric for one in front.objectives} - {LATENCY_US}
    return {board.metric: profile.hardware_key for board, profile in front.boards if board.metric in judged}


def _hardware(front: Front) -> str:
    if front.hardware is None:
        return "a table"
    key = front.hardware.key
    return f"{key.identity.board_model}, {key.identity.runtime}, {key.dtype.value}, key {key.digest[:12]}"
