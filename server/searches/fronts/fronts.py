"""Dominance and hypervolume by moocore, for the service and the API process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import moocore
import numpy as np

from nas_engine.domain.dominance import Dominance, confidence_limits, confidently_undominated
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import TOP1
from nas_engine.domain.objective import Objective
from server.candidates.boards import Board
from server.candidates.candidate import Candidate
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import SearchState
from server.core.database.transaction import Transaction, UnitOfWork
from server.fleet.device import HardwareProfile
from server.fleet.store import HardwareStore
from server.searches.amending.store import AmendmentStore
from server.searches.boards.narrowing import boards_of, on_board

MARGIN = 0.1  # of each objective's span, by which a default reference point lies beyond the worst value


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The feasible non-dominated candidates of a search.

    Attributes:
        objectives: in the spec's order; `values` of the points follow it.
        points: by the first objective, best first.
        dominated: the other complete candidates, feasible or not, where they were asked for; by seq.
        num_complete, num_feasible: what the front was taken from.
        reference_point: one value per objective; the search's own once it has one, else just beyond the worst value.
        hypervolume: against it; None without points.
        hardware: what its latencies were measured on; None where latency is not wanted, or comes from a table. Of a
            search with several boards, that of its own device, or of the one board that the front is for.
        boards: of a search with several, those that this front is for, each with its hardware.
        dominance: how candidates were compared.
    """

    search: Search
    objectives: tuple[Objective, ...]
    points: tuple[Candidate, ...]
    dominated: tuple[Candidate, ...]
    num_complete: int
    num_feasible: int
    reference_point: tuple[float, ...] | None
    hypervolume: float | None
    hardware: HardwareProfile | None
    boards: tuple[tuple[Board, HardwareProfile], ...] = ()
    dominance: Dominance = Dominance.POINT

    def values(self, candidate: Candidate) -> tuple[float, ...]:
        """A candidate's objectives, in order."""
        return tuple(candidate.values[o.metric] for o in self.objectives)


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervolumePoint:
    """The hypervolume after so many candidates were complete.

    Attributes:
        num_evaluated: complete candidates, in the order they were asked.
        front_size: feasible non-dominated ones among them.
        at: when the last of them was complete; None where that was not recorded.
    """

    num_evaluated: int
    hypervolume: float
    front_size: int
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervolumeHistory:
    """How the hypervolume of a search grew.

    Attributes:
        reference_point: one value per objective, the same for every point; None before there is one.
        num_evaluated: complete candidates in all.
        points: by `num_evaluated`, the last one of all of them.
    """

    search: Search
    objectives: tuple[Objective, ...]
    reference_point: tuple[float, ...] | None
    num_evaluated: int
    points: tuple[HypervolumePoint, ...]


