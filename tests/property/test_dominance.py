"""Dominance with confidence intervals: a strict partial order within plain dominance, the same without noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.dominance import confidently_dominates
from nas_engine.domain.errors import EngineError
from nas_engine.search.pareto import confident_ranks, confidently_non_dominated, pareto_ranks
from nas_engine.search.survival import constrained_ranks, select_survivors

# Halves: limits that meet exactly are frequent, and exact in floating point.
values = st.integers(-6, 6).map(lambda n: n / 2)
errors = st.integers(0, 4).map(lambda n: n / 2)
Row = tuple[list[float], list[float]]


@st.composite
def noisy_points(draw: st.DrawFn, num: int | None = None) -> list[Row]:
    num_objectives = draw(st.integers(1, 3))
    row = st.tuples(
        st.lists(values, min_size=num_objectives, max_size=num_objectives),
        st.lists(errors, min_size=num_objectives, max_size=num_objectives),
    )
    return draw(st.lists(row, min_size=num or 1, max_size=num or 12))


def dominates(first: Row, second: Row, z: float = 1.0) -> bool:
    return confidently_dominates(*first, *second, z=z)


def plainly(first: Row, second: Row) -> bool:
    return first[0] != second[0] and all(a <= b for a, b in zip(first[0], second[0], strict=True))


@given(noisy_points(num=3))
def test_it_is_a_strict_partial_order_within_plain_dominance(rows: list[Row]) -> None:
    a, b, c = rows
    assert not dominates(a, a)
    assert not (dominates(a, b) and dominates(b, a))
    if dominates(a, b):
        assert plainly(a, b)
        if dominates(b, c):
            assert dominates(a, c)


@given(noisy_points(num=2))
def test_it_is_plain_dominance_where_the_intervals_shrink_to_points(rows: list[Row]) -> None:
    a, b = rows
    assert dominates(a, b, z=0.0) == plainly(a, b)
    exact = [0.0] * len(a[0])
    assert confidently_dominates(a[0], exact, b[0], exact) == plainly(a, b)


@given(noisy_points(num=2), st.sampled_from([0.5, 1.0, 2.0]))
def test_wider_intervals_never_make_a_candidate_better(rows: list[Row], factor: float) -> None:
    a, b = rows
    if dominates(a, b, z=factor * 2):
        assert dominates(a, b, z=factor)


@given(noisy_points())
def test_the_sort_ranks_every_point_behind_all_that_dominate_it(rows: list[Row]) -> None:
    points, spreads = [row[0] for row in rows], [row[1] for row in rows]
    ranks = confident_ranks(points, spreads, z=1.0)
    for i, row in enumerate(rows):
        behind = [int(ranks[j]) for j, other in enumerate(rows) if dominates(other, row)]
        assert ranks[i] == max(behind, default=-1) + 1
    assert ((ranks == 0) == confidently_non_dominated(points, spreads, z=1.0)).all()
    assert (ranks <= pareto_ranks(points)).all()
    assert (confident_ranks(points, np.zeros_like(spreads)) == pareto_ranks(points)).all()


@given(noisy_points(), st.integers(0, 2**32 - 1))
def test_survivors_are_the_same_for_the_same_seed_and_never_of_a_worse_rank(rows: list[Row], seed: int) -> None:
    points, spreads = [row[0] for row in rows], [row[1] for row in rows]
    num, weights = (len(rows) + 1) // 2, [1.0] * len(points[0])
    first, again = (
        select_survivors(points, np.zeros(len(rows)), num, weights, np.random.default_rng(seed), spreads)
        for _ in range(2)
    )
    assert (first.indices == again.indices).all()
    ranks = constrained_ranks(points, np.zeros(len(rows)), spreads)
    left_out = np.setdiff1d(np.arange(len(rows)), first.indices)
    assert len(left_out) == 0 or ranks[first.indices].max() <= ranks[left_out].min()


def test_what_cannot_be_compared_is_refused() -> None:
    for wrong in ([-1.0, 0.0], [float("nan"), 0.0], [0.0]):
        with pytest.raises((EngineError, ValueError)):
            confidently_dominates([1.0, 2.0], wrong, [1.0, 2.0], wrong)
    with pytest.raises(EngineError, match="z finite"):
        confidently_dominates([1.0], [0.0], [2.0], [0.0], z=-1.0)
