"""When one candidate is better than another: by the values themselves, or only beyond their confidence intervals.

With measured values, *A dominates B* by a microsecond may be noise. Confident dominance compares intervals: A dominates
B where A's worse limit is not above B's better one in every objective, and below it in one. It is a strict partial
order like plain dominance, implies it, and is the same where the intervals are points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import EngineError

CONFIDENCE_Z = 1.96
"""Half-width of an interval in standard errors: 95 % per objective, normal approximation."""

Floats = NDArray[np.float64]


class Dominance(StrEnum):
    """How two candidates are compared: by their values, or by confidence intervals around them."""

    POINT = "point"  # by their values
    CONFIDENT = "confident"  # by their 95 % confidence intervals


def confidently_dominates(
    first: Sequence[float],
    first_errors: Sequence[float],
    second: Sequence[float],
    second_errors: Sequence[float],
    z: float = CONFIDENCE_Z,
) -> bool:
    """Whether `first` is better than `second` beyond the noise of both. Values are minimised, errors standard errors.

    Raises:
        EngineError: lengths differ, or an error is negative or not finite.
    """
    rows = np.array([first, second], dtype=np.float64), np.array([first_errors, second_errors], dtype=np.float64)
    lower, upper = confidence_limits(*rows, z=z)
    return bool(beaten_by(upper[0], lower[1:])[0])


def confidence_limits(points_NM: Floats, errors_NM: Floats, z: float = CONFIDENCE_Z) -> tuple[Floats, Floats]:
    """Lower and upper limits: values -/+ z standard errors.

    Raises:
        EngineError: shapes differ, an error is negative, a number is not finite.
    """
    sound = points_NM.shape == errors_NM.shape and np.isfinite(points_NM).all() and np.isfinite(errors_NM).all()
    if not sound or (errors_NM < 0).any() or not (math.isfinite(z) and z >= 0):
        raise EngineError(
            f"standard errors must be finite, >= 0 and shaped like the values {points_NM.shape}, and z finite and >= 0"
        )
    return points_NM - z * errors_NM, points_NM + z * errors_NM


def beaten_by(upper_M: Floats, lower_NM: Floats) -> NDArray[np.bool_]:
    """Which rows a candidate with these upper limits dominates confidently, given the rows' lower limits."""
    nowhere_worse, somewhere_better = (upper_M <= lower_NM).all(axis=1), (upper_M < lower_NM).any(axis=1)
    return np.asarray(nowhere_worse & somewhere_better, dtype=np.bool_)


def confidently_undominated(lower_NM: Floats, upper_NM: Floats, challengers_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that no challenger dominates confidently.

    Args:
        lower_NM, upper_NM: limits of every row, as of `confidence_limits`.
        challengers_N: rows whose upper limits no other row's upper limits dominate: no other row can dominate
            anything that these do not, so O(N x front) comparisons are enough.
    """
    keep = np.ones(len(lower_NM), dtype=np.bool_)
    for upper_M in upper_NM[challengers_N]:
        keep &= ~beaten_by(upper_M, lower_NM)
    return keep
