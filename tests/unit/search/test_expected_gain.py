"""The expected hypervolume gain agrees with the mean gain of draws, for one to three objectives."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.search.pareto import HypervolumeReference
from nas_engine.search.predicting.expected_gain import expected_gains


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
@pytest.mark.parametrize("num_points", [0, 1, 6])
def test_it_is_the_mean_of_the_gains_of_draws(num_objectives: int, num_points: int) -> None:
    rng = np.random.default_rng(num_points)
    front = rng.uniform(0.0, 1.2, (num_points, num_objectives))
    mean, deviation = rng.uniform(-0.2, 1.2, (2, 5, num_objectives)) * [[[1.0]], [[0.3]]]
    deviation = np.abs(deviation)
    frame = HypervolumeReference((0.0,) * num_objectives, (1.0,) * num_objectives, 0.1)
    before = frame.hypervolume(front)
    gains = expected_gains(mean, deviation, front, 1.1)
    for place in range(len(mean)):
        draws = rng.normal(mean[place], deviation[place], (1500, num_objectives))
        drawn = [frame.hypervolume(np.vstack([front, draw])) - before for draw in draws]
        error = np.std(drawn) / np.sqrt(len(drawn))
        assert gains[place] == pytest.approx(np.mean(drawn), abs=4.5 * error + 1e-9)


def test_without_uncertainty_it_is_the_gain_itself() -> None:
    front = np.asarray([[0.2, 0.8], [0.6, 0.3]])
    points = np.asarray([[0.4, 0.5], [0.7, 0.9]])
    frame = HypervolumeReference((0.0, 0.0), (1.0, 1.0), 0.1)
    found = expected_gains(points, np.zeros((2, 2)), front, 1.1)
    assert found.tolist() == pytest.approx(
        [frame.hypervolume(np.vstack([front, points[:1]])) - frame.hypervolume(front), 0.0]
    )


def test_with_more_objectives_the_optimistic_point_counts() -> None:
    front, point = np.full((1, 4), 0.5), np.full((1, 4), 0.6)
    certain, unsure = (expected_gains(point, np.full((1, 4), sd), front, 1.1)[0] for sd in (0.0, 0.3))
    assert certain == 0.0
    assert unsure > 0.0
