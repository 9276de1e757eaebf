"""Dominance and hypervolume by moocore, for the service and the API process."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np

from nas_engine.domain.dominance import confidence_limits, confidently_undominated
from nas_engine.domain.objective import Objective


class MoocoreFrontMaths:
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
