"""How alike the latencies of two networks on a new board are taken to be, before anything is measured there.

What a board takes is partly what another one took, at another price, and partly what only the layers tell: a unit that
is missing there, a bandwidth that is short. So the logarithm of the new latency is a Gaussian process over both: linear
and bent in the logarithm of the old latency, linear and bent in the operator totals of the layer graph, linear in the
choices of the genes. How much each of these counts is not known: `sampled_hyper` draws it from a wide prior, and what
is fitted averages over the draws by how well each explains the measurements (Bayesian model averaging, Rasmussen &
Williams 2006, 5.2, in place of the most likely hyper-parameters, which a dozen measurements do not determine).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import EngineError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

CONSTANT_VARIANCE = 10.0
"""Of the mean, in units of the measured logarithms' variance: it is for the measurements to say."""

NUM_HYPER = 150
"""Draws from the prior. With twice as many, fronts of the benchmark are the same within their spread over seeds."""


@dataclass(frozen=True, slots=True)
class Hyper:
    """Variances and lengths of one Gaussian process, in units of the measured logarithms' variance.

    Attributes:
        old: of what is linear in the logarithm of the old latency.
        bent_old, old_length: of what bends with it, and over how many standard deviations.
        totals: of what is linear in the operator totals.
        bent_totals, totals_length: of what bends with them.
        choices: of what is linear in the choices of the genes.
        noise: of what none of these explains, measurement errors included.
    """

    old: float
    bent_old: float
    old_length: float
    totals: float
    bent_totals: float
    totals_length: float
    choices: float
    noise: float


_EXPONENTS = {
    "old": (-1.5, 1.5),
    "bent_old": (-3.0, -0.5),
    "old_length": (-0.3, 0.5),
    "totals": (-1.5, 1.5),
    "bent_totals": (-2.5, 0.0),
    "totals_length": (-0.2, 0.6),
    "choices": (-2.0, 0.7),
    "noise": (-4.0, -1.0),
}
"""Powers of ten between which the prior is uniform."""


def sampled_hyper(num: int = NUM_HYPER) -> tuple[Hyper, ...]:
    """Draw hyper-parameters from the prior; always the same ones."""
    rng = np.random.default_rng(0)
    names = list(_EXPONENTS)
    low, high = np.asarray([_EXPONENTS[name] for name in names]).T
    powers = 10.0 ** rng.uniform(low, high, (num, len(names)))
    return tuple(Hyper(**dict(zip(names, row.tolist(), strict=True))) for row in powers)


class NetworkCovariance:
    """Covariances of the networks of one search, whose features it keeps."""

    def __init__(self, old_latency_us: Sequence[float], totals: Floats, genotypes: Sequence[Sequence[int]]) -> None:
        """See class.

        Args:
            old_latency_us: of each network on the board that is known, microseconds.
            totals: operator totals of each, (num_networks, num_totals); see `nas_engine.domain.views.operator_totals`.
            genotypes: of each, of one space.

        Raises:
            EngineError: lengths differ, or a latency is not positive.
        """
        old = np.asarray(old_latency_us, dtype=np.float64)
        choices = np.asarray(genotypes, dtype=np.int64)
        if len({len(old), len(totals), len(choices)}) != 1 or choices.ndim != 2:
            raise EngineError(f"{len(old)} latencies, {len(totals)} totals, {len(choices)} genotypes: give one of each")
        if not (np.isfinite(old).all() and (old > 0.0).all()):
            raise EngineError("latencies of the known board must be positive and finite, microseconds")
        self._old = _standardised(np.log(old)[:, None])
        self._totals = _standardised(totals.reshape(len(old), -1))
        self._choices = _one_hot(choices)

    def __len__(self) -> int:
        """Number of networks."""
        return len(self._old)

    def between(self, first: Rows, second: Rows, hyper: Hyper) -> Floats:
        """Prior covariances of networks, (num_first, num_second), without the noise."""
        old_1, old_2 = self._old[first], self._old[second]
        totals_1, totals_2 = self._totals[first], self._totals[second]
        found = CONSTANT_VARIANCE + hyper.old * (old_1 @ old_2.T) + hyper.totals * (totals_1 @ totals_2.T)
        found += hyper.bent_old * _bell(old_1, old_2, hyper.old_length)
        found += hyper.bent_totals * _bell(totals_1, totals_2, hyper.totals_length)
        found += hyper.choices * (self._choices[first] @ self._choices[second].T)
        return np.asarray(found)

    def variance(self, rows: Rows, hyper: Hyper) -> Floats:
        """Prior variances of networks, without the noise."""
        squares = [(part[rows] ** 2).sum(axis=1) for part in (self._old, self._totals, self._choices)]
        linear = hyper.old * squares[0] + hyper.totals * squares[1] + hyper.choices * squares[2]
        return np.asarray(CONSTANT_VARIANCE + hyper.bent_old + hyper.bent_totals + linear)


def _standardised(columns: Floats) -> Floats:
    """Columns that differ, with mean 0; the mean square of a row is 1 on average."""
    deviation = columns.std(axis=0)
    differing = deviation > 1e-9 * np.abs(columns).max(axis=0)
    kept = (columns[:, differing] - columns[:, differing].mean(axis=0)) / deviation[differing]
    return np.asarray(kept / np.sqrt(max(kept.shape[1], 1)))


def _one_hot(choices: NDArray[np.int64]) -> Floats:
    """A column for each choice of each gene that the networks differ in, with mean 0; scaled as `_standardised`."""
    columns = [column == choice for column in choices.T for choice in np.unique(column)[1:]]
    if not columns:
        return np.zeros((len(choices), 0))
    # The first choice of a gene has its column too: likeness must not depend on which is the first.
    columns += [column == np.unique(column)[0] for column in choices.T if len(np.unique(column)) > 1]
    table = np.stack(columns, axis=1).astype(np.float64)
    table -= table.mean(axis=0)
    return np.asarray(table / np.sqrt((table**2).sum(axis=1).mean()))


def _bell(first: Floats, second: Floats, length: float) -> Floats:
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2.0 * first @ second.T
    return np.asarray(np.exp(-0.5 * np.maximum(squares, 0.0) / length**2))
