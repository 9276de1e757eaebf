"""Viterbi finds the best of all paths, and the expected cost is linear in what it should be."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.cost.chained import chained_cost
from nas_engine.cost.latency_table import mac_costs
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters
from nas_engine.spaces.densenas.routing_weights import normalise, one_hot_logits, softmax, visit_probabilities
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.densenas.viterbi import derive_path, most_likely_path

SMALL = DenseSpace(
    DenseMbv2Parameters(
        num_classes=10,
        input_size=32,
        stem_stride=1,
        stem_channels=8,
        block_channels=(8, 12, 16, 24, 32),
        downsamplings=(0, 1, 1, 2, 2),
        stages=(0, 1, 1, 2, 2, 3),
        num_layers=(0, 1, 1, 1, 0),
        max_connections=3,
        last_channels=64,
    )
)
COSTS = mac_costs(SMALL)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[list[int]], list[list[float]]]:
    """Random forward graphs of up to 8 inner blocks; few distinct probabilities, so ties are common."""
    last = draw(st.integers(2, 9))
    reach = draw(st.integers(1, 4))
    successors = [list(range(i + 1, min(i + reach, last) + 1)) for i in range(last)]
    logs = [[math.log(draw(st.sampled_from([0.1, 0.2, 0.25, 0.5, 1.0]))) for _ in targets] for targets in successors]
    return successors, logs


def brute_force(successors: list[list[int]], logs: list[list[float]]) -> tuple[float, tuple[int, ...]]:
    """Best log probability; of equal paths the one whose predecessors, seen from the end, are nearest."""
    last = len(successors)
    weight = {(i, t): p for i, row in enumerate(successors) for t, p in zip(row, logs[i], strict=True)}
    best: tuple[float, tuple[int, ...]] = (-math.inf, ())
    for size in range(last):
        for inner in itertools.combinations(range(1, last), size):
            path = (0, *inner, last)
            if all(step in weight for step in itertools.pairwise(path)):
                total = sum(weight[step] for step in itertools.pairwise(path))
                if total > best[0] + 1e-12 or (total > best[0] - 1e-12 and path[::-1] > best[1][::-1]):
                    best = (max(total, best[0]), path)
    return best


@settings(max_examples=150, deadline=None)
@given(chain=chains())
def test_no_path_is_more_likely_and_ties_go_to_the_nearest_block(chain: tuple[list, list]) -> None:
    total, path = brute_force(*chain)
    found = most_likely_path(*chain)
    assert math.isclose(found.log_probability, total, abs_tol=1e-9)
    assert found.blocks == path


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_network_survives_one_hot_parameters_and_costs_what_its_parts_cost(data: st.DataObject) -> None:
    genotype = [data.draw(st.integers(0, gene.num_choices - 1)) for gene in SMALL.genes]
    path = SMALL.path_of_genotype(genotype)
    logits = one_hot_logits(SMALL.routing, path, logit=80.0)
    assert derive_path(SMALL.routing, logits) == path
    cost = chained_cost(SMALL.routing, COSTS, normalise(logits))
    assert math.isclose(cost, COSTS.path_cost(SMALL.routing, path), rel_tol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 3.0))
def test_the_chained_cost_is_the_mean_cost_of_networks_drawn_edge_by_edge(seed: int, scale: float) -> None:
    """Independent check: weight every block path by its probability and sum the expected costs."""
    routing, rng = SMALL.routing, np.random.default_rng(seed)
    logits = {name: scale * rng.standard_normal(size) for name, size in routing.coefficient_sizes()}
    weights = normalise(logits)
    visits = visit_probabilities(routing, logits)
    expected = COSTS.input_block + COSTS.classifier
    for edge in routing.edges:
        share = visits[edge.source] * weights[f"beta.{edge.source}"][routing.outgoing(edge.source).index(edge)]
        if edge.target == routing.end:
            expected += share * COSTS.ending(routing, edge.source)
            continue
        heads = COSTS.head(routing, edge.source, edge.target)
        expected += share * float(softmax(logits[f"alpha.head.{edge.label}"]) @ np.array(heads))
        for layer, row in enumerate(COSTS.blocks[edge.target - 1].stacks):
            expected += share * float(softmax(logits[f"alpha.stack.{edge.target}.{layer}"]) @ np.array(row))
    assert math.isclose(chained_cost(routing, COSTS, weights), expected, rel_tol=1e-10)
