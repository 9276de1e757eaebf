"""The pool of a search that predicts: spread over the front, and climbing to what no single gene betters."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.cost.prediction.encodings import Floats, Genotypes
from nas_engine.search.algorithm import CheapCheck
from nas_engine.search.encoding import Encoding
from nas_engine.search.ledger import CandidateLedger
from nas_engine.search.predicting.candidate_pool import Judge, evolved, spread
from tests.support.fakes.space import StagedSpace


def test_spread_takes_the_largest_of_every_niche_before_the_second_of_any() -> None:
    gains = np.asarray([0.9, 0.8, 0.7, 0.1, 0.2, 0.05])
    niches = np.asarray([4, 4, 4, 1, 1, 7])
    assert spread(gains, niches, 5).tolist() == [0, 4, 5, 1, 3]


def test_spread_of_one_niche_is_the_order_of_the_gains() -> None:
    gains = np.asarray([0.1, 0.3, 0.3, 0.2])
    assert spread(gains, np.zeros(4, dtype=np.int64), 3).tolist() == [1, 2, 3]
    assert spread(np.zeros(0), np.zeros(0, dtype=np.int64), 3).tolist() == []


def test_evolution_finds_the_best_of_a_space_and_nothing_that_was_asked() -> None:
    space = StagedSpace()
    encoding = Encoding.of(space)
    ledger = CandidateLedger(encoding, lambda _: CheapCheck({}, {}))
    rng = np.random.default_rng(0)
    asked = list(dict.fromkeys(encoding.random(rng) for _ in range(10)))
    ledger.commit(asked)
    weights = np.linspace(1.0, 2.0, len(encoding.num_choices))

    def of(genotypes: Genotypes) -> tuple[Floats, Floats]:
        gains = genotypes @ weights
        return gains, np.stack([-gains, gains], axis=1)

    judge = Judge(of, lambda _: None, lambda points: np.zeros(len(points), dtype=np.int64), is_filtered=True)
    found = evolved(ledger, asked, judge, num_rounds=3, num_children=10, rng=rng)
    genotypes = [tuple(row) for row in found.tolist()]
    assert len(set(genotypes)) == len(genotypes)
    assert not set(genotypes) & set(asked)
    assert all(encoding.canonical(genotype) == genotype for genotype in genotypes)
    best = float((np.asarray(encoding.num_choices) - 1) @ weights)
    assert max((found @ weights).tolist()) == pytest.approx(best)
