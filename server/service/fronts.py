"""The Pareto front of a search: over every complete candidate that meets the constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.objective import Metric, Objective
from server.service.ports.engine import FrontMaths
from server.service.ports.unit_of_work import Transaction, UnitOfWork
from server.service.values.candidate import Candidate
from server.service.values.device import HardwareProfile
from server.service.values.search import Search

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
            search = tx.searches.get(search_id)
            version_id = None
            hardware = None if search.hardware_key is None else tx.measurements.hardware(search.hardware_key)
            complete = tx.candidates.complete(search_id)
            if search.spec.shifting is not None and not search.spec.crosses_versions:
                version_id = supernet_version_id or _scored_version(search)
                complete = _scored_with(tx, complete, version_id)
            confident = (dominance or search.spec.domain_dominance) is Dominance.CONFIDENT
            return search, complete, hardware, _standard_errors(tx, complete, version_id) if confident else None

        search, complete, hardware, errors = self._uow.read(look)
        objectives = search.spec.domain_objectives()
        known = [c for c in complete if all(o.metric in c.values for o in objectives)]
        feasible = [c for c in known if _feasible(search, c)]
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
    for evaluation in tx.evaluations.of_candidates([c.id for c in candidates]):
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


def _feasible(search: Search, candidate: Candidate) -> bool:
    values = candidate.values
    return all(c.metric not in values or c.satisfied(values[c.metric]) for c in search.spec.domain_constraints())


def _scored_version(search: Search) -> str | None:
    """The version that the last told generation of a shifting search was scored with."""
    match search.progress.report.get("shifting"):
        case {"scored_with": str(version_id)}:
            return version_id
        case _:
            return search.supernet_version_id


def _scored_with(tx: Transaction, candidates: tuple[Candidate, ...], version_id: str | None) -> tuple[Candidate, ...]:
    """The candidates that have an accuracy of this supernet version, with that accuracy."""
    found = tx.evaluations.of_candidates([c.id for c in candidates])
    top1 = {e.candidate_id: e.value for e in found if e.metric is Metric.TOP1 and e.supernet_version_id == version_id}
    return tuple(replace(c, top1=top1[c.id]) for c in candidates if c.id in top1)
