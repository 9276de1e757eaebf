"""How well cost estimates agree with what was measured end to end: chained against local, table against board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.cost.rank_correlation import kendall_tau
from nas_engine.domain.errors import InvalidMeasurementError


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
