"""Whatever parents and space: children are canonical, genes come from a parent, mutations make another architecture."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.search.algorithm import accept_all
from nas_engine.search.encoding import Encoding
from nas_engine.search.ledger import CandidateLedger
from nas_engine.search.pareto import confidently_non_dominated, equispaced, non_dominated
from nas_engine.search.survival import constrained_ranks, select_survivors
from nas_engine.search.variation.crossover import StageBlockCrossover
from nas_engine.search.variation.mutation import HierarchicalMutation, PerGeneMutation
from tests.support.fakes.space import StagedSpace

spaces = st.builds(
    StagedSpace,
    num_stages=st.integers(1, 4),
    max_depth=st.integers(1, 4),
    num_operators=st.integers(2, 5),
)
seeds = st.integers(0, 2**32 - 1)
probabilities = st.floats(0.0, 1.0)


@given(spaces, seeds, probabilities, st.floats(0.0, 6.0))
def test_hierarchical_mutation_gives_another_canonical_genotype(
    space: StagedSpace, seed: int, structural: float, mean_leaves: float
) -> None:
    encoding, rng = Encoding.of(space), np.random.default_rng(seed)
    parent = encoding.random(rng)
    mutation = HierarchicalMutation(encoding, structural_probability=structural, mean_leaves=mean_leaves)
    child = mutation(parent, rng)
    assert child == space.canonical(child) != parent


@given(spaces, seeds, probabilities)
def test_crossover_takes_every_active_gene_from_a_parent(space: StagedSpace, seed: int, block: float) -> None:
    encoding, rng = Encoding.of(space), np.random.default_rng(seed)
    first, second = encoding.random(rng), encoding.random(rng)
    for child in StageBlockCrossover(encoding, block)(first, second, rng):
        assert child == space.canonical(child)
        assert all(c in (a, b, 0) for a, b, c in zip(first, second, child, strict=True))


@given(spaces, seeds)
def test_crossing_equal_parents_gives_the_parent(space: StagedSpace, seed: int) -> None:
    encoding, rng = Encoding.of(space), np.random.default_rng(seed)
    parent = encoding.random(rng)
    assert set(StageBlockCrossover(encoding, 0.5)(parent, parent, rng)) == {parent}


@given(spaces, seeds, probabilities, st.booleans())
def test_per_gene_mutation_stays_canonical(space: StagedSpace, seed: int, probability: float, different: bool) -> None:
    encoding, rng = Encoding.of(space), np.random.default_rng(seed)
    child = PerGeneMutation(encoding, probability, always_different=different)(encoding.random(rng), rng)
    assert child == space.canonical(child)


@given(spaces, seeds)
def test_inactive_leaves_are_exactly_those_whose_change_canonicalisation_undoes(space: StagedSpace, seed: int) -> None:
    encoding = Encoding.of(space)
    genotype = encoding.random(np.random.default_rng(seed))
    inactive = set(encoding.inactive_leaves(genotype))
    for position in encoding.leaves:
        changed = list(genotype)
        changed[position] = (genotype[position] + 1) % encoding.num_choices[position]
        assert (encoding.canonical(changed) == genotype) == (position in inactive)


@given(spaces, seeds, st.integers(1, 12))
def test_immigrants_are_distinct_canonical_and_as_many_as_the_space_has(
    space: StagedSpace, seed: int, num: int
) -> None:
    encoding = Encoding.of(space)
    found = CandidateLedger(encoding, accept_all).immigrants(num, np.random.default_rng(seed))
    assert len(set(found)) == len(found) <= num
    assert all(genotype == space.canonical(genotype) for genotype in found)
    assert len(found) == num or space.size <= 64


point_sets = st.integers(1, 3).flatmap(
    lambda num_objectives: st.lists(
        st.lists(st.integers(0, 6).map(float), min_size=num_objectives, max_size=num_objectives),
        min_size=1,
        max_size=25,
    )
)


@given(point_sets)
def test_the_front_is_what_brute_force_finds(points: list[list[float]]) -> None:
    matrix = np.asarray(points)
    dominated = [bool(((matrix <= point).all(axis=1) & (matrix < point).any(axis=1)).any()) for point in matrix]
    assert non_dominated(matrix).tolist() == [not d for d in dominated]


@given(point_sets, st.floats(0.0, 3.0))
def test_the_confident_front_contains_the_front(points: list[list[float]], z: float) -> None:
    matrix = np.asarray(points)
    kept = confidently_non_dominated(matrix, np.full_like(matrix, 0.7), z)
    assert kept[non_dominated(matrix)].all()


@given(point_sets, st.integers(1, 30))
def test_equispaced_picks_are_distinct_members_of_the_front(points: list[list[float]], num: int) -> None:
    matrix = np.asarray(points)
    chosen = equispaced(matrix, num)
    front = non_dominated(matrix)
    num_distinct = len(np.unique(matrix[front], axis=0))
    assert len(set(chosen)) == len(chosen) == min(num, num_distinct)
    assert front[chosen].all()


@given(point_sets, seeds, st.integers(1, 30), st.data())
def test_no_survivor_is_worse_than_one_left_out(
    points: list[list[float]], seed: int, num: int, data: st.DataObject
) -> None:
    matrix = np.asarray(points)
    violations = np.asarray(
        data.draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0]), min_size=len(points), max_size=len(points)))
    )
    weights = (1.0,) * matrix.shape[1]
    survivors = select_survivors(matrix, violations, num, weights, np.random.default_rng(seed))
    ranks = constrained_ranks(matrix, violations)
    left_out = set(range(len(points))) - set(survivors.indices.tolist())
    assert len(survivors.indices) == min(num, len(points))
    assert (ranks[survivors.indices] == survivors.rank).all()
    assert all(ranks[i] >= survivors.rank.max() for i in left_out)
