"""Which candidates are measured once more before a search may end."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from nas_engine.domain.objective import Metric
from nas_engine.search.algorithm import SearchAlgorithm
from nas_engine.search.pareto import confidently_non_dominated
from server.service.fronts import Front, Fronts
from server.service.values.candidate import Candidate
from server.service.values.search import Search


def to_confirm(
    search: Search, algorithm: SearchAlgorithm, front: Front, fronts: Fronts, confirmed: Set[str]
) -> tuple[str, ...]:
    """Ids of the candidates to measure again, those left out that were before.

    Ends after finitely many rounds: no candidate is named twice.
    """
    if Metric.LATENCY_US not in search.spec.metrics():
        return ()
    match search.spec.measurement.confirm:
        case "none":
            chosen: tuple[Candidate, ...] = ()
        case "front":
            chosen = front.points
        case "confident":
            chosen = _confident(search, algorithm, fronts)
    return tuple(candidate.id for candidate in chosen if candidate.id not in confirmed)


def _confident(search: Search, algorithm: SearchAlgorithm, fronts: Fronts) -> tuple[Candidate, ...]:
    """Candidates that no other one dominates beyond the confidence intervals, by seq."""
    objectives = search.spec.domain_objectives()
    whole = fronts.of_search(search.id, with_dominated=True, supernet_version_id=search.supernet_version_id)
    errors = {told.genotype: told.uncertainty for told in algorithm.results}
    rows = [c for c in (*whole.points, *whole.dominated) if c.genotype in errors]
    if not rows:
        return ()
    points_NM = np.array([[o.minimized(c.values[o.metric]) for o in objectives] for c in rows])
    errors_NM = np.array([[errors[c.genotype].get(o.metric, 0.0) for o in objectives] for c in rows])
    kept = confidently_non_dominated(points_NM, errors_NM)
    return tuple(sorted((c for c, keep in zip(rows, kept, strict=True) if keep), key=lambda c: c.seq))
