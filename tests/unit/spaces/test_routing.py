"""The connection rule and path counts of the published block graphs, and the errors of custom ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.routing import Routing, RoutingBlock, RoutingPath
from nas_engine.spaces.densenas.routing_weights import (
    checked_logits,
    initial_logits,
    normalise,
    one_hot_logits,
    rebalance,
    rebalancing_bias,
    sample_operators,
    softmax,
    visit_probabilities,
)
from tests.support.reference import vectors

GRAPHS = vectors("densenas_space_graph")
ROUTINGS = {"mbv2": DenseMbv2Parameters().routing(), "resnet": DenseResNetParameters().routing()}
FEATURE_SIZES = {name: [112 // 2**b.downsampling for b in routing.blocks] for name, routing in ROUTINGS.items()}


def output_config(name: str, block: int) -> dict[str, Any]:
    """What the reference stores of a block's outgoing edges."""
    routing, sizes = ROUTINGS[name], FEATURE_SIZES[name]
    edges = routing.outgoing(block)
    return {
        "ch": routing.blocks[block].channels,
        "fm_size": sizes[block],
        "out_chs": [routing.blocks[e.target].channels for e in edges],
        "out_fms": [sizes[e.target] for e in edges],
        "strides": [e.stride for e in edges],
        "out_id": [e.target for e in edges],
        "num_stack_layers": routing.blocks[block].num_layers,
    }


def input_config(name: str, block: int) -> dict[str, Any]:
    """What the reference stores of a block's incoming edges."""
    routing, sizes = ROUTINGS[name], FEATURE_SIZES[name]
    edges = routing.incoming(block)
    return {
        "ch": routing.blocks[block].channels,
        "fm_size": sizes[block],
        "in_chs": [routing.blocks[e.source].channels for e in edges],
        "in_fms": [sizes[e.source] for e in edges],
        "strides": [e.stride for e in edges],
        "in_block_idx": [e.source for e in edges],
        "beta_idx": [routing.outgoing(e.source).index(e) for e in edges],
        "num_stack_layers": routing.blocks[block].num_layers,
    }


@pytest.mark.parametrize("name", ROUTINGS)
def test_edges_of_every_block_are_the_published_ones(name: str) -> None:
    routing, published = ROUTINGS[name], GRAPHS[name]
    assert [output_config(name, i) for i in range(routing.end)] == published["output_configs"]
    assert [input_config(name, i) for i in range(1, routing.end + 1)] == published["input_configs"]
    assert len(routing.edges) == published["n_edges"]


@pytest.mark.parametrize("name", ROUTINGS)
def test_path_counts_are_the_published_ones(name: str) -> None:
    assert ROUTINGS[name].num_block_paths() == GRAPHS[name]["n_block_paths"]
    assert ROUTINGS[name].num_operator_sequences() == int(GRAPHS[name]["n_architectures_op_sequences"])


@pytest.mark.parametrize("name", ROUTINGS)
def test_there_are_as_many_architecture_parameters_as_published(name: str) -> None:
    counts = {"beta": 0, "alpha.head": 0, "alpha.stack": 0}
    for coefficient, size in ROUTINGS[name].coefficient_sizes():
        counts[next(kind for kind in counts if coefficient.startswith(kind))] += size
    published = GRAPHS[name]
    assert list(counts.values()) == [published["n_beta"], published["n_alpha_head"], published["n_alpha_stack"]]


def block(index: int, **changes: int) -> RoutingBlock:
    values = {"channels": 8, "downsampling": index, "stage": index, "num_layers": 1} | changes
    return RoutingBlock(index=index, **values)


def test_a_block_without_a_successor_is_refused_before_anything_is_built() -> None:
    blocks = (block(0), block(1), block(2, downsampling=4), block(3, downsampling=4))
    with pytest.raises(InvalidSpaceError, match=r"block 1 .* connects to no later block"):
        Routing(blocks, 2, ("mbconv_k3_t3",), ("skip_connect",))


