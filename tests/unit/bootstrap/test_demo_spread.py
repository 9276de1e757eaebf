"""How the demo judges whether its front says more than noise."""

from __future__ import annotations

import pytest

from nas_engine.domain.uncertainty import Interval
from server.bootstrap.demo.spread import apart


def _interval(value: float, half_width: float) -> Interval:
    return Interval(value, value - half_width, value + half_width)


def test_members_count_where_each_differs_from_the_last_that_counted() -> None:
    quiet = [_interval(value, 0.1) for value in (10.0, 11.0, 12.0, 13.0)]
    assert apart(quiet) == 4
    # The second cannot be told from the first, the third can.
    assert apart([_interval(10.0, 0.5), _interval(10.4, 0.5), _interval(11.0, 0.5)]) == 2


@pytest.mark.parametrize("half_width", [10.0, 100.0])
def test_noise_leaves_one(half_width: float) -> None:
    assert apart([_interval(value, half_width) for value in (10.0, 11.0, 12.0)]) == 1


def test_nothing_is_apart_in_nothing() -> None:
    assert apart([]) == 0
