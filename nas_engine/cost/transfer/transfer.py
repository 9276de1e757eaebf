"""Latencies of a search's networks on a new board, estimated from a dozen measurements there and all on another board.

See `covariance` for the model. numpy alone; a fit takes tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.cost.transfer.covariance import Floats, Hyper, NetworkCovariance, Rows, sampled_hyper
from nas_engine.domain.errors import EngineError

MIN_MEASURED = 6
"""Measurements below which nothing can be left out of a fit that would still say anything."""

NOMINAL = 0.95
"""Share of new measurements that intervals are made to hold."""

_PRIOR_SHAPE, _PRIOR_RATE = 1.0, 0.3
"""Of the inverse gamma prior of the scale of all variances, which is integrated out."""

_LEAST_WEIGHT = 1e-3
"""Of the most likely hyper-parameters' weight; others count for nothing."""

_Z = 1.959964  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True, slots=True)
class TransferQuality:
    """How fits that had not seen a measured network did on it.

    Attributes:
        nominal: share of new measurements that intervals are made to hold.
        coverage: share of the left-out ones that they did hold.
        num_left_out: networks, each left out of a fit of its own.
        mean_relative_error: mean of the absolute errors over the measured latencies.
        median_relative_width: of their intervals over the measured latencies.
        kendall_tau: of estimated and measured order; None where all are equal.
    """

    nominal: float
    coverage: float
    num_left_out: int
    mean_relative_error: float
    median_relative_width: float
    kendall_tau: float | None


@dataclass(frozen=True, slots=True)
class _Part:
    """One Gaussian process of the average."""

    weight: float
    hyper: Hyper
    precision: Floats
    weights: Floats
    scale: float


