"""Paired comparison of searches over worlds: Wilcoxon's signed rank test with Holm's correction, and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata, wilcoxon

from worlds.world import Floats


def standard_error(values: Floats) -> float:
    """Standard error of a mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def p_below(ours: Floats, peer: Floats) -> float:
    """One-sided p-value of "ours is below the peer's", over paired runs; 1 where they never differ."""
    difference = ours - peer
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference, alternative="less", zero_method="zsplit").pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of p-values that are judged together."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def mean_ranks(means: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Mean rank over worlds; 1 is the largest mean share.

    Args:
        means: mean share of every search in each world, in one order of the worlds.
    """
    ranks = rankdata(-np.asarray(list(means.values())), axis=0).mean(axis=1)
    return dict(zip(means, ranks.tolist(), strict=True))
