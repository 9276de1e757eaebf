"""How well cost estimates agree with what was measured end to end: chained against local, table against board."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
        reports.append(_quality(name, estimated, actual_costs))
    return tuple(reports)


def _quality(name: str, estimated: np.ndarray, actual: np.ndarray) -> EstimateQuality:
    errors = estimated - actual
    return EstimateQuality(
        estimator=name,
        num_networks=len(actual),
        kendall_tau=kendall_tau_b(estimated, actual),
        mean_absolute_error=float(np.abs(errors).mean()),
        mean_relative_error=float((np.abs(errors) / actual).mean()),
        mean_error=float(errors.mean()),
    )


def kendall_tau_b(first: np.ndarray, second: np.ndarray) -> float | None:
    """Kendall's tau-b by counting pairs (n is in the hundreds or low thousands); None without any order."""
    above = np.triu_indices(len(first), k=1)
    signs_first = np.sign(first[:, None] - first[None, :])[above]
    signs_second = np.sign(second[:, None] - second[None, :])[above]
    scale = math.sqrt(float(np.abs(signs_first).sum()) * float(np.abs(signs_second).sum()))
    return float((signs_first * signs_second).sum()) / scale if scale else None