class LatencyTransfer:
    """What measured networks say of all. Values inside are logarithms, standardised over the measured ones."""

    def __init__(self, covariance: NetworkCovariance, measured: Sequence[int], latency_us: Sequence[float]) -> None:
        """Fit to measurements.

        Args:
            covariance: of all networks.
            measured: rows of the measured ones, distinct.
            latency_us: what they took on the new board.

        Raises:
            EngineError: too few, repeated rows, or a latency that is not positive.
        """
        values = np.asarray(latency_us, dtype=np.float64)
        if len(values) != len(measured) or len(set(measured)) != len(values) or len(values) < MIN_MEASURED - 1:
            raise EngineError(
                f"{len(values)} measured networks: {MIN_MEASURED} distinct ones are needed, each with a value"
            )
        if not (np.isfinite(values).all() and (values > 0.0).all()):
            raise EngineError("measured latencies must be positive and finite, microseconds")
        self.covariance = covariance
        self.measured: Rows = np.asarray(measured, dtype=np.int64)
        self.latency_us = values
        logs = np.log(values)
        self._centre, self._spread = float(logs.mean()), float(logs.std()) or 1.0
        self._targets = (logs - self._centre) / self._spread
        self._freedom = len(values) + 2.0 * _PRIOR_SHAPE
        self._parts = self._fitted()

    def logs(self, rows: Rows) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the logarithm of what networks would be measured at."""
        means, variances = [], []
        for part in self._parts:
            cross = self.covariance.between(rows, self.measured, part.hyper)
            explained = ((cross @ part.precision) * cross).sum(axis=1)
            prior = self.covariance.variance(rows, part.hyper)
            means.append(cross @ part.weights)
            variances.append(part.scale * (np.maximum(prior - explained, 0.0) + part.hyper.noise))
        shares = np.asarray([part.weight for part in self._parts])
        mean = shares @ np.asarray(means)
        variance = shares @ (np.asarray(variances) + (np.asarray(means) - mean) ** 2)
        return self._centre + self._spread * mean, self._spread * np.sqrt(variance)

    def draws(self, rows: Rows, num: int, rng: np.random.Generator) -> Floats:
        """Logarithms of latencies as they might all be measured together, (num, num_rows); known ones as measured."""
        shares = np.asarray([part.weight for part in self._parts])
        found = []
        for part, times in zip(self._parts, rng.multinomial(num, shares / shares.sum()), strict=True):
            if times == 0:
                continue
            cross = self.covariance.between(rows, self.measured, part.hyper)
            prior = self.covariance.between(rows, rows, part.hyper)
            joint = part.scale * (prior - cross @ part.precision @ cross.T)
            joint[np.diag_indices_from(joint)] += part.scale * part.hyper.noise + 1e-9
            root = np.linalg.cholesky(joint)
            noise = rng.normal(size=(times, len(rows)))
            noise /= np.sqrt(rng.chisquare(self._freedom, size=(times, 1)) / self._freedom)
            found.append(cross @ part.weights + noise @ root.T)
        logs = self._centre + self._spread * np.vstack(found)
        place_of = {int(row): place for place, row in enumerate(self.measured)}
        for column, row in enumerate(rows.tolist()):
            if row in place_of:
                logs[:, column] = np.log(self.latency_us[place_of[row]])
        return np.asarray(logs)

    @property
    def quantile(self) -> float:
        """Half width of an interval of 95 % in standard deviations: Student's, by its expansion about the normal one
        (Abramowitz & Stegun 26.7.5).
        """
        return _Z + (_Z**3 + _Z) / (4.0 * self._freedom)

    def _fitted(self) -> tuple[_Part, ...]:
        num, found, evidence = len(self._targets), [], []
        for hyper in sampled_hyper():
            gram = self.covariance.between(self.measured, self.measured, hyper)
            gram[np.diag_indices_from(gram)] += hyper.noise
            root = np.linalg.cholesky(gram)
            precision: Floats = np.asarray(np.linalg.inv(gram), dtype=np.float64)
            weights: Floats = precision @ self._targets
            # The variances' common scale is integrated out: a Student-t process.
            shape, rate = _PRIOR_SHAPE + 0.5 * num, _PRIOR_RATE + 0.5 * float(self._targets @ weights)
            evidence.append(-float(np.log(np.diag(root)).sum()) - shape * float(np.log(rate)))
            found.append(_Part(0.0, hyper, precision, weights, rate / shape))
        shares = np.exp(np.asarray(evidence) - max(evidence))
        kept = shares > _LEAST_WEIGHT
        shares = shares / shares[kept].sum()
        return tuple(
            _Part(float(share), part.hyper, part.precision, part.weights, part.scale)
            for part, share, keep in zip(found, shares, kept, strict=True)
            if keep
        )


@dataclass(frozen=True, slots=True)
class TransferEstimates:
    """Estimates of all networks, in microseconds; of measured ones too, which nobody needs.

    Attributes:
        values: expected (medians).
        low, high: ends of the 95 % intervals.
        quality: on measured networks left out.
    """

    values: Floats
    low: Floats
    high: Floats
    quality: TransferQuality


def estimate_all(transfer: LatencyTransfer) -> TransferEstimates:
    """Estimate every network, and find out by leaving each measured one out how far to believe it.

    Where left-out ones lay farther off than their deviations say, all intervals are widened by as much; they are never
    made narrower. What is measured was chosen to lie far apart: leaving one out is harder than what is asked for.

    Raises:
        EngineError: fewer than `MIN_MEASURED`.
    """
    num = len(transfer.measured)
    if num < MIN_MEASURED:
        raise EngineError(f"{num} measured networks: {MIN_MEASURED} are needed to leave one out")
    logs = np.log(transfer.latency_us)
    mean, deviation = np.empty(num), np.empty(num)
    for place in range(num):
        others = np.delete(np.arange(num), place)
        without = LatencyTransfer(
            transfer.covariance, transfer.measured[others].tolist(), transfer.latency_us[others].tolist()
        )
        left_out = transfer.measured[place : place + 1]
        mean[place : place + 1], deviation[place : place + 1] = without.logs(left_out)
    squares = ((logs - mean) / deviation) ** 2
    # Each is judged by the widening that the others ask for.
    of_others = np.asarray([_widening(np.delete(squares, place)) for place in range(num)])
    margin = transfer.quantile * of_others * deviation
    quality = TransferQuality(
        nominal=NOMINAL,
        coverage=float((np.abs(logs - mean) <= margin).mean()),
        num_left_out=num,
        mean_relative_error=float(np.abs(np.expm1(mean - logs)).mean()),
        median_relative_width=float(np.median((np.exp(mean + margin) - np.exp(mean - margin)) / transfer.latency_us)),
        kendall_tau=kendall_tau(mean.tolist(), logs.tolist()),
    )
    middle, spread = transfer.logs(np.arange(len(transfer.covariance)))
    half = transfer.quantile * _widening(squares) * spread
    return TransferEstimates(np.exp(middle), np.exp(middle - half), np.exp(middle + half), quality)


def _widening(squares: Floats) -> float:
    return max(1.0, float(np.sqrt(squares.mean())))
