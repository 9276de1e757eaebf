"""How well estimates agree with what was measured: in order (Kendall's tau), and in size, table against board."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import EngineError, InvalidMeasurementError


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateQuality:
    """Agreement of one estimator with the actual costs of the same networks.

    Attributes:
        estimator: its name.
        num_networks: how many were compared.
        kendall_tau: tau-b of estimates and actual costs; None where all of one of them are equal.
        mean_absolute_error: in the unit of the costs.
        mean_relative_error: mean of |estimate - actual| / actual.
        mean_error: estimate - actual; positive where the estimator is too high.
    """

    estimator: str
    num_networks: int
    kendall_tau: float | None
    mean_absolute_error: float
    mean_relative_error: float
    mean_error: float


def compare_estimators(
    estimates: Mapping[str, Sequence[float]], actual: Sequence[float]
) -> tuple[EstimateQuality, ...]:
    """One report per estimator, in the order given.

    Args:
        estimates: by estimator, one cost per network.
        actual: measured cost of each network, in the same unit.

    Raises:
        InvalidMeasurementError: fewer than two networks, lengths that differ, or a cost that is not finite
            (actual ones must be positive too).
    """
    actual_costs = np.asarray(actual, dtype=np.float64)
    if len(actual_costs) < 2 or not np.isfinite(actual_costs).all() or not (actual_costs > 0).all():
        raise InvalidMeasurementError(
            f"comparing estimates needs two or more measured networks with finite, positive costs, got {len(actual)}"
        )
    reports = []
    for name, values in estimates.items():
        estimated = np.asarray(values, dtype=np.float64)
        if estimated.shape != actual_costs.shape or not np.isfinite(estimated).all():
            raise InvalidMeasurementError(
                f"estimator {name} has {len(values)} values for {len(actual)} networks, or one that is not finite"
            )
        errors = estimated - actual_costs
        reports.append(
            EstimateQuality(
                estimator=name,
                num_networks=len(actual_costs),
                kendall_tau=kendall_tau(estimated, actual_costs),
                mean_absolute_error=float(np.abs(errors).mean()),
                mean_relative_error=float((np.abs(errors) / actual_costs).mean()),
                mean_error=float(errors.mean()),
            )
        )
    return tuple(reports)


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
