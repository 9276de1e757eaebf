"""Covariance of a metric between genotypes, and the hyper-parameters of largest posterior probability.

Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006): posterior eq. 2.25-2.26, likelihood 2.30,
its gradient 5.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from nas_engine.cost.prediction.encodings import Features, Floats
from nas_engine.cost.prediction.mean_arrays import NEGLIGIBLE, squared_distance

MAX_LIKELIHOOD_SAMPLES = 200
"""The likelihood is maximised on evenly spaced samples beyond this: its cost is cubic, its gain is not."""

MAX_LIKELIHOOD_STEPS = 50
"""Bound on the optimiser's iterations."""

JITTER = 1e-8
"""Added to the diagonal, in units of the standardised variance, against rounding."""

WEIGHT_SPREAD = 1.0
"""Standard deviation, before the data, of the logarithm of how much more one gene matters than another."""

_SMALL, _LARGE = -9.0, 4.0
LOG_BOUNDS = (*(((_SMALL, _LARGE),) * 6), (-3.0, 1.5), (-3.0, 2.0), (-12.0, 0.5))
"""Of the logarithm of each number of a `Covariance`, weights apart."""

_START = (0.4, 0.1, 0.3, 0.1, 0.1, 0.1, 0.3, 0.5, 0.02)
_START_LAYERS, _START_TOTAL = 0.3, 0.05
_PRIOR_SPREAD = np.asarray([3.0] * 6 + [1.0, 1.0, 3.0])


@dataclass(frozen=True, slots=True)
class Covariance:
    """Hyper-parameters, for targets standardised to mean 0 and variance 1.

    Attributes:
        linear: variance explained by a sum of one term per gene and choice.
        pairs: variance explained by one term per pair of genes and their choices.
        interaction: variance explained by interactions of any order.
        counts: variance explained by how often each operator is used.
        smooth: variance explained by where each operator is used, about.
        coarse: variance of a smooth function of how often each operator is used in each group of genes.
        length: weighted share of differing genes over which `interaction` decays by e.
        coarse_length: length scale of `coarse`.
        noise: variance that nothing above explains, told standard errors apart.
        weights: logarithm of how much each gene matters.
        layers: variance explained by choices of like cost having like effects.
        totals: variance explained by each operator total.
    """

    linear: float
    pairs: float
    interaction: float
    counts: float
    smooth: float
    coarse: float
    length: float
    coarse_length: float
    noise: float
    weights: tuple[float, ...]
    layers: float = 0.0
    totals: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float], num_genes: int) -> Covariance:
        """Read what `values` gives."""
        costs = values[9 + num_genes :]
        of_costs = (costs[0], tuple(costs[1:])) if costs else ()
        numbers: tuple[Any, ...] = (*values[:9], tuple(values[9 : 9 + num_genes]), *of_costs)
        return cls(*numbers)

    @classmethod
    def start(cls, num_genes: int, num_totals: int = 0) -> Covariance:
        """Return what is assumed before any data; without totals nothing is known of what choices cost."""
        layers = _START_LAYERS if num_totals else 0.0
        return cls(*_START, weights=(0.0,) * num_genes, layers=layers, totals=(_START_TOTAL,) * num_totals)

    def values(self) -> tuple[float, ...]:
        """List all numbers: the genes' weights after the first nine, and what concerns costs, where known, last."""
        return (
            self.linear,
            self.pairs,
            self.interaction,
            self.counts,
            self.smooth,
            self.coarse,
            self.length,
            self.coarse_length,
            self.noise,
            *self.weights,
            *((self.layers, *self.totals) if self.totals else ()),
        )


