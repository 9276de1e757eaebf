"""Frequencies and cases of the operators; their invariants are property tests."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import chisquare

from nas_engine.domain.errors import EngineError
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Objective
from nas_engine.search.algorithm import CheapCheck, SearchProblem
from nas_engine.search.archive import EvaluatedArchive
from nas_engine.search.encoding import Encoding
from nas_engine.search.variation.crossover import StageBlockCrossover
from nas_engine.search.variation.mutation import HierarchicalMutation, PerGeneMutation, change_genes
from nas_engine.search.variation.two_level_mutation import (
    Guide,
    MutationLevel,
    PriorMutation,
    RandomMutation,
    ReinforcedMutation,
    TwoLevelMutation,
)
from nas_engine.settings.algorithms import ScarletNsga2Settings
from tests.support.fakes.space import StagedSpace, tell_all

SPACE = StagedSpace()
ENCODING = Encoding.of(SPACE)
FULL = (2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1)
PROBLEM = SearchProblem(space=SPACE, objectives=(Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE)))


class Recorder:
    """A guided mutation that counts its calls."""

    def __init__(self) -> None:
        self.guides: Counter[Guide] = Counter()

    def __call__(self, genotype: tuple[int, ...], guide: Guide, rng: np.random.Generator) -> tuple[int, ...]:
        self.guides[guide] += 1
        return genotype


def scarlet_mutation() -> tuple[TwoLevelMutation, dict[MutationLevel, Recorder]]:
    config = ScarletNsga2Settings()
    recorders = {level: Recorder() for level in MutationLevel}
    probabilities = {
        MutationLevel.RANDOM: config.p_random,
        MutationLevel.REINFORCED: config.p_reinforced,
        MutationLevel.PRIOR: config.p_prior,
    }
    return TwoLevelMutation(recorders, probabilities, config.p_known), recorders


def test_the_two_level_mutation_draws_with_the_probabilities_of_table_1() -> None:
    mutation, recorders = scarlet_mutation()
    rng = np.random.default_rng(0)
    num = 6000
    for _ in range(num):
        mutation(FULL, rng)
    observed = [recorders[level].guides[guide] for level in MutationLevel for guide in Guide]
    expected = [num * level * guide for level in (0.2, 0.65, 0.15) for guide in (0.7, 0.3)]
    assert chisquare(observed, expected).pvalue > 0.001


def test_the_two_level_mutation_refuses_a_missing_operator_and_wrong_sums() -> None:
    with pytest.raises(EngineError, match="lacks an operator"):
        TwoLevelMutation({}, {}, 0.7)
    recorders = {level: Recorder() for level in MutationLevel}
    with pytest.raises(EngineError, match="add up to 1"):
        TwoLevelMutation(recorders, dict.fromkeys(MutationLevel, 0.5), 0.7)
    with pytest.raises(ValidationError, match="add up to 1"):
        ScarletNsga2Settings(p_random=0.5)


def test_the_reinforced_mutation_prefers_choices_that_paid_off() -> None:
    archive = EvaluatedArchive(PROBLEM)
    rng = np.random.default_rng(0)
    genotypes = {ENCODING.random(rng) for _ in range(300)}
    for observation in tell_all(SPACE, sorted(genotypes)):
        archive.add(observation)
    natural = HierarchicalMutation(ENCODING, structural_probability=0.3, mean_leaves=0.5)
    mutation = ReinforcedMutation(PROBLEM, ENCODING, lambda: archive, natural)
    macs = {guide: np.mean([SPACE.macs(mutation(FULL, guide, rng)) for _ in range(300)]) for guide in Guide}
    assert macs[Guide.KNOWN] < SPACE.macs(FULL) < macs[Guide.MEASURED]


def test_the_reinforced_mutation_is_natural_until_something_is_learned() -> None:
    natural = HierarchicalMutation(ENCODING, structural_probability=0.3, mean_leaves=0.5)
    mutation = ReinforcedMutation(PROBLEM, ENCODING, lambda: EvaluatedArchive(PROBLEM), natural)
    mutated = mutation(FULL, Guide.KNOWN, np.random.default_rng(5))
    assert mutated == natural(FULL, np.random.default_rng(5)) != FULL


def test_the_prior_mutation_takes_the_cheaper_or_the_larger_variant() -> None:
    def cheap(genotype: tuple[int, ...]) -> CheapCheck:
        return CheapCheck({MACS: SPACE.macs(genotype)}, {})

    natural = HierarchicalMutation(ENCODING, structural_probability=0.3, mean_leaves=0.5)
    prior, random = PriorMutation(PROBLEM, cheap, natural), RandomMutation(natural)
    rng = np.random.default_rng(0)

    def mean_macs(mutation: PriorMutation | RandomMutation, guide: Guide) -> float:
        return float(np.mean([SPACE.macs(mutation(FULL, guide, rng)) for _ in range(300)]))

    assert mean_macs(prior, Guide.KNOWN) < mean_macs(random, Guide.KNOWN) < mean_macs(prior, Guide.MEASURED)


def test_hierarchical_mutation_changes_structure_as_often_as_asked() -> None:
    mutation = HierarchicalMutation(ENCODING, structural_probability=0.3, mean_leaves=0.5)
    rng = np.random.default_rng(0)
    structural = sum(any(mutation(FULL, rng)[p] != FULL[p] for p in ENCODING.structural) for _ in range(2000))
    assert chisquare([structural, 2000 - structural], [600, 1400]).pvalue > 0.001


def test_genes_that_a_deeper_stage_wakes_up_are_drawn_at_random() -> None:
    shallow = ENCODING.canonical((0, 1, 0, 0) * 3)
    assert ENCODING.inactive_leaves(shallow) == (2, 3, 6, 7, 10, 11)
    mutation = HierarchicalMutation(ENCODING, structural_probability=1.0, mean_leaves=0.5)
    rng = np.random.default_rng(0)
    woken = Counter(child[2] for child in (mutation(shallow, rng) for _ in range(2000)) if child[0] > 0)
    assert set(woken) == {0, 1, 2, 3}
    assert chisquare(list(woken.values())).pvalue > 0.001


def test_changing_genes_passes_over_those_without_effect() -> None:
    shallow = ENCODING.canonical((0, 1, 0, 0) * 3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        changed = change_genes(ENCODING, shallow, ENCODING.leaves, 99, rng)
        assert [p for p in range(12) if changed[p] != shallow[p]] == [1, 5, 9]


def test_block_crossover_keeps_stages_whole_and_gene_crossover_does_not() -> None:
    first, second = (2, 1, 1, 1) * 3, (2, 2, 2, 2) * 3
    rng = np.random.default_rng(0)
    stages = {
        StageBlockCrossover(ENCODING, 1.0)(first, second, rng)[0][4 * s + 1 : 4 * s + 4]
        for s in range(3)
        for _ in range(20)
    }
    assert stages == {(1, 1, 1), (2, 2, 2)}
    mixed = [StageBlockCrossover(ENCODING, 0.0)(first, second, rng)[0] for _ in range(20)]
    assert any(len(set(child[1:4])) == 2 for child in mixed)


def test_per_gene_mutation_hits_genes_with_its_probability() -> None:
    rng = np.random.default_rng(0)
    leaves_only = Encoding.of(StagedSpace(num_stages=1, max_depth=1))
    always = PerGeneMutation(leaves_only, 1.0, always_different=True)
    assert all(always((0, 2), rng)[1] != 2 for _ in range(50))
    may_stay = PerGeneMutation(leaves_only, 1.0, always_different=False)
    kept = sum(may_stay((0, 2), rng)[1] == 2 for _ in range(2000))
    assert chisquare([kept, 2000 - kept], [500, 1500]).pvalue > 0.001
    never = PerGeneMutation(leaves_only, 0.0, always_different=True)
    assert never((0, 2), rng) == (0, 2)
