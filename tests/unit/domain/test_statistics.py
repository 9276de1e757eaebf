"""Batch statistics are checked, immutable values with a stable digest."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.statistics import BatchStatistics, require_statistics, statistics_digest


def _statistics(mean: list[float], variance: list[float]) -> BatchStatistics:
    return BatchStatistics(np.array(mean, dtype=np.float32), np.array(variance, dtype=np.float32))


def test_values_are_copied_and_read_only() -> None:
    mean = np.zeros(2, dtype=np.float32)
    statistics = BatchStatistics(mean, np.ones(2, dtype=np.float32))
    mean[0] = 5
    assert statistics.mean[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        statistics.mean[0] = 1


@pytest.mark.parametrize(
    ("mean", "variance", "message"),
    [
        ([0.0], [1.0, 1.0], "both must be"),
        ([float("nan")], [1.0], "non-finite"),
        ([0.0], [float("inf")], "non-finite"),
        ([0.0], [-1e-3], "negative variance"),
    ],
)
def test_malformed_statistics_are_refused(mean: list[float], variance: list[float], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        _statistics(mean, variance)


def test_equal_numbers_make_equal_values_and_hashes() -> None:
    assert _statistics([1.0], [2.0]) == _statistics([1.0], [2.0])
    assert len({_statistics([1.0], [2.0]), _statistics([1.0], [2.0]), _statistics([1.0], [3.0])}) == 2


def test_the_digest_ignores_order_and_sees_names_and_numbers() -> None:
    a, b = _statistics([1.0], [2.0]), _statistics([3.0], [4.0])
    assert statistics_digest({"x": a, "y": b}) == statistics_digest({"y": b, "x": a})
    assert statistics_digest({"x": a, "y": b}) != statistics_digest({"x": b, "y": a})
    assert statistics_digest({"x": a}) != statistics_digest({"z": a})


def test_statistics_of_another_architecture_are_refused() -> None:
    g = GraphBuilder((2, 4, 4))
    graph = g.build(g.batch_norm(g.input, "bn", affine=False))
    require_statistics(graph, {"bn": _statistics([0.0, 0.0], [1.0, 1.0])})
    with pytest.raises(WeightsError, match="no batch statistics for 'bn'"):
        require_statistics(graph, {})
    with pytest.raises(WeightsError, match="another architecture"):
        require_statistics(graph, {"bn": _statistics([0.0], [1.0])})