class ChoiceKernel:
    """A sum of parts over the weighted share s of agreeing genes, and over how often operators are used.

    k(a, b) = linear * s + pairs * s^2 + interaction * exp((s - 1) / length)
    + counts * (counts . counts) + smooth * (smooth . smooth) + coarse * exp(-coarse distance^2 / (2 coarse_length^2))
    + layers * (layers . layers) + a sum of total * total times the variance of each operator total
    """

    def __init__(self, blocks: Sequence[slice], *, interactions: bool) -> None:
        """See class.

        Args:
            blocks: columns of each gene in `Features.choices`.
            interactions: without them only the parts that are linear in choices and counts are taken.
        """
        self._blocks = tuple(blocks)
        self._starts = np.asarray([block.start for block in self._blocks])
        self._widths = np.asarray([block.stop - block.start for block in self._blocks])
        self.interactions = interactions

    @property
    def num_genes(self) -> int:
        """Number of genes."""
        return len(self._blocks)

    def column_weights(self, hyper: Covariance) -> Floats:
        """Compute how much each column of `Features.choices` counts in the share of agreeing genes."""
        return np.repeat(_shares(np.asarray(hyper.weights)), self._widths)

    def between(self, a: Features, b: Features, hyper: Covariance) -> Floats:
        """Compute the covariance matrix, (len(a), len(b))."""
        agreement = (a.choices * self.column_weights(hyper)) @ b.choices.T
        totals = a.totals * np.asarray(hyper.totals)
        linear = np.hstack([hyper.counts * a.counts, hyper.smooth * a.smooth, hyper.layers * a.layers, totals])
        total = linear @ np.hstack([b.counts, b.smooth, b.layers, b.totals]).T
        if not self.interactions:
            total += hyper.linear * agreement
            return np.asarray(total)
        part = hyper.pairs * agreement
        part += hyper.linear
        part *= agreement
        total += part
        agreement -= 1.0
        agreement *= 1.0 / hyper.length
        np.exp(agreement, out=agreement)
        agreement *= hyper.interaction
        total += agreement
        if hyper.coarse > NEGLIGIBLE:
            distance = squared_distance(a.coarse, b.coarse)
            distance *= -0.5 / hyper.coarse_length**2
            np.exp(distance, out=distance)
            distance *= hyper.coarse
            total += distance
        return np.asarray(total)

    def variance(self, a: Features, hyper: Covariance) -> Floats:
        """Compute the diagonal of `between(a, a)`, (len(a),)."""
        diagonal: Floats = hyper.counts * (a.counts**2).sum(axis=1) + hyper.smooth * (a.smooth**2).sum(axis=1)
        diagonal += hyper.layers * (a.layers**2).sum(axis=1) + a.totals**2 @ np.asarray(hyper.totals)
        diagonal += hyper.linear
        coarse = hyper.coarse if hyper.coarse > NEGLIGIBLE else 0.0
        return diagonal + hyper.pairs + hyper.interaction + coarse if self.interactions else diagonal

    def most_likely(
        self,
        known: Features,
        targets: Floats,
        error_variance: Floats,
        start: Covariance | None = None,
        max_samples: int = MAX_LIKELIHOOD_SAMPLES,
    ) -> Covariance:
        """Hyper-parameters of largest posterior probability; deterministic.

        Args:
            known: features of the samples.
            targets: standardised values.
            error_variance: of the targets.
            start: where the optimiser begins; None for what is assumed before any data.
            max_samples: evenly spaced ones are taken beyond this.
        """
        num = len(targets)
        rows = np.unique(np.linspace(0, num - 1, min(num, max_samples)).round().astype(np.int64))
        posterior = Posterior(self, known.take(rows), targets[rows], error_variance[rows])
        num_totals = known.totals.shape[1]
        if start is None or len(start.totals) != num_totals:
            start = Covariance.start(self.num_genes, num_totals)
        begin = posterior.packed(start)
        num_costs = len(begin) - len(LOG_BOUNDS) - self.num_genes
        bounds = (*LOG_BOUNDS, *(((-4.0, 4.0),) * self.num_genes), *(((_SMALL, _LARGE),) * num_costs))
        low, high = np.asarray(bounds).T
        outcome = minimize(
            posterior,
            np.clip(begin, low, high),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": MAX_LIKELIHOOD_STEPS, "ftol": 1e-5},
        )
        return posterior.unpacked(outcome.x)


