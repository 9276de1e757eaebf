"""Rank correlations: known values, ties, the local part, and what cannot be ranked."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.errors import EngineError
from nas_engine.evaluation.ranking import order_preservation, rank_correlation

values = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=30)


def test_equal_and_opposite_orders() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 90]).kendall_tau == pytest.approx(1.0)
    reverse = rank_correlation([1, 2, 3], [3, 2, 1])
    assert reverse.kendall_tau == pytest.approx(-1.0)
    assert reverse.spearman == pytest.approx(-1.0)


def test_ties_are_counted_as_tau_b_counts_them() -> None:
    # 6 pairs: 3 concordant, 1 discordant, 1 tied on each side: (3 - 1) / sqrt(5 * 5).
    assert rank_correlation([1, 1, 2, 3], [1, 2, 2, 0.5]).kendall_tau == pytest.approx(
        _tau_b([1, 1, 2, 3], [1, 2, 2, 0.5])
    )


def _tau_b(x: list[float], y: list[float]) -> float:
    """The definition, pair by pair."""
    concordant = discordant = tied_x = tied_y = 0
    for i, j in combinations(range(len(x)), 2):
        product = (x[i] - x[j]) * (y[i] - y[j])
        concordant, discordant = concordant + (product > 0), discordant + (product < 0)
        tied_x, tied_y = tied_x + (x[i] == x[j]), tied_y + (y[i] == y[j])
    pairs = len(x) * (len(x) - 1) // 2
    return (concordant - discordant) / math.sqrt((pairs - tied_x) * (pairs - tied_y))


@given(pairs=values)
def test_kendall_tau_is_the_definition(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = rank_correlation(x, y)
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert found.kendall_tau is None
    else:
        assert found.kendall_tau == pytest.approx(_tau_b(x, y), abs=1e-12)


def test_the_local_part_looks_at_the_best_by_truth_only() -> None:
    truths = [0.1, 0.2, 0.3, 0.8, 0.85, 0.9]
    estimates = [0.1, 0.2, 0.3, 0.9, 0.85, 0.8]  # right at large, reversed among the best
    found = order_preservation(estimates, truths, 3)
    assert found.local.kendall_tau == pytest.approx(-1.0)
    assert found.overall.kendall_tau == pytest.approx(9 / 15)
    assert found.num_local == 3


def test_too_few_or_equal_values_have_no_correlation() -> None:
    assert rank_correlation([], []).kendall_tau is None
    assert rank_correlation([1], [2]).kendall_tau is None
    assert rank_correlation([1, 1], [1, 2]).kendall_tau is None


def test_unpaired_and_non_finite_values_are_refused() -> None:
    with pytest.raises(EngineError, match="pairs"):
        rank_correlation([1], [1, 2])
    with pytest.raises(EngineError, match="not finite"):
        rank_correlation([1, float("nan")], [1, 2])
    with pytest.raises(EngineError, match="num_local"):
        order_preservation([1, 2], [1, 2], 1)
