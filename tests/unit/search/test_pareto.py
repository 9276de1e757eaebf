"""Dominance, noise-aware dominance, hypervolume in a fixed frame, picks along the front."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.errors import EngineError
from nas_engine.search.pareto import (
    HypervolumeReference,
    confidently_non_dominated,
    equispaced,
    non_dominated,
    pareto_ranks,
)


def test_a_point_is_on_the_front_when_nothing_is_at_least_as_good_everywhere_and_better_somewhere() -> None:
    points = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [2.0, 3.0], [3.0, 3.0]]
    assert non_dominated(points).tolist() == [True, True, True, False, False]
    assert pareto_ranks(points).tolist() == [0, 0, 0, 1, 2]


def test_equal_points_stay_together() -> None:
    assert non_dominated([[1.0, 1.0], [1.0, 1.0], [1.0, 2.0]]).tolist() == [True, True, False]
    assert non_dominated([[2.0], [1.0], [1.0]]).tolist() == [False, True, True]
    assert pareto_ranks([[2.0], [1.0], [1.0], [3.0]]).tolist() == [1, 0, 0, 2]


def test_no_points_have_no_front() -> None:
    assert non_dominated(np.zeros((0, 2))).tolist() == []
    assert pareto_ranks(np.zeros((0, 2))).tolist() == []
    assert equispaced(np.zeros((0, 2)), 3) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_values_are_refused_with_the_point_named(bad: float) -> None:
    with pytest.raises(EngineError, match="point 1"):
        non_dominated([[1.0, 2.0], [bad, 1.0]])


def test_a_point_within_the_noise_of_its_dominator_is_kept() -> None:
    points = [[10.0, 1.0], [10.5, 1.1], [14.0, 1.5]]
    errors = [[0.5, 0.1], [0.5, 0.1], [0.5, 0.1]]
    assert non_dominated(points).tolist() == [True, False, False]
    assert confidently_non_dominated(points, errors).tolist() == [True, True, False]


def test_without_noise_the_confident_front_is_the_front() -> None:
    points = np.random.default_rng(0).random((60, 3))
    plain = non_dominated(points)
    assert (confidently_non_dominated(points, np.zeros_like(points)) == plain).all()
    assert (confidently_non_dominated(points, np.full_like(points, 0.2), z=0.0) == plain).all()
    with pytest.raises(EngineError, match="standard errors"):
        confidently_non_dominated(points, -np.ones_like(points))


def test_hypervolume_is_counted_in_the_fixed_frame() -> None:
    frame = HypervolumeReference((0.0, 100.0), (10.0, 200.0), margin=0.1)
    assert frame.hypervolume([[0.0, 100.0]]) == pytest.approx(1.1 * 1.1)
    assert frame.hypervolume([[5.0, 150.0]]) == pytest.approx(0.6 * 0.6)
    assert frame.hypervolume([[0.0, 150.0], [5.0, 100.0]]) == pytest.approx(1.1 * 0.6 + 0.6 * 1.1 - 0.6 * 0.6)
    assert frame.hypervolume([[11.5, 100.0]]) == 0.0
    assert frame.hypervolume(np.zeros((0, 2))) == 0.0
    assert HypervolumeReference((0.0,), (2.0,)).hypervolume([[1.0], [1.5]]) == pytest.approx(0.6)


def test_a_frame_spans_its_points_and_refuses_a_turned_one() -> None:
    frame = HypervolumeReference.spanning([[1.0, 5.0], [3.0, 5.0]])
    assert frame.ideal == (1.0, 5.0)
    assert frame.nadir == (3.0, 6.0)
    with pytest.raises(EngineError, match="below nadir"):
        HypervolumeReference((1.0,), (1.0,))
    with pytest.raises(EngineError, match="at least one"):
        HypervolumeReference.spanning(np.zeros((0, 2)))


def test_equispaced_models_hold_the_extremes_and_even_steps_between() -> None:
    front = [[float(x), float(10 - x)] for x in range(11)]
    dominated = [[9.0, 9.0]]
    assert equispaced(front + dominated, 3) == [0, 5, 10]
    assert equispaced(front, 6) == [0, 2, 4, 6, 8, 10]
    assert equispaced(front, 1) == [5]
    assert equispaced(front[:4] * 2, 99) == [0, 1, 2, 3]
    with pytest.raises(EngineError, match="at least 1"):
        equispaced(front, 0)


def test_equispaced_models_of_three_objectives_start_from_the_best_of_each() -> None:
    points = np.random.default_rng(1).random((40, 3))
    points /= points.sum(axis=1, keepdims=True)
    chosen = equispaced(points, 5)
    assert len(set(chosen)) == 5
    assert set(points.argmin(axis=0).tolist()) <= set(chosen)
