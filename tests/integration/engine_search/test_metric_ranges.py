"""Ranges of cheap metrics and the refusal of impossible constraints."""

from __future__ import annotations

import pytest

from nas_engine.domain.errors import InfeasibleError
from nas_engine.domain.metrics import LATENCY_US, MACS
from nas_engine.domain.objective import Constraint
from nas_engine.spaces.ranges import metric_range, refuse_impossible
from nas_engine.spaces.shufflenet import ShuffleNetSpace
from tests.support.reference import vectors

SPOS = ShuffleNetSpace()


def test_the_range_of_macs_is_the_published_one() -> None:
    found = metric_range(SPOS, MACS, num_starts=0)
    assert found is not None
    table = vectors("spos_macs_table")
    assert (found.minimum, found.maximum) == (table["min_macs"], table["max_macs"])


def test_a_bound_below_the_minimum_is_refused_with_the_feasible_range() -> None:
    with pytest.raises(InfeasibleError, match="maximum 100,000,000 cannot be met.*270,359,360 to 398,609,216"):
        refuse_impossible(SPOS, Constraint(MACS, maximum=100e6))


def test_a_bound_inside_the_range_and_a_bound_on_latency_pass() -> None:
    refuse_impossible(SPOS, Constraint(MACS, maximum=330e6))
    refuse_impossible(SPOS, Constraint(LATENCY_US, maximum=1.0))
