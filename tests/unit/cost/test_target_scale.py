"""Scales of predicted metrics: what a deviation towards better values is worth."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.cost.prediction.target_scale import TargetScale
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import LATENCY_US, TOP1


def test_in_the_bad_tail_a_deviation_is_worth_less_towards_better_values_than_the_slope_promises() -> None:
    # Most accuracies are within a point; a few networks are broken.
    values = np.concatenate([np.linspace(0.90, 0.92, 40), [0.1, 0.2]])
    scale = TargetScale.fitting(TOP1, values)
    target = scale.forward(np.asarray([0.1]))
    one = np.ones(1)
    worth = float(scale.step_to_better(target, one)[0])
    assert worth == pytest.approx(float(scale.backward(target + one)[0]) - 0.1)
    assert worth < float(scale.step(np.asarray([0.1]))[0])


@pytest.mark.parametrize("metric", [TOP1, LATENCY_US])
def test_for_a_small_deviation_it_is_the_slope(metric: Metric) -> None:
    values = np.linspace(0.5, 0.9, 30) if metric is TOP1 else np.linspace(100.0, 900.0, 30)
    scale = TargetScale.fitting(metric, values)
    worth = scale.step_to_better(scale.forward(values), np.full(30, 1e-5))
    assert worth == pytest.approx(np.abs(scale.step(values)), rel=1e-3)
