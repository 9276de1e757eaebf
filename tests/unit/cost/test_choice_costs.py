"""Costs of choices are those of the layer graphs: exact where totals are sums over genes."""

from __future__ import annotations

import numpy as np
import pytest

from nas_engine.cost.prediction.choice_costs import ChoiceCosts, choice_costs
from nas_engine.cost.prediction.encodings import FeatureEncoding, GenotypeFeatures, distinct_encodings
from nas_engine.domain.errors import EngineError
from nas_engine.domain.search_space import Form, Gene, SearchSpace, sample_genotype
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.operator_totals import QUANTITIES, OperatorKind, operator_totals
from nas_engine.spaces.registry import create_space
from tests.support.fakes.space import StagedSpace

SPOS = create_space("spos")


def totals_of(space: SearchSpace, genotype: tuple[int, ...]) -> np.ndarray:  # type: ignore[type-arg]
    graph = space.graph(space.decode(genotype), Form.DEPLOYED)
    assert graph is not None
    return operator_totals(graph)


def test_totals_of_a_graph_add_up_to_its_complexity() -> None:
    genotype = sample_genotype(SPOS.genes, np.random.default_rng(1))
    graph = SPOS.graph(SPOS.decode(genotype), Form.DEPLOYED)
    assert graph is not None
    totals, known = operator_totals(graph), complexity(graph)
    assert totals[:, QUANTITIES.index("macs")].sum() == known.macs
    depthwise = totals[list(OperatorKind).index(OperatorKind.DEPTHWISE)]
    assert 0 < depthwise[QUANTITIES.index("macs")] < 0.2 * known.macs
    assert depthwise[QUANTITIES.index("nodes")] > 20


def test_the_effect_of_a_choice_is_the_difference_of_two_networks() -> None:
    costs = choice_costs(SPOS)
    assert costs is not None
    offsets = np.cumsum([0, *(gene.num_choices for gene in SPOS.genes)])
    rng = np.random.default_rng(2)
    first, second = (sample_genotype(SPOS.genes, rng) for _ in range(2))
    first_costs, second_costs = (
        costs.table[np.asarray(genotype) + offsets[:-1]].sum(axis=0) for genotype in (first, second)
    )
    found = first_costs - second_costs
    actual = (totals_of(SPOS, first) - totals_of(SPOS, second)).ravel()
    assert (actual != 0.0).sum() > 4
    # Totals that are the same for every network have no column.
    assert np.sort(found[np.abs(found) > 1e-3]) == pytest.approx(np.sort(actual[actual != 0.0]), rel=1e-6)


def test_totals_are_standardised_over_the_space_and_like_costs_are_alike() -> None:
    costs = choice_costs(SPOS)
    assert costs is not None
    one_hot = GenotypeFeatures(SPOS.genes, FeatureEncoding.CHOICES)
    drawn = np.random.default_rng(3).integers([g.num_choices for g in SPOS.genes], size=(4000, len(SPOS.genes)))
    totals = one_hot.one_hot(drawn) @ costs.totals(SPOS.genes)
    assert totals.mean(axis=0) == pytest.approx(0.0, abs=0.1)
    assert totals.std(axis=0) == pytest.approx(1.0, abs=0.1)
    # Blocks 2 and 3 of one stage are alike, choice by choice, and unlike other choices.
    likeness = costs.likeness(SPOS.genes)
    same, other = likeness[4 * 1 + 2, 4 * 2 + 2], likeness[4 * 1 + 2, 4 * 2 + 3]
    assert same == pytest.approx(1.0)
    assert other < 0.7


def test_a_space_without_layer_graphs_has_none() -> None:
    space = StagedSpace()
    assert choice_costs(space) is None
    assert FeatureEncoding.LAYERS not in distinct_encodings(space.genes)
    with pytest.raises(EngineError, match="layers needs a space with layer graphs"):
        GenotypeFeatures(space.genes, FeatureEncoding.LAYERS)


def test_widths_and_depths_have_their_mean_effect() -> None:
    space = create_space("attentivenas")
    costs = choice_costs(space)
    assert costs is not None
    place = next(i for i, gene in enumerate(space.genes) if "resolution" in gene.name)
    first = sum(gene.num_choices for gene in space.genes[:place])
    rows = costs.table[first : first + space.genes[place].num_choices]
    # A larger image costs more of everything that it changes.
    changes = np.ptp(rows, axis=0) > 1e-3 * np.ptp(costs.table, axis=0)
    assert changes.any()
    assert (rows[-1] > rows[0])[changes].mean() > 0.7


def test_what_only_one_gene_changes_stays_finite() -> None:
    genes = (Gene("a", ("x", "y"), "a"), Gene("b", ("x", "y"), "b"))
    costs = ChoiceCosts(np.asarray([[0.0, 1.0], [3.0, 1.5], [0.0, 1.0], [4.0, 1.0]]))
    assert np.isfinite(costs.totals(genes)).all()
    assert np.linalg.eigvalsh(costs.likeness(genes)).min() > -1e-9
