"""Which paths are drawn: uniformly, or by bins of MACs with bounded tries."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.settings.strategies import MacsBinnedSettings, UniformSettings
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.training.strategies.paths import (
    MAX_TRIES,
    PUBLISHED_EDGES,
    MacsCounter,
    binned_sampler,
    decoded_graph,
    make_sampler,
)

SMALL = ShuffleNetSpace(
    ShuffleNetParameters(
        num_classes=4, input_size=16, stem_channels=8, stem_stride=1, stage_channels=(16, 32), stage_repeats=(2, 2)
    )
)


def test_uniform_sampling_draws_every_choice_of_every_gene_equally_often() -> None:
    draw, rng = make_sampler(SMALL, UniformSettings()), np.random.default_rng(0)
    genotypes = np.array([draw(rng).genotype for _ in range(2000)])
    for column in genotypes.T:
        assert chisquare(np.bincount(column, minlength=4)).pvalue > 1e-4


def test_macs_are_counted_exactly_by_the_table() -> None:
    counter, rng = MacsCounter(SMALL), np.random.default_rng(1)
    assert counter.is_additive
    for _ in range(30):
        genotype = tuple(int(v) for v in rng.integers(0, 4, 4))
        assert counter.macs(genotype) == complexity(decoded_graph(SMALL, genotype, Form.DEPLOYED)).macs


def test_small_spaces_are_binned_by_quantiles_which_are_drawn_equally_often() -> None:
    counter, rng = MacsCounter(SMALL), np.random.default_rng(2)
    draw = make_sampler(SMALL, MacsBinnedSettings())
    macs = np.array([counter.macs(draw(rng).genotype) for _ in range(1400)], dtype=np.float64)
    everything = np.sort([counter.macs(tuple(map(int, np.unravel_index(i, (4, 4, 4, 4))))) for i in range(256)])
    edges = np.quantile(everything, np.linspace(0, 1, 8))
    counts = np.histogram(macs, edges)[0]
    assert counts.sum() == len(macs)
    assert counts.min() > 0.6 * counts.mean()
    assert counts.max() < 1.5 * counts.mean()


def test_the_published_space_has_the_published_bins() -> None:
    space = ShuffleNetSpace()
    draw, counter, rng = make_sampler(space, MacsBinnedSettings()), MacsCounter(space), np.random.default_rng(3)
    drawn = [draw(rng) for _ in range(140)]
    bins = Counter(int(counter.macs(path.genotype) // 10e6) for path in drawn if path.in_bin)
    assert set(bins) <= set(range(29, 36))
    assert len(bins) == 7
    assert PUBLISHED_EDGES[0] == 290e6
    assert PUBLISHED_EDGES[-1] == 360e6


def test_a_bin_that_cannot_be_hit_ends_after_500_tries_with_any_architecture() -> None:
    asked = [0]

    def macs(_: tuple[int, ...]) -> int:
        asked[0] += 1
        return 5

    path = binned_sampler(SMALL, macs, (10.0, 20.0))(np.random.default_rng(0))
    assert asked == [MAX_TRIES]
    assert not path.in_bin
    assert len(path.genotype) == 4


@pytest.mark.parametrize("sampling", [UniformSettings(), MacsBinnedSettings()])
def test_the_same_generator_draws_the_same_paths(sampling: UniformSettings | MacsBinnedSettings) -> None:
    draw = make_sampler(SMALL, sampling)
    assert draw(np.random.default_rng(9)) == draw(np.random.default_rng(9))
