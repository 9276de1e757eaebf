"""Who is crossed with whom: of several winners of tournaments, the one nearest to the first parent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nearest_mates(points: NDArray[np.float64], winners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose the second parent of every pair by its distance in the objectives, each scaled to its span.

    Parents from distant parts of a front make children of the middle, which few fronts need.

    Args:
        points: objectives of the population, one row each.
        winners: places in the population; a row is a first parent and those it may be crossed with.

    Returns:
        Two places a row.
    """
    first, mates = winners[:, 0], winners[:, 1:]
    if mates.shape[1] == 1:
        return winners
    span = np.ptp(points, axis=0)
    scaled = points / np.where(span > 0, span, 1.0)
    distance = np.abs(scaled[mates] - scaled[first][:, None, :]).sum(axis=2)
    distance[mates == first[:, None]] = np.inf  # nothing to cross with
    nearest = mates[np.arange(len(mates)), distance.argmin(axis=1)]
    return np.stack([first, nearest], axis=1)
