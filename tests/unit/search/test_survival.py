"""Weighted crowding distance, constrained ranks, survivor selection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas_engine.domain.errors import EngineError
from nas_engine.search.survival import constrained_ranks, select_survivors, weighted_crowding_distance

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "weighted_crowding_distance.json").read_text())


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"{len(case['F_minimise'])} points")
def test_crowding_distance_equals_the_reference_vectors(case: dict[str, list[list[float]]]) -> None:
    expected = [float(value) for value in case["weighted_cd"]]  # type: ignore[arg-type]
    assert weighted_crowding_distance(case["F_minimise"], case["weights"]).tolist() == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_weight_scales_the_gap_along_its_objective() -> None:
    points = [[0.0, 10.0], [1.0, 6.0], [10.0, 0.0]]
    assert weighted_crowding_distance(points, [1.0, 1.0])[1] == pytest.approx(1.0 + 1.0)
    assert weighted_crowding_distance(points, [3.0, 1.0])[1] == pytest.approx(3.0 + 1.0)
    with pytest.raises(EngineError, match="weight"):
        weighted_crowding_distance(points, [1.0])


def test_an_objective_in_which_all_agree_adds_nothing_and_makes_no_boundary() -> None:
    points = [[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [4.0, 7.0]]
    distance = weighted_crowding_distance(points, [1.0, 1.0])
    assert distance[1:3].tolist() == pytest.approx([0.5, 0.75])
    assert np.isinf(distance[[0, 3]]).all()


def test_feasible_points_come_first_and_infeasible_ones_by_violation_whatever_their_objectives() -> None:
    points = [[1.0, 1.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0], [9.0, 9.0]]
    ranks = constrained_ranks(points, [0.0, 0.0, 0.5, 0.2, 0.2])
    assert ranks.tolist() == [0, 1, 3, 2, 2]
    with pytest.raises(EngineError, match="violations"):
        constrained_ranks(points, [0.0, 0.0, -1.0, 0.0, 0.0])


def test_survivors_are_the_best_ranks_and_the_least_crowded_of_the_split_front() -> None:
    front = [[0.0, 10.0], [1.0, 9.0], [1.2, 8.9], [5.0, 5.0], [10.0, 0.0]]
    points = [*front, [11.0, 11.0]]
    survivors = select_survivors(points, np.zeros(6), 3, (1.0, 1.0), np.random.default_rng(0))
    assert set(survivors.indices.tolist()) == {0, 3, 4}
    assert survivors.rank.tolist() == [0, 0, 0]
    crowding_of_middle = survivors.crowding[survivors.indices.tolist().index(3)]
    assert crowding_of_middle == pytest.approx(weighted_crowding_distance(front, (1.0, 1.0))[3])


def test_ties_are_broken_by_the_generator_alone() -> None:
    points = np.ones((8, 2))
    picks = {
        tuple(select_survivors(points, np.zeros(8), 3, (1.0, 1.0), np.random.default_rng(seed)).indices.tolist())
        for seed in (0, 0, 1, 2, 3)
    }
    assert 1 < len(picks) <= 4
