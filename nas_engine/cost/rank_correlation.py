"""Kendall's tau: how far two quantities put the same networks into the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import EngineError


def kendall_tau(
    first: Sequence[float] | NDArray[np.float64], second: Sequence[float] | NDArray[np.float64]
) -> float | None:
    """Compute Kendall's tau-b (ties counted) of paired values: 1 for the same order, -1 for the reverse.

    Pairs are counted in O(N^2) time and O(N) memory; N is in the hundreds or thousands. None where there is no order
    to compare: fewer than two values, or all of one side equal.

    Raises:
        EngineError: there are not as many values on both sides.
    """
    x_N, y_N = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x_N.shape != y_N.shape:
        raise EngineError(f"Kendall's tau of {x_N.size} and {y_N.size} values: give as many of each")
    agreement, num_untied_x, num_untied_y = 0.0, 0.0, 0.0
    for index in range(len(x_N) - 1):
        signs_x, signs_y = np.sign(x_N[index] - x_N[index + 1 :]), np.sign(y_N[index] - y_N[index + 1 :])
        agreement += float(signs_x @ signs_y)
        num_untied_x += float(np.abs(signs_x).sum())
        num_untied_y += float(np.abs(signs_y).sum())
    tau = agreement / math.sqrt(num_untied_x * num_untied_y) if num_untied_x and num_untied_y else math.nan
    return tau if math.isfinite(tau) else None
