"""Expected hypervolume that a candidate adds to a front, for independent normal predictions of its objectives.

With u the corner of a box and I(u) = E[max(u - Y, 0)], the expected part of the region below u that Y dominates is the
product of I over the objectives. What a candidate may add is a union of such boxes: steps in two objectives, steps
within slices in three. Sources: Emmerich et al. 2006; the factorised form follows from integrating P(Y < u) over the
region that the front leaves free.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr

from nas_engine.search.pareto import Floats, HypervolumeReference, non_dominated

MAX_EXACT_OBJECTIVES = 3
"""With more objectives the gain is taken at an optimistic point."""

_SMALLEST = 1e-12


def expected_gains(mean_NM: Floats, deviation_NM: Floats, front_PM: Floats, reference: float) -> Floats:
    """Compute the expected gain of each candidate, (num,).

    Args:
        mean_NM: predicted objectives, minimised and scaled alike.
        deviation_NM: standard deviations of the truth around them.
        front_PM: points that are there, in the same scale; none is allowed.
        reference: coordinate of the reference point in every objective.
    """
    num_objectives = mean_NM.shape[1]
    front = np.minimum(front_PM[(front_PM < reference).all(axis=1)], reference)
    front = front[non_dominated(front)] if len(front) else front
    if num_objectives == 1:
        best = float(front.min()) if len(front) else reference
        return _below(np.asarray([best]), mean_NM[:, 0], deviation_NM[:, 0])[:, 0]
    if num_objectives == 2:
        return _steps(mean_NM, deviation_NM, front, reference)
    if num_objectives == MAX_EXACT_OBJECTIVES:
        return _slices(mean_NM, deviation_NM, front, reference)
    frame = HypervolumeReference((0.0,) * num_objectives, (1.0,) * num_objectives, reference - 1.0)
    before = frame.hypervolume(front)
    optimistic = mean_NM - deviation_NM
    return np.asarray([frame.hypervolume(np.vstack([front, point])) - before for point in optimistic])


def _below(corners: Floats, mean: Floats, deviation: Floats) -> Floats:
    """E[max(corner - Y, 0)] for every candidate and corner, (num, num_corners)."""
    sd = np.maximum(deviation, _SMALLEST)[:, None]
    gap = corners[None, :] - mean[:, None]
    z = gap / sd
    return np.asarray(gap * ndtr(z) + sd * np.exp(-0.5 * z * z) * 0.3989422804014327)


def _steps(mean: Floats, deviation: Floats, front: Floats, reference: float) -> Floats:
    order = np.argsort(front[:, 0], kind="stable")
    firsts, seconds = front[order, 0], front[order, 1]
    # Between two firsts in order, the region is free below the second of the earlier point.
    widths = _below(np.append(firsts, reference), mean[:, 0], deviation[:, 0])
    widths[:, 1:] -= widths[:, :-1].copy()
    heights = _below(np.append(reference, seconds), mean[:, 1], deviation[:, 1])
    gains: Floats = (widths * heights).sum(axis=1)
    return gains


def _slices(mean: Floats, deviation: Floats, front: Floats, reference: float) -> Floats:
    order = np.argsort(front[:, 2], kind="stable")
    front = front[order]
    depths = _below(np.append(front[:, 2], reference), mean[:, 2], deviation[:, 2])
    depths[:, 1:] -= depths[:, :-1].copy()
    firsts = _below(np.append(front[:, 0], reference), mean[:, 0], deviation[:, 0])
    seconds = _below(np.append(front[:, 1], reference), mean[:, 1], deviation[:, 1])
    gains = np.zeros(len(mean))
    for slice_index in range(len(front) + 1):
        stair = _stair(front[:slice_index])
        xs, ys = firsts[:, [*stair, -1]], seconds[:, [-1, *stair]]
        area = xs[:, 0] * ys[:, 0] + (np.diff(xs, axis=1) * ys[:, 1:]).sum(axis=1)
        gains += depths[:, slice_index] * area
    return gains


def _stair(points: Floats) -> list[int]:
    """Indices of the points that are non-dominated in the first two objectives, by the first."""
    order: Any = np.lexsort((points[:, 1], points[:, 0]))
    kept: list[int] = []
    lowest = np.inf
    for index in order:
        if points[index, 1] < lowest:
            kept.append(int(index))
            lowest = points[index, 1]
    return kept
