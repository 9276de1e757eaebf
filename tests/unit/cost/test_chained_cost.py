"""Chained cost against the reference's numbers, in float64 and with anything that adds and multiplies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas_engine.cost.chained import chained_cost, chained_costs, local_cost
from nas_engine.cost.estimate_quality import compare_estimators, kendall_tau
from nas_engine.cost.latency_table import mac_costs
from nas_engine.cost.routing_costs import read_published_layout
from nas_engine.domain.errors import InvalidArchitectureError, InvalidMeasurementError
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.routing import Routing, RoutingPath, beta_name, head_name, stack_name
from nas_engine.spaces.densenas.routing_weights import Vector, normalise, one_hot_logits
from nas_engine.spaces.densenas.space import DenseSpace
from tests.support.reference import vectors

CASES = vectors("densenas_chained_cost_viterbi")
LUTS = vectors("densenas_published_luts")["luts"]
MBV2 = DenseSpace(DenseMbv2Parameters())
RESNET = DenseSpace(DenseResNetParameters())
MBV2_COSTS = read_published_layout(LUTS["lat_list_densenas_mbv2_xp32"], MBV2.routing, "ms")
TOYS = [case for case in CASES["cases"] if case["space"] == "toy"]


def toy_space(case: dict[str, Any]) -> DenseSpace:
    """The reference configuration of a toy case as parameters of our space."""
    config = case["config"]
    search, optim = config["search_params"], config["optim"]
    scale = search["net_scale"]
    return DenseSpace(
        DenseMbv2Parameters(
            input_size=config["data"]["input_size"][1],
            stem_channels=optim["init_dim"],
            block_channels=tuple(scale["chs"]),
            downsamplings=tuple(int(np.log2(scale["fm_sizes"][0] // size)) for size in scale["fm_sizes"]),
            stages=tuple(scale["stage"]),
            num_layers=tuple(scale["num_layers"]),
            max_connections=search["adjoin_connect_nums"][0],
            last_channels=optim["last_dim"],
            head_operators=tuple(search["PRIMITIVES_head"]),
            stack_operators=tuple(search["PRIMITIVES_stack"]),
        )
    )


def toy_logits(routing: Routing, case: dict[str, Any]) -> dict[str, Vector]:
    """Reference architecture parameters under our coefficient names."""
    logits = {beta_name(i): np.array(values) for i, values in enumerate(case["beta"])}
    for block in routing.routing_blocks:
        for edge, values in zip(routing.incoming(block.index), case["alpha_head"][block.index - 1], strict=True):
            logits[head_name(edge)] = np.array(values)
        for layer, values in enumerate(case["alpha_stack"][block.index - 1]):
            logits[stack_name(block.index, layer)] = np.array(values)
    return logits


def toy_selection(routing: Routing, indices: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The reference's sampled operators under our coefficient names."""
    selection = {}
    for block in routing.routing_blocks:
        for edge, kept in zip(routing.incoming(block.index), indices["head_index"][block.index - 1], strict=True):
            selection[head_name(edge)] = tuple(kept)
        for layer, kept in enumerate(indices["stack_index"][block.index - 1]):
            selection[stack_name(block.index, layer)] = tuple(kept)
    return selection


