"""Constrained non-dominated sorting, weighted crowding distance, and NSGA-II's survivor selection made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_engine.domain.errors import EngineError
from nas_engine.search.pareto import Floats, as_points, confident_ranks, pareto_ranks


def weighted_crowding_distance(points_NM: ArrayLike, weights_M: Sequence[float]) -> Floats:
    """d_i = sum_j w_j * (f_j(i+1) - f_j(i-1)) / (f_j^max - f_j^min); boundary points of any objective are infinite.

    With every weight 1 this is NSGA-II's crowding distance (Deb et al. 2002, III-B). SCARLET-NAS (Algorithm 1)
    weights it per objective: a weight changes the *density* of the front along that objective, not dominance. An
    objective in which all points agree adds nothing and makes no point a boundary.

    Args:
        points_NM: one front, minimised.
        weights_M: one weight > 0 per objective.
    """
    points, weights = as_points(points_NM), np.asarray(weights_M, dtype=np.float64)
    if weights.shape != (points.shape[1],) or not np.isfinite(weights).all() or (weights <= 0).any():
        raise EngineError(f"crowding weights {list(weights_M)}: give one finite weight > 0 per objective")
    num_points = len(points)
    distance = np.zeros(num_points)
    if num_points <= 2:
        return np.full(num_points, np.inf)
    for column, weight in zip(points.T, weights, strict=True):
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        if span == 0.0:
            continue
        distance[order[1:-1]] += weight * (column[order[2:]] - column[order[:-2]]) / span
        distance[order[[0, -1]]] = np.inf
    return distance


def constrained_ranks(
    points_NM: ArrayLike, violations_N: ArrayLike, errors_NM: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Rank under constrained dominance (Deb et al. 2002, VI-A): feasible points by non-dominated sort, first.

    Infeasible points follow, ordered by total violation; equal violations share a rank. Objectives of infeasible
    points are never looked at.

    Args:
        points_NM: objective values, minimised.
        violations_N: total violation per point, 0 when feasible.
        errors_NM: standard errors of the values: feasible points are then sorted by confident dominance.
    """
    points, violations = as_points(points_NM), np.asarray(violations_N, dtype=np.float64)
    if violations.shape != (len(points),) or not np.isfinite(violations).all() or (violations < 0).any():
        raise EngineError("violations must be one finite value >= 0 per point")
    ranks = np.zeros(len(points), dtype=np.int64)
    feasible = violations == 0.0
    num_feasible_ranks = 0
    if feasible.any():
        ranks[feasible] = (
            pareto_ranks(points[feasible])
            if errors_NM is None
            else confident_ranks(points[feasible], as_points(errors_NM, "standard errors")[feasible])
        )
        num_feasible_ranks = int(ranks[feasible].max()) + 1
    if not feasible.all():
        _, order = np.unique(violations[~feasible], return_inverse=True)
        ranks[~feasible] = num_feasible_ranks + order.reshape(-1)
    return ranks


@dataclass(frozen=True, slots=True)
class Survivors:
    """The outcome of one survivor selection, all arrays in order of survival.

    Attributes:
        indices: positions of the survivors in the input.
        rank: constrained rank of each survivor.
        crowding: weighted crowding distance of each survivor *within its whole front before truncation*, as NSGA-II
            uses it in the tournament; 0 for infeasible points. It cannot be recomputed from the survivors alone.
    """

    indices: NDArray[np.int64]
    rank: NDArray[np.int64]
    crowding: Floats


def select_survivors(
    points_NM: ArrayLike,
    violations_N: ArrayLike,
    num: int,
    weights_M: Sequence[float],
    rng: np.random.Generator,
    errors_NM: ArrayLike | None = None,
) -> Survivors:
    """The best `num` points: by rank, then by weighted crowding distance; ties are broken by `rng`.

    With standard errors the ranks are those of confident dominance: what cannot be told apart shares a rank, and the
    crowding distance decides.
    """
    points, violations = as_points(points_NM), np.asarray(violations_N, dtype=np.float64)
    ranks = constrained_ranks(points, violations, errors_NM)
    crowding = np.zeros(len(points))
    chosen: list[int] = []
    for rank in range(int(ranks.max(initial=-1)) + 1):
        front = np.flatnonzero(ranks == rank)
        if violations[front[0]] == 0.0:
            crowding[front] = weighted_crowding_distance(points[front], weights_M)
        room = num - len(chosen)
        if len(front) > room:
            shuffled = rng.permutation(front)
            front = shuffled[np.argsort(-crowding[shuffled], kind="stable")][:room]
        chosen.extend(int(i) for i in front)
        if len(chosen) >= num:
            break
    indices = np.asarray(chosen, dtype=np.int64)
    return Survivors(indices, ranks[indices], crowding[indices])
