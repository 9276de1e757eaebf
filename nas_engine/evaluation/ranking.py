"""Order preservation: does a cheap estimate rank architectures as the truth does?

Source: supernet shifting (arXiv 2403.11380): global Kendall tau over random architectures, local tau
inside the best of them, where a search spends its time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.domain.errors import EngineError

MIN_PAIRS = 2


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Agreement of two rankings.

    Attributes:
        kendall_tau: tau-b (ties counted), in [-1, 1]; None where one side has no two different values.
        p_value: of the hypothesis that the rankings are unrelated; None with tau.
        spearman: rank correlation; None with tau.
        num: architectures compared.
    """

    kendall_tau: float | None
    p_value: float | None
    spearman: float | None
    num: int


@dataclass(frozen=True, slots=True)
class OrderPreservation:
    """How well estimates keep the true order.

    Attributes:
        overall: over all architectures (the paper's global tau).
        local: inside the best by truth.
        num_local: how many those are.
    """

    overall: RankCorrelation
    local: RankCorrelation
    num_local: int


def rank_correlation(estimates: Sequence[float], truths: Sequence[float]) -> RankCorrelation:
    """Kendall's tau-b and Spearman's correlation of paired values.

    Raises:
        EngineError: the lengths differ, or a value is not finite.
    """
    if len(estimates) != len(truths):
        raise EngineError(f"{len(estimates)} estimates and {len(truths)} truths: a ranking needs pairs")
    if not all(math.isfinite(value) for value in (*estimates, *truths)):
        raise EngineError("a value to be ranked is not finite: leave out what was not evaluated")
    if len(estimates) < MIN_PAIRS or len(set(estimates)) < MIN_PAIRS or len(set(truths)) < MIN_PAIRS:
        return RankCorrelation(None, None, None, len(estimates))
    from scipy.stats import kendalltau, spearmanr  # a second of every worker's start, and few rank anything

    return RankCorrelation(
        kendall_tau=kendall_tau(estimates, truths),
        p_value=float(kendalltau(estimates, truths).pvalue),
        spearman=float(spearmanr(estimates, truths).statistic),
        num=len(estimates),
    )


def order_preservation(estimates: Sequence[float], truths: Sequence[float], num_local: int) -> OrderPreservation:
    """Global correlation, and the correlation inside the `num_local` best by truth (ties: first given first).

    Raises:
        EngineError: the lengths differ, a value is not finite, or `num_local` is below 2.
    """
    if num_local < MIN_PAIRS:
        raise EngineError(f"num_local is {num_local}: order among fewer than two architectures means nothing")
    overall = rank_correlation(estimates, truths)
    best = np.argsort(-np.asarray(truths, dtype=np.float64), kind="stable")[:num_local]
    local = rank_correlation([estimates[i] for i in best], [truths[i] for i in best])
    return OrderPreservation(overall, local, len(best))