def test_a_block_without_a_predecessor_is_refused_before_anything_is_built() -> None:
    blocks = (block(0), block(1, stage=5, downsampling=0), block(2, stage=1, downsampling=0), block(3, stage=5))
    with pytest.raises(InvalidSpaceError, match="block"):
        Routing(blocks, 2, ("mbconv_k3_t3",), ("skip_connect",))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (RoutingPath((1, 2, 17), (0,), ((),)), "must lead from block 0 to block 17"),
        (RoutingPath((0, 2, 17), (0,), ((0,) * 3,)), "no edge from block 0 to 2: allowed are 1"),
        (RoutingPath((0, 1, 4, 7, 10, 13, 14, 17), (0,) * 5, ((0, 0, 0),) * 6), "5 heads, 6 stacks"),
        (RoutingPath((0, 1, 4, 7, 10, 13, 14, 17), (6,) * 6, ((0, 0, 0),) * 6), "head operator 6 is not among"),
        (RoutingPath((0, 1, 4, 7, 10, 13, 14, 17), (5,) * 6, ((0, 0),) * 6), "must hold 3 indices"),
    ],
)
def test_a_path_of_another_routing_is_refused_with_what_is_allowed(path: RoutingPath, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        ROUTINGS["mbv2"].validate(path)


@pytest.mark.parametrize("case", vectors("densenas_chained_cost_viterbi")["rebalance"], ids=lambda c: str(c["sampled"]))
def test_rebalancing_equals_the_reference_and_keeps_unsampled_probabilities(case: dict) -> None:
    old, stepped = np.array(case["alpha_old"]), np.array(case["alpha_after_step"])
    sampled = case["sampled"]
    assert rebalancing_bias(old[sampled], stepped[sampled]) == pytest.approx(case["bias"], abs=1e-12)
    balanced = rebalance(old, stepped, sampled)
    np.testing.assert_allclose(balanced, case["alpha_rebalanced"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(softmax(balanced), case["softmax_new"], rtol=0, atol=1e-12)
    others = [i for i in range(len(old)) if i not in sampled]
    np.testing.assert_array_equal(balanced[others], old[others])
    np.testing.assert_allclose(softmax(balanced)[others], softmax(old)[others], rtol=1e-12)


def test_rebalancing_ignores_what_an_optimizer_did_to_unsampled_operators() -> None:
    old = np.array([0.3, -0.2, 0.1])
    stepped = np.array([0.4, 99.0, 0.0])
    assert rebalance(old, stepped, [0, 2])[1] == old[1]


def test_softmax_and_bias_survive_logits_that_overflow_exp() -> None:
    assert softmax([1000.0, 0.0]).tolist() == [1.0, 0.0]
    assert rebalancing_bias([1000.0, 999.0], [1001.0, 1000.0]) == pytest.approx(-1.0)


def test_drop_path_samples_that_many_distinct_operators_of_every_layer() -> None:
    routing, rng = ROUTINGS["mbv2"], np.random.default_rng(0)
    selection = sample_operators(routing, rng, num_operators=2, logits=initial_logits(routing, rng))
    assert len(selection) == 51 + 39
    assert all(len(set(kept)) == 2 and list(kept) == sorted(kept) for kept in selection.values())


def test_drop_path_follows_the_architecture_distribution() -> None:
    routing = ROUTINGS["resnet"]
    logits = {name: np.zeros(size) for name, size in routing.coefficient_sizes()}
    layers = [name for name in logits if name.startswith("alpha.stack.")]
    logits.update(dict.fromkeys(layers, np.log([0.8, 0.2])))
    rng = np.random.default_rng(1)
    selections = [sample_operators(routing, rng, num_operators=1, logits=logits) for _ in range(10)]
    draws = [selection[layer][0] for selection in selections for layer in layers]
    # Five standard deviations of a binomial at p = 0.2 either side.
    assert len(draws) >= 300
    assert abs(sum(draws) - 0.2 * len(draws)) <= 5 * math.sqrt(0.16 * len(draws))


def test_drop_path_can_draw_two_operators_even_where_one_has_all_the_probability() -> None:
    routing = ROUTINGS["mbv2"]
    logits = {name: np.zeros(size) for name, size in routing.coefficient_sizes()}
    logits["alpha.stack.4.0"][3] = 5000.0
    selection = sample_operators(routing, np.random.default_rng(2), num_operators=2, logits=logits)
    assert 3 in selection["alpha.stack.4.0"]
    assert len(selection["alpha.stack.4.0"]) == 2


def test_normalised_weights_of_dropped_operators_are_zero_and_the_rest_sum_to_one() -> None:
    routing = ROUTINGS["mbv2"]
    logits = initial_logits(routing, np.random.default_rng(3))
    weights = normalise(logits, beta_temperature=0.5, selection={"alpha.head.1-4": (2, 5)})
    assert np.flatnonzero(weights["alpha.head.1-4"]).tolist() == [2, 5]
    assert all(values.sum() == pytest.approx(1.0) for values in weights.values())
    np.testing.assert_allclose(weights["beta.1"], softmax(2.0 * logits["beta.1"]))
    np.testing.assert_allclose(weights["alpha.stack.4.0"], softmax(logits["alpha.stack.4.0"]))


def test_one_hot_logits_visit_exactly_the_blocks_of_their_path() -> None:
    path = RoutingPath((0, 1, 4, 7, 10, 13, 14, 17), (0,) * 6, (*((0, 0, 6),) * 5, ()))
    visits = visit_probabilities(ROUTINGS["mbv2"], one_hot_logits(ROUTINGS["mbv2"], path))
    assert np.flatnonzero(visits > 0.5).tolist() == list(path.blocks)
    np.testing.assert_allclose(visits[list(path.blocks)], 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta.99": [0.0]}, "'beta.99' is no coefficient"),
        ({"beta.1": [0.0]}, "beta.1 .* needs 3 finite values"),
        ({"beta.1": [0.0, float("nan"), 0.0]}, "beta.1 .* needs 3 finite values"),
    ],
)
def test_logits_that_do_not_fit_are_refused_by_name(change: dict[str, list[float]], message: str) -> None:
    routing = ROUTINGS["mbv2"]
    logits = {name: np.zeros(size).tolist() for name, size in routing.coefficient_sizes()} | change
    with pytest.raises(InvalidArchitectureError, match=message):
        checked_logits(routing, logits)


def test_a_missing_architecture_parameter_is_named() -> None:
    with pytest.raises(InvalidArchitectureError, match="beta.0 is missing"):
        checked_logits(ROUTINGS["mbv2"], {})