class OnlyAddsAndMultiplies:
    """A number with nothing but the two operators, as the least that a tensor has."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __add__(self, other: OnlyAddsAndMultiplies | float) -> OnlyAddsAndMultiplies:
        return OnlyAddsAndMultiplies(self.value + (other if isinstance(other, float) else other.value))

    def __mul__(self, other: OnlyAddsAndMultiplies | float) -> OnlyAddsAndMultiplies:
        return OnlyAddsAndMultiplies(self.value * (other if isinstance(other, float) else other.value))


def zeros(routing: Routing) -> dict[str, Vector]:
    return normalise({name: np.zeros(size) for name, size in routing.coefficient_sizes()})


@pytest.mark.parametrize("case", TOYS, ids=lambda c: f"seed{c['seed']}")
def test_toy_supernets_cost_what_the_reference_computes(case: dict) -> None:
    space = toy_space(case)
    routing = space.routing
    costs = read_published_layout(case["lut"], routing, "ms")
    weights = normalise(toy_logits(routing, case))
    assert chained_cost(routing, costs, weights) == pytest.approx(case["float64_recomputation"], rel=1e-14)
    assert chained_cost(routing, costs, weights) == pytest.approx(case["ref_net_sub_obj_all_ops"], rel=1e-6)
    per_block = [*chained_costs(routing, costs, weights), 0.0]
    np.testing.assert_allclose(per_block, case["chained_cost_per_block_float64"], rtol=1e-13)


@pytest.mark.parametrize("case", TOYS, ids=lambda c: f"seed{c['seed']}")
def test_dropped_paths_cost_what_the_reference_computes(case: dict) -> None:
    routing = toy_space(case).routing
    costs = read_published_layout(case["lut"], routing, "ms")
    sampled = case["sampled_two_ops"]
    weights = normalise(toy_logits(routing, case), selection=toy_selection(routing, sampled))
    assert chained_cost(routing, costs, weights) == pytest.approx(sampled["float64_recomputation"], rel=1e-14)
    assert chained_cost(routing, costs, weights) == pytest.approx(sampled["ref_net_sub_obj"], rel=1e-6)


@pytest.mark.parametrize(
    ("space", "table", "expected"),
    [
        (MBV2, "lat_list_densenas_mbv2_xp32", 32.417945),
        (RESNET, "lat_list_resv2_32", 21.758962),
        (RESNET, "lat_list_resv2_32_reg10", 22.917937),
    ],
)
def test_published_tables_give_the_known_cost_of_a_fresh_supernet(
    space: DenseSpace, table: str, expected: float
) -> None:
    costs = read_published_layout(LUTS[table], space.routing, "ms")
    assert chained_cost(space.routing, costs, zeros(space.routing)) == pytest.approx(
        expected, rel=1e-7
    )  # reference: float32


def test_resnet_costs_per_block_are_the_reference_ones() -> None:
    case = next(c for c in CASES["cases"] if c["space"] == "resnet")
    costs = read_published_layout(LUTS["lat_list_resv2_32_reg10"], RESNET.routing, "ms")
    per_block = [*chained_costs(RESNET.routing, costs, zeros(RESNET.routing)), 0.0]
    np.testing.assert_allclose(per_block, case["chained_cost_per_block_float64"], rtol=1e-13)


def test_regularised_skips_turn_the_plain_resnet_table_into_the_published_regularised_one() -> None:
    plain = read_published_layout(LUTS["lat_list_resv2_32"], RESNET.routing, "ms")
    published = read_published_layout(LUTS["lat_list_resv2_32_reg10"], RESNET.routing, "ms")
    ours = plain.with_regularised_skips(RESNET.routing)
    for block, reference in zip(ours.blocks, published.blocks, strict=True):
        np.testing.assert_allclose(block.stacks, reference.stacks, rtol=1e-12)


@pytest.mark.parametrize("letter", ["A", "B", "C"])
def test_table_sums_of_the_published_networks_are_the_known_ones(letter: str) -> None:
    path = MBV2.path_of(MBV2.parse(f"densenas-{letter}"))
    assert path is not None
    expected = CASES["lut_path_latency_ms"][f"densenas_{letter}"]
    assert MBV2_COSTS.path_cost(MBV2.routing, path) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("case", CASES["onehot"], ids=lambda c: c["model"])
def test_one_hot_parameters_cost_the_path_and_its_skips(case: dict) -> None:
    path = MBV2.path_of(MBV2.parse(case["model"].replace("_", "-")))
    assert path is not None
    weights = normalise(one_hot_logits(MBV2.routing, path, case["logit"]))
    assert chained_cost(MBV2.routing, MBV2_COSTS, weights) == pytest.approx(case["chained_cost"], rel=1e-14)


def test_the_formulas_need_nothing_but_sums_and_products() -> None:
    case = TOYS[0]
    routing = toy_space(case).routing
    costs = read_published_layout(case["lut"], routing, "ms")
    weights = normalise(toy_logits(routing, case))
    plain = {name: [OnlyAddsAndMultiplies(float(w)) for w in values] for name, values in weights.items()}
    for formula in (chained_cost, local_cost):
        assert formula(routing, costs, plain).value == pytest.approx(formula(routing, costs, weights), rel=1e-14)


def test_the_local_estimate_counts_blocks_that_no_path_reaches() -> None:
    path = MBV2.path_of(MBV2.parse("densenas-a"))
    assert path is not None
    weights = normalise(one_hot_logits(MBV2.routing, path))
    actual = MBV2_COSTS.path_cost(MBV2.routing, path)
    assert abs(chained_cost(MBV2.routing, MBV2_COSTS, weights) / actual - 1) < 0.01
    assert local_cost(MBV2.routing, MBV2_COSTS, weights) / actual > 1.5


def test_mac_costs_of_a_path_are_the_macs_of_the_derived_network() -> None:
    for name in ("densenas-a", "densenas-c"):
        architecture = MBV2.parse(name)
        path = MBV2.path_of(architecture)
        assert path is not None
        macs = complexity(MBV2.graph(architecture, Form.DEPLOYED)).macs
        assert mac_costs(MBV2).path_cost(MBV2.routing, path) == pytest.approx(macs / 1e6, rel=1e-12)


def test_costs_are_written_in_the_layout_they_are_read_from() -> None:
    assert read_published_layout(MBV2_COSTS.published_layout(), MBV2.routing, "ms") == MBV2_COSTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(), "table: 3 values, this routing needs 4"),
        (lambda t: t[1].pop(), "blocks: 15 values, this routing needs 16"),
        (lambda t: t[1][0][0][0].pop(), "block 1 head of edge 0: 5 values, this routing needs 6"),
        (lambda t: t[1][0][1].pop(), "block 1 stacks: 2 rows, the block has 3 layers"),
        (lambda t: t[1][2][1].__setitem__(1, "x"), "block 3 layer 1: a list is needed"),
        (lambda t: t[2].__setitem__(0, float("nan")), "endings: nan is no finite"),
        (lambda t: t.__setitem__(3, -1.0), "classifier: -1.0 is no finite, non-negative"),
        (lambda t: t.__setitem__(0, True), "input block: True is no finite"),
    ],
)
def test_a_table_that_does_not_fit_says_where(change: Any, message: str) -> None:
    table: Any = MBV2_COSTS.published_layout()
    change(table)
    with pytest.raises(InvalidMeasurementError, match=message):
        read_published_layout(table, MBV2.routing, "ms")


def test_a_path_of_another_space_has_no_cost() -> None:
    with pytest.raises(InvalidArchitectureError):
        MBV2_COSTS.path_cost(MBV2.routing, RoutingPath((0, 17), (), ()))


def test_estimators_are_compared_by_order_and_by_error() -> None:
    exact, reversed_ = compare_estimators({"exact": [1.0, 2.0, 4.0], "reversed": [4.0, 2.0, 1.0]}, [1.0, 2.0, 4.0])
    assert (exact.kendall_tau, exact.mean_absolute_error, exact.mean_error) == (1.0, 0.0, 0.0)
    assert (reversed_.kendall_tau, reversed_.mean_absolute_error, reversed_.mean_error) == (-1.0, 2.0, 0.0)
    assert reversed_.mean_relative_error == pytest.approx((3.0 + 0.75) / 3)


def test_kendall_tau_counts_ties_as_tau_b() -> None:
    # 4 of 6 pairs are ordered in both; tau-b = 4 / sqrt(5 * 5).
    assert kendall_tau(np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 3.0])) == pytest.approx(0.8)
    assert kendall_tau(np.ones(3), np.arange(3.0)) is None
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, 300).astype(float), rng.integers(0, 30, 300).astype(float)
    assert kendall_tau(first, second) == pytest.approx(kendalltau(first, second).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("estimates", "actual"),
    [([1.0], [1.0]), ([1.0, 2.0, 3.0], [1.0, 2.0]), ([1.0, float("nan")], [1.0, 2.0]), ([1.0, 2.0], [0.0, 2.0])],
)
def test_comparisons_without_enough_finite_numbers_are_refused(estimates: list[float], actual: list[float]) -> None:
    with pytest.raises(InvalidMeasurementError):
        compare_estimators({"x": estimates}, actual)
