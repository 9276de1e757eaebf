"""Dominance, fronts and hypervolume. Every matrix is (num_points, num_objectives) and minimised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas_engine.domain.dominance import CONFIDENCE_Z, confidence_limits, confidently_undominated
from nas_engine.domain.errors import EngineError

Floats = NDArray[np.float64]


def as_points(values: ArrayLike, what: str = "objective values") -> Floats:
    """A finite (num_points, num_objectives) matrix.

    Raises:
        EngineError: not two-dimensional, or a value is not finite.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2:
        raise EngineError(f"{what} have shape {points.shape}: give one row per point, one column per objective")
    if not np.isfinite(points).all():
        row = int(np.argwhere(~np.isfinite(points))[0, 0])
        raise EngineError(f"{what} of point {row} are {points[row].tolist()}: only finite values can be compared")
    return points


def non_dominated(points_NM: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point dominates; equal points are kept together."""
    points = as_points(points_NM)
    if len(points) == 0:
        return np.zeros(0, dtype=np.bool_)
    if points.shape[1] == 1:
        return np.asarray(points[:, 0] == points[:, 0].min(), dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=np.bool_)


def pareto_ranks(points_NM: ArrayLike) -> NDArray[np.int64]:
    """Rank of each point in the non-dominated sort; 0 is the front."""
    points = as_points(points_NM)
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    if points.shape[1] == 1:
        return np.unique(points[:, 0], return_inverse=True)[1].astype(np.int64).reshape(-1)
    return np.asarray(moocore.pareto_rank(points), dtype=np.int64)


def confidently_non_dominated(points_NM: ArrayLike, errors_NM: ArrayLike, z: float = CONFIDENCE_Z) -> NDArray[np.bool_]:
    """Points that no other point dominates beyond measurement noise: a superset of `non_dominated`.

    See `nas_engine.domain.dominance`.

    Args:
        points_NM: values, minimised.
        errors_NM: standard errors, >= 0.
        z: half-width of the interval in standard errors; 0 gives plain dominance.
    """
    lower, upper = confidence_limits(as_points(points_NM), as_points(errors_NM, "standard errors"), z)
    return confidently_undominated(lower, upper, non_dominated(upper))


def confident_ranks(points_NM: ArrayLike, errors_NM: ArrayLike, z: float = CONFIDENCE_Z) -> NDArray[np.int64]:
    """Rank of each point in the non-dominated sort by confident dominance; 0 is the front.

    With errors of 0 these are `pareto_ranks`. Arguments as of `confidently_non_dominated`.
    """
    points, errors = as_points(points_NM), as_points(errors_NM, "standard errors")
    ranks = np.zeros(len(points), dtype=np.int64)
    left, rank = np.arange(len(points)), 0
    while len(left):  # every round takes at least one point: a strict partial order has minimal elements
        front = confidently_non_dominated(points[left], errors[left], z)
        ranks[left[front]] = rank
        left, rank = left[~front], rank + 1
    return ranks


@dataclass(frozen=True, slots=True)
class HypervolumeReference:
    """The fixed frame in which one search's hypervolume is counted, so that values can be compared over time.

    Attributes:
        ideal: best value per objective (minimised), maps to 0.
        nadir: worst value per objective, maps to 1.
        margin: the reference point lies at 1 + margin, so that extreme points count.
    """

    ideal: tuple[float, ...]
    nadir: tuple[float, ...]
    margin: float = 0.1

    def __post_init__(self) -> None:
        finite = all(math.isfinite(v) for v in (*self.ideal, *self.nadir, self.margin))
        if not finite or len(self.ideal) != len(self.nadir) or not self.ideal or self.margin < 0:
            raise EngineError(f"hypervolume reference {self}: give finite ideal and nadir of equal length, margin >= 0")
        if any(low >= high for low, high in zip(self.ideal, self.nadir, strict=True)):
            raise EngineError(f"hypervolume reference: ideal {self.ideal} must be below nadir {self.nadir} everywhere")

    @classmethod
    def spanning(cls, points_NM: ArrayLike, margin: float = 0.1) -> HypervolumeReference:
        """The frame from the smallest to the largest value of each objective; a constant one gets width 1."""
        points = as_points(points_NM)
        if len(points) == 0:
            raise EngineError("a hypervolume reference cannot span zero points: give at least one")
        low, high = points.min(axis=0), points.max(axis=0)
        high = np.where(high > low, high, low + 1.0)
        return cls(tuple(low.tolist()), tuple(high.tolist()), margin)

    def scaled(self, points_NM: ArrayLike) -> Floats:
        """Points in units of the frame: ideal 0, nadir 1."""
        ideal, nadir = np.asarray(self.ideal), np.asarray(self.nadir)
        scaled: Floats = (as_points(points_NM) - ideal) / (nadir - ideal)
        return scaled

    def hypervolume(self, points_NM: ArrayLike) -> float:
        """Volume dominated within the frame; points beyond the reference point add nothing, none gives 0."""
        points = as_points(points_NM)
        if len(points) == 0:
            return 0.0
        reference = 1.0 + self.margin
        scaled = self.scaled(points)
        inside = scaled[(scaled < reference).all(axis=1)]
        if len(inside) == 0:
            return 0.0
        if inside.shape[1] == 1:
            return float(reference - inside.min())
        return float(moocore.hypervolume(inside, ref=np.full(inside.shape[1], reference)))


def equispaced(points_NM: ArrayLike, num: int) -> list[int]:
    """Indices of up to `num` points spread evenly over the front of `points_NM`, extremes first kept (SCARLET, Alg. 1).

    Two objectives: equal steps of arc length along the scaled front. Otherwise: farthest-point selection from the
    best point of each objective. Duplicates of a point are chosen once.

    Raises:
        EngineError: `num` < 1.
    """
    if num < 1:
        raise EngineError(f"number of models to pick is {num}: give at least 1")
    points = as_points(points_NM)
    front = np.flatnonzero(non_dominated(points))
    if len(front) == 0:
        return []
    _, first = np.unique(points[front], axis=0, return_index=True)
    front = front[np.sort(first)]
    scaled = HypervolumeReference.spanning(points[front]).scaled(points[front])
    chosen = _along_arc(scaled, num) if scaled.shape[1] == 2 else _farthest(scaled, num)
    return [int(front[i]) for i in chosen]


def _along_arc(scaled: Floats, num: int) -> list[int]:
    order = np.argsort(scaled[:, 0], kind="stable")
    if num >= len(order):
        return [int(i) for i in order]
    steps = np.linalg.norm(np.diff(scaled[order], axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    if num == 1:
        return [int(order[int(np.argmin(np.abs(arc - arc[-1] / 2)))])]
    chosen: list[int] = []
    free = np.ones(len(order), dtype=np.bool_)
    # The two ends first: an inner target must never take an extreme away.
    targets = np.linspace(0.0, arc[-1], num)
    for target in (targets[0], targets[-1], *targets[1:-1]):
        index = int(np.argmin(np.where(free, np.abs(arc - target), np.inf)))
        free[index] = False
        chosen.append(index)
    return [int(order[i]) for i in sorted(chosen)]


def _farthest(scaled: Floats, num: int) -> list[int]:
    extremes: Sequence[int] = list(dict.fromkeys(int(i) for i in scaled.argmin(axis=0)))
    chosen = list(extremes[:num])
    distance = np.min(np.linalg.norm(scaled[:, None] - scaled[chosen][None], axis=2), axis=1)
    while len(chosen) < min(num, len(scaled)):
        index = int(np.argmax(distance))
        chosen.append(index)
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[index], axis=1))
    return sorted(chosen)