class Posterior:
    """Negative logarithm of the hyper-parameters' posterior probability and its gradient, for the optimiser."""

    def __init__(self, kernel: ChoiceKernel, known: Features, targets: Floats, error_variance: Floats) -> None:
        self._kernel, self._known, self._targets, self._error_variance = kernel, known, targets, error_variance
        self._counts = known.counts @ known.counts.T
        self._smooth = known.smooth @ known.smooth.T
        self._distance = squared_distance(known.coarse, known.coarse)
        self._layers = known.layers @ known.layers.T
        num_totals = known.totals.shape[1]
        # Places of the variables.
        self._weights = slice(9, 9 + kernel.num_genes)
        self._costs = slice(9 + kernel.num_genes, 9 + kernel.num_genes + (1 + num_totals if num_totals else 0))
        start = self.packed(Covariance.start(kernel.num_genes, num_totals))
        self._prior = start
        num_costs = self._costs.stop - self._costs.start
        self._prior_spread = np.asarray([*_PRIOR_SPREAD, *[WEIGHT_SPREAD] * kernel.num_genes, *[3.0] * num_costs])

    def packed(self, hyper: Covariance) -> Floats:
        """The optimiser's variables: logarithms of all but the genes' weights."""
        values = np.asarray(hyper.values())
        weights = self._weights
        return np.concatenate([np.log(values[: weights.start]), values[weights], np.log(values[weights.stop :])])

    def unpacked(self, variables: Floats) -> Covariance:
        """Inverse of `packed`."""
        values = np.exp(variables)
        values[self._weights] = variables[self._weights]
        return Covariance.of(values.tolist(), self._kernel.num_genes)

    def __call__(self, variables: Floats) -> tuple[float, Floats]:
        hyper, kernel, choices = self.unpacked(variables), self._kernel, self._known.choices
        shares, totals = _shares(variables[self._weights]), self._known.totals
        scale = np.repeat(shares, kernel._widths)
        agreement = (choices * scale) @ choices.T
        parts = {0: hyper.linear * agreement, 3: hyper.counts * self._counts, 4: hyper.smooth * self._smooth}
        if kernel.interactions:
            parts[1] = hyper.pairs * agreement**2
            parts[2] = hyper.interaction * np.exp((agreement - 1.0) / hyper.length)
            parts[5] = hyper.coarse * np.exp(self._distance / (-2.0 * hyper.coarse_length**2))
        gram = sum(parts.values(), start=np.diag(hyper.noise + JITTER + self._error_variance))
        if hyper.totals:
            gram += hyper.layers * self._layers + (totals * np.asarray(hyper.totals)) @ totals.T
        try:
            factor = cho_factor(gram, lower=True)
        except LinAlgError:
            return 1e12, np.zeros(len(variables))
        solved, precision = cho_solve(factor, self._targets), cho_solve(factor, np.eye(len(gram)))
        value = 0.5 * float(self._targets @ solved) + float(np.log(np.diag(factor[0])).sum())
        # eq. 5.9: half the trace of (K^-1 - a a^T) dK.
        inner = precision - np.outer(solved, solved)
        slopes = np.zeros(len(variables))
        for place, part in parts.items():
            slopes[place] = float((inner * part).sum())
        slopes[8] = hyper.noise * float(np.trace(inner))
        by_agreement = hyper.linear * inner
        if kernel.interactions:
            decay = inner * parts[2]
            slopes[6] = float((decay * (1.0 - agreement)).sum()) / hyper.length
            slopes[7] = float((inner * parts[5] * self._distance).sum()) / hyper.coarse_length**2
            by_agreement += 2.0 * hyper.pairs * inner * agreement + decay / hyper.length
        per_column = (choices * (by_agreement @ choices)).sum(axis=0)
        per_gene = np.add.reduceat(per_column, kernel._starts)
        slopes[self._weights] = shares * (per_gene - float(shares @ per_gene))
        if hyper.totals:
            slopes[self._costs.start] = hyper.layers * float((inner * self._layers).sum())
            slopes[self._costs.start + 1 :] = np.asarray(hyper.totals) * (totals * (inner @ totals)).sum(axis=0)
        slopes *= 0.5
        off = (variables - self._prior) / self._prior_spread
        value += 0.5 * float(off @ off)
        slopes += off / self._prior_spread
        return value, slopes


def _shares(weights: NDArray[np.float64]) -> Floats:
    powers = np.exp(weights - weights.max())
    return np.asarray(powers / powers.sum())
