"""The quick posterior mean agrees with the one that the covariances give."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.cost.prediction.choice_costs import ChoiceCosts
from nas_engine.cost.prediction.choice_kernel import Covariance
from nas_engine.cost.prediction.encodings import FeatureEncoding
from nas_engine.cost.prediction.regressors import GaussianProcess
from nas_engine.domain.search_space import Gene

STAGES = tuple(Gene(f"layer{i}", ("k3_e3", "k3_e6", "k5_e3", "k5_e6")[: 2 + i % 3], f"stage{i // 3}") for i in range(9))
CELL = tuple(Gene(f"edge{i}", ("none", "skip", "conv"), "cell") for i in range(6))


@pytest.mark.parametrize("interactions", [True, False])
@pytest.mark.parametrize(
    ("genes", "encoding"),
    [
        *((STAGES, encoding) for encoding in FeatureEncoding if encoding is not FeatureEncoding.CELL),
        (CELL, FeatureEncoding.CELL),
    ],
)
def test_it_agrees_with_the_covariances(genes: tuple[Gene, ...], encoding: FeatureEncoding, interactions: bool) -> None:
    rng = np.random.default_rng(1)
    choices = [gene.num_choices for gene in genes]
    sees_layers = encoding is FeatureEncoding.LAYERS
    costs = ChoiceCosts(rng.exponential(size=(sum(choices), 3)))
    process = GaussianProcess(genes, encoding, costs, interactions=interactions)
    process.covariance = Covariance(
        *(0.4, 0.2, 0.3, 0.1, 0.15, 0.25, 0.4, 0.6, 0.05),
        tuple(rng.normal(size=len(genes)).tolist()),
        *((0.3, (0.2, 0.1, 0.05)) if sees_layers else ()),
    )
    process.fit(rng.integers(choices, size=(40, len(genes))), rng.normal(size=40), np.zeros(40))
    asked = rng.integers(choices, size=(3000, len(genes)))
    assert process.mean(asked) == pytest.approx(process.predict(asked)[0], abs=1e-4)
    assert process.mean(asked[:0]).shape == (0,)


def test_it_follows_a_new_fit() -> None:
    process = GaussianProcess(STAGES, FeatureEncoding.CHOICES)
    rng = np.random.default_rng(2)
    genotypes = rng.integers([gene.num_choices for gene in STAGES], size=(20, len(STAGES)))
    for sign in (1.0, -1.0):
        process.fit(genotypes, sign * np.linspace(-1.0, 1.0, 20), np.zeros(20))
        assert sign * (process.mean(genotypes[-1:]) - process.mean(genotypes[:1]))[0] > 0.5
