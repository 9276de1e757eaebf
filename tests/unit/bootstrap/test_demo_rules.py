"""The demo's other rules: what MACs and predictors alone would ship."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nas_engine.domain.search_space import SearchSpace
from nas_engine.spaces.registry import create_space
from server.bootstrap.demo.choices import two_bounds
from server.bootstrap.demo.rules import Known, PredictedPicks, picked_by_macs
from server.bootstrap.demo.specs import SPACE


def _known(name: str, macs: int, top1: float, latency_us: float, generation: int = 0) -> Known:
    return Known(name, (0,), generation, macs, top1, latency_us)


def test_macs_are_turned_into_latency_by_the_line_through_the_initial_sample() -> None:
    sample = [_known("small", 100, 0.5, 20.0), _known("large", 300, 0.7, 40.0)]
    # Its MACs say 30 us, it takes 90; one that the search found later does not bend the line.
    liar = _known("liar", 200, 0.8, 90.0, generation=1)
    picked = picked_by_macs([*sample, liar], bound_us=31.0)
    assert picked is liar


def test_no_network_is_picked_where_the_line_keeps_all_out_or_there_is_no_line() -> None:
    sample = [_known("small", 100, 0.5, 20.0), _known("large", 300, 0.7, 40.0)]
    assert picked_by_macs(sample, bound_us=19.0) is None
    assert picked_by_macs(sample[:1], bound_us=100.0) is None


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return create_space(SPACE.id, SPACE.parameters)


def test_predictors_pick_what_is_good_within_the_bound(space: SearchSpace) -> None:
    rng = np.random.default_rng(3)
    choices = [gene.num_choices for gene in space.genes]
    genotypes = rng.integers(choices, size=(40, len(choices)))
    known = [
        Known(str(i), tuple(row.tolist()), 0, 1, 0.5 + 0.01 * float(row[0] + row[1]), _latency_us(row.tolist()))
        for i, row in enumerate(genotypes)
    ]
    picks = PredictedPicks(space, known)
    few, many = picks.within(22.0), picks.within(100.0)
    assert few is not None
    assert many is not None
    assert _latency_us(few) <= 22.0 * 1.15
    assert many[0] + many[1] == choices[0] - 1 + choices[1] - 1
    assert few[0] + few[1] < many[0] + many[1]
    assert picks.within(1.0) is None


def _latency_us(genotype: Sequence[int]) -> float:
    return 20.0 + 8.0 * genotype[0] + 3.0 * genotype[1]


def test_bounds_lie_between_the_ends_of_the_front() -> None:
    assert two_bounds([10.0, 80.0]) == [10.0, 80.0]
    assert two_bounds([87.1, 15.25, 68.4, 72.5, 82.2]) == [69.0, 83.0]
    assert two_bounds([14.2]) == [15.0]