class Fronts:
    """Use cases of fronts."""

    def __init__(self, uow: UnitOfWork, maths: FrontMaths) -> None:
        self._uow = uow
        self._maths = maths

    def of_search(
        self,
        search_id: str,
        *,
        with_dominated: bool = False,
        max_dominated: int | None = None,
        supernet_version_id: str | None = None,
        dominance: Dominance | None = None,
        board: str | None = None,
    ) -> Front:
        """The front as it stands, also while the search runs; compared as the spec says, or by `dominance`.

        That of one `board` goes by its latency, and by no objective and no constraint on another board's.

        A search that shifts its supernet is judged by accuracies of one version alone: of `supernet_version_id`, or of
        the last one that a whole generation was scored with; unless its spec has versions compared. Of more dominated
        candidates than `max_dominated`, every second, third, ... is read.

        Raises:
            NotFoundError: there is no such search.
            InvalidValueError: the search has no such board.
        """

        def look(tx: Transaction) -> Front:
            search = SearchStore(tx).get_search(search_id)
            hardware = None if search.hardware_key is None else HardwareStore(tx).get_hardware(search.hardware_key)
            boards = boards_of(tx, search, board)
            if board is not None:
                search, hardware = on_board(search, board), next((profile for _, profile in boards), hardware)
            return self._front(
                tx,
                search,
                _Scored.as_compared(tx, search, supernet_version_id),
                hardware=hardware,
                boards=boards,
                dominance=dominance or search.spec.dominance,
                with_dominated=with_dominated,
                max_dominated=max_dominated,
            )

        return self._uow.read(look)

    def as_it_stands(self, searches: Sequence[Search]) -> list[Search]:
        """The searches with front and hypervolume as of now, not as of their last step.

        A step tells what is complete; between two, and of a search that was stopped between two, there may be more, and
        constraints may have been amended. The
        hypervolume waits for the first step, which fixes what it is reckoned against.
        """
        behind = [one.id for one in searches if one.state is not SearchState.COMPLETED and one.progress.num_complete]

        def look(tx: Transaction) -> list[Search]:
            untold = CandidateStore(tx).searches_with_untold_complete(behind)
            otherwise = untold | AmendmentStore(tx).with_newer_constraints(behind)
            return [self._standing(tx, one) if one.id in otherwise else one for one in searches]

        return self._uow.read(look) if behind else list(searches)

    def _standing(self, tx: Transaction, search: Search) -> Search:
        objectives, reference = search.spec.domain_objectives(), search.progress.reference_point
        scored = _Scored.as_compared(tx, search)
        rows, best = self._best(objectives, scored, scored.known_and_feasible(search)[1], search.spec.dominance)
        hypervolume = (
            None if reference is None else self._maths.hypervolume(objectives, [rows[i] for i in best], reference)
        )
        return replace(search, progress=replace(search.progress, front_size=len(best), hypervolume=hypervolume))

    def _best(
        self, objectives: Sequence[Objective], scored: _Scored, feasible: Sequence[str], dominance: Dominance
    ) -> tuple[list[tuple[float, ...]], Sequence[int]]:
        """Objectives of the feasible candidates, and the places of those on the front."""
        rows = [tuple(scored.value(id, o.metric) for o in objectives) for id in feasible]
        spreads = None
        if dominance is Dominance.CONFIDENT:
            spreads = [tuple(scored.values[o.metric][id][1] or 0.0 for o in objectives) for id in feasible]
        return rows, self._maths.non_dominated(objectives, rows, spreads)

    def hypervolumes(self, search_id: str, max_points: int) -> HypervolumeHistory:
        """How the hypervolume grew with every complete candidate, in the order they were asked.

        It is reckoned from what is stored of the candidates, which nothing deletes, against the search's one reference
        point; where an evaluation was taken anew, by the value that counts now. Its last point is the front's.

        Raises:
            NotFoundError: there is no such search.
        """

        def look(tx: Transaction) -> HypervolumeHistory:
            search = SearchStore(tx).get_search(search_id)
            return self._hypervolumes(tx, search, _Scored.as_compared(tx, search), max_points)

        return self._uow.read(look)

    def _hypervolumes(self, tx: Transaction, search: Search, scored: _Scored, max_points: int) -> HypervolumeHistory:
        objectives = search.spec.domain_objectives()
        rows = {
            id: tuple(scored.value(id, o.metric) for o in objectives) for id in scored.known_and_feasible(search)[1]
        }
        reference_point = search.progress.reference_point or default_reference(objectives, list(rows.values()))
        finished_at = CandidateStore(tx).finish_times(search.id)
        num = len(scored.ids)
        shown = {round((place + 1) * num / max_points) for place in range(max_points)} if num > max_points else None
        best: list[tuple[float, ...]] = []
        fresh: list[tuple[float, ...]] = []
        points: list[HypervolumePoint] = []
        at: datetime | None = None
        for number, id in enumerate(scored.ids, 1):
            if (ended := finished_at.get(id)) is not None:
                at = ended if at is None else max(at, ended)
            if id in rows:
                fresh.append(rows[id])
            if shown is not None and number not in shown:
                continue
            if fresh:
                tried = [*best, *fresh]
                best = [tried[place] for place in self._maths.non_dominated(objectives, tried)]
                fresh = []
            hypervolume = 0.0 if reference_point is None else self._maths.hypervolume(objectives, best, reference_point)
            point = HypervolumePoint(num_evaluated=number, hypervolume=hypervolume, front_size=len(best), at=at)
            points.append(point)
        return HypervolumeHistory(
            search=search,
            objectives=objectives,
            reference_point=reference_point,
            num_evaluated=num,
            points=tuple(points),
        )

    def _front(
        self,
        tx: Transaction,
        search: Search,
        scored: _Scored,
        *,
        hardware: HardwareProfile | None,
        boards: tuple[tuple[Board, HardwareProfile], ...],
        dominance: Dominance,
        with_dominated: bool,
        max_dominated: int | None,
    ) -> Front:
        objectives = search.spec.domain_objectives()
        known, feasible = scored.known_and_feasible(search)
        rows, best = self._best(objectives, scored, feasible, dominance)
        chosen = {feasible[i] for i in best}
        others = tuple(id for id in known if id not in chosen) if with_dominated else ()
        others = others[:: -(-len(others) // max_dominated) or 1] if max_dominated is not None else others
        found = {
            candidate.id: scored.compared(candidate)
            for candidate in CandidateStore(tx).get_candidates((*sorted(chosen), *others))
        }
        first = objectives[0]
        points = sorted((found[id] for id in chosen), key=lambda c: (first.minimized(c.values[first.metric]), c.seq))
        reference_point = search.progress.reference_point or default_reference(objectives, rows)
        return Front(
            search=search,
            objectives=objectives,
            points=tuple(points),
            dominated=tuple(found[id] for id in others),
            num_complete=len(scored.ids),
            num_feasible=len(feasible),
            reference_point=reference_point,
            hypervolume=None
            if reference_point is None
            else self._maths.hypervolume(objectives, [rows[i] for i in best], reference_point),
            hardware=hardware,
            boards=boards,
            dominance=dominance,
        )


@dataclass(frozen=True, slots=True)
class _Scored:
    """The complete candidates of a search, and what its objectives and constraints are of each.

    Attributes:
        ids: by seq.
        values: with their standard errors, by metric and candidate.
        version_id: supernet version that the accuracies are of, where those of one version are compared.
    """

    ids: tuple[str, ...]
    values: Mapping[Metric, Mapping[str, tuple[float, float | None]]]
    version_id: str | None = None

    @classmethod
    def of(cls, tx: Transaction, search: Search, version_id: str | None, *, compares_version: bool) -> _Scored:
        ids = CandidateStore(tx).complete_candidate_ids(search.id)
        values = EvaluationStore(tx).values_of_search(search.id, search.spec.metrics())
        if not compares_version:
            return cls(ids, values)
        scored = EvaluationStore(tx).values_of_version(search.id, TOP1, version_id)
        return cls(tuple(id for id in ids if id in scored), {**values, TOP1: scored}, version_id)

    @classmethod
    def as_compared(cls, tx: Transaction, search: Search, supernet_version_id: str | None = None) -> _Scored:
        """What a search compares its candidates by: current values, or accuracies of one version of the supernet."""
        compares_version = search.spec.shifting is not None and not search.spec.crosses_versions
        version_id = (supernet_version_id or _scored_version(search)) if compares_version else None
        return cls.of(tx, search, version_id, compares_version=compares_version)

    def known_and_feasible(self, search: Search) -> tuple[list[str], list[str]]:
        """Candidates with every objective known, and those of them that meet every constraint, by seq."""
        objectives, constraints = search.spec.domain_objectives(), search.spec.domain_constraints()
        known = [id for id in self.ids if all(id in self.values[o.metric] for o in objectives)]
        feasible = [
            id
            for id in known
            if all(id not in self.values[o.metric] or o.satisfied(self.value(id, o.metric)) for o in constraints)
        ]
        return known, feasible

    def value(self, candidate_id: str, metric: Metric) -> float:
        return self.values[metric][candidate_id][0]

    def compared(self, candidate: Candidate) -> Candidate:
        """Give the candidate with the values that are compared, where those are not its current ones."""
        for metric, found in self.values.items():
            known = candidate.current.get(metric)
            value, error = found.get(candidate.id, (None, None))
            if known is not None and value is not None and value != known.value:
                candidate = candidate.with_value(replace(known, value=value, uncertainty=error))
        return candidate


def default_reference(objectives: Sequence[Objective], rows: Sequence[Sequence[float]]) -> tuple[float, ...] | None:
    """A point a tenth of each objective's span beyond its worst value; None without rows."""
    if not rows:
        return None
    point: list[float] = []
    for place, objective in enumerate(objectives):
        turned = [objective.minimized(row[place]) for row in rows]
        span = max(turned) - min(turned) or abs(max(turned)) or 1.0
        # Turning is its own inverse.
        point.append(objective.minimized(max(turned) + MARGIN * span))
    return tuple(point)


def _scored_version(search: Search) -> str | None:
    """The version that the last told generation of a shifting search was scored with."""
    match search.progress.report.get("shifting"):
        case {"scored_with": str(version_id)}:
            return version_id
        case _:
            return search.supernet_version_id


class FrontMaths:
    """`FrontMaths`: rows are turned once so that smaller is better, then left to moocore."""

    def non_dominated(
        self,
        objectives: Sequence[Objective],
        values: Sequence[Sequence[float]],
        standard_errors: Sequence[Sequence[float]] | None = None,
    ) -> Sequence[int]:
        """Indices of the non-dominated rows, ascending; equal rows are all kept. See `FrontMaths`."""
        if not values:
            return []
        points = _minimized(objectives, values)
        if standard_errors is None:
            keep = moocore.is_nondominated(points, keep_weakly=True)
        else:
            lower, upper = confidence_limits(points, np.array(standard_errors, dtype=np.float64))
            keep = confidently_undominated(lower, upper, moocore.is_nondominated(upper, keep_weakly=True))
        return [int(index) for index in np.flatnonzero(keep)]

    def hypervolume(
        self, objectives: Sequence[Objective], values: Sequence[Sequence[float]], reference_point: Sequence[float]
    ) -> float:
        """Hypervolume up to the reference point; rows beyond it add nothing."""
        reference = _minimized(objectives, [reference_point])[0]
        rows = _minimized(objectives, values) if values else np.empty((0, len(objectives)))
        inside = rows[(rows < reference).all(axis=1)]
        return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def _minimized(
    objectives: Sequence[Objective], values: Sequence[Sequence[float]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rows = [[o.minimized(v) for o, v in zip(objectives, row, strict=True)] for row in values]
    points = np.array(rows, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError("objective values must be finite")
    return points
