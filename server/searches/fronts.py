"""Dominance and hypervolume by moocore, for the service and the API process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import moocore
import numpy as np

from nas_engine.domain.dominance import Dominance, confidence_limits, confidently_undominated
from nas_engine.domain.objective import Metric, Objective
from server.candidates.candidate import Candidate
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.fleet.device import HardwareProfile
from server.fleet.store import HardwareStore

_Errors = Mapping[tuple[str, Metric], float]


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
        hardware: what its latencies were measured on; None where latency is not wanted, or comes from a table.
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
    dominance: Dominance = Dominance.POINT

    def values(self, candidate: Candidate) -> tuple[float, ...]:
        """A candidate's objectives, in order."""
        return tuple(candidate.values[o.metric] for o in self.objectives)


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
        supernet_version_id: str | None = None,
        dominance: Dominance | None = None,
    ) -> Front:
        """The front as it stands, also while the search runs; compared as the spec says, or by `dominance`.

        A search that shifts its supernet is judged by accuracies of one version alone: of `supernet_version_id`, or of
        the last one that a whole generation was scored with; unless its spec has versions compared.

        Raises:
            NotFoundError: there is no such search.
        """

        def look(tx: Transaction) -> tuple[Search, tuple[Candidate, ...], HardwareProfile | None, _Errors | None]:
            search = SearchStore(tx).get_search(search_id)
            version_id = None
            hardware = None if search.hardware_key is None else HardwareStore(tx).get_hardware(search.hardware_key)
            complete = CandidateStore(tx).all_complete_candidates(search_id)
            if search.spec.shifting is not None and not search.spec.crosses_versions:
                version_id = supernet_version_id or _scored_version(search)
                complete = _scored_with(tx, complete, version_id)
            confident = (dominance or search.spec.dominance) is Dominance.CONFIDENT
            return search, complete, hardware, _standard_errors(tx, complete, version_id) if confident else None

        search, complete, hardware, errors = self._uow.read(look)
        objectives = search.spec.domain_objectives()
        known = [c for c in complete if all(o.metric in c.values for o in objectives)]
        constraints = search.spec.domain_constraints()
        feasible = [
            c for c in known if all(o.metric not in c.values or o.satisfied(c.values[o.metric]) for o in constraints)
        ]
        rows = [tuple(c.values[o.metric] for o in objectives) for c in feasible]
        spreads = None
        if errors is not None:
            spreads = [tuple(errors.get((c.id, o.metric), 0.0) for o in objectives) for c in feasible]
        best = self._maths.non_dominated(objectives, rows, spreads)
        first = objectives[0]
        points = sorted((feasible[i] for i in best), key=lambda c: (first.minimized(c.values[first.metric]), c.seq))
        chosen = {point.id for point in points}
        reference_point = search.progress.reference_point or default_reference(objectives, rows)
        return Front(
            search=search,
            objectives=objectives,
            points=tuple(points),
            dominated=tuple(c for c in known if c.id not in chosen) if with_dominated else (),
            num_complete=len(complete),
            num_feasible=len(feasible),
            reference_point=reference_point,
            hypervolume=None
            if reference_point is None
            else self._maths.hypervolume(objectives, [rows[i] for i in best], reference_point),
            hardware=hardware,
            dominance=Dominance.POINT if errors is None else Dominance.CONFIDENT,
        )


def _standard_errors(tx: Transaction, candidates: Sequence[Candidate], version_id: str | None) -> _Errors:
    """Standard error of each current value, by candidate and metric; accuracies of one version where one is given."""
    errors: dict[tuple[str, Metric], float] = {}
    # Ordered by attempt: the last one stays.
    for evaluation in EvaluationStore(tx).evaluations_of_candidates([c.id for c in candidates]):
        other_version = version_id is not None and evaluation.supernet_version_id != version_id
        if evaluation.metric is not Metric.TOP1 or not other_version:
            errors[evaluation.candidate_id, evaluation.metric] = evaluation.uncertainty or 0.0
    return errors


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


def _scored_with(tx: Transaction, candidates: tuple[Candidate, ...], version_id: str | None) -> tuple[Candidate, ...]:
    """The candidates that have an accuracy of this supernet version, with that accuracy."""
    found = EvaluationStore(tx).evaluations_of_candidates([c.id for c in candidates])
    top1 = {e.candidate_id: e.value for e in found if e.metric is Metric.TOP1 and e.supernet_version_id == version_id}
    return tuple(replace(c, top1=top1[c.id]) for c in candidates if c.id in top1)


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
