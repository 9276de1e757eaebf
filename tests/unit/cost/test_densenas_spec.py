"""What DenseNAS specs and cost reports refuse, and costs in another unit."""

from __future__ import annotations

from typing import Any

import pytest

from nas_engine.cost.latency_table import mac_costs
from nas_engine.cost.routing_costs import RoutingCosts
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from server.candidates.spec import parse_search_spec, stored_search_spec
from server.core.errors import InvalidSpecError
from server.latency_tables.spec import parse_cost_report_spec


def spec(**algorithm: Any) -> dict[str, Any]:
    return {
        "space": {"id": "densenas-mbv2"},
        "objectives": [{"metric": "macs"}],
        "algorithm": {"kind": "densenas", "dataset": "imagenet100", **algorithm},
        "budget": {"num_candidates": 1},
    }


@pytest.mark.parametrize(
    ("algorithm", "reason"),
    [
        ({"learning_rate": 1e-4}, "final_learning_rate 0.0001 is not below"),
        ({"epochs": 50}, "the architecture parameters would never move"),
        ({"cost_base": 1.0}, "more than 1"),
    ],
)
def test_densenas_settings_that_cannot_work_are_refused(algorithm: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        parse_search_spec(spec(**algorithm))


def test_a_report_of_a_table_is_no_search_and_an_old_one_is_read_all_the_same() -> None:
    document = {**spec(), "algorithm": {"kind": "cost_report", "latency_table": "srch_1", "logit_std": 1.0}}
    with pytest.raises(InvalidSpecError, match="POST /api/v1/latency-tables/srch_1/reports"):
        parse_search_spec(document)
    assert stored_search_spec(document).algorithm.kind == "random"


def test_a_report_needs_two_networks() -> None:
    with pytest.raises(InvalidSpecError, match="num_networks|greater than or equal to 2"):
        parse_cost_report_spec({"num_networks": 1})


def test_costs_in_another_unit_are_every_cost_times_the_factor() -> None:
    space = create_space("densenas-resnet")
    assert isinstance(space, DenseSpace)
    costs = mac_costs(space)
    scaled = costs.scaled(0.5, "halves")
    assert scaled.unit == "halves"
    assert (scaled.input_block, scaled.classifier) == (costs.input_block / 2, costs.classifier / 2)
    assert _numbers(scaled) == [cost / 2 for cost in _numbers(costs)]


def _numbers(costs: RoutingCosts) -> list[float]:
    rows = [row for block in costs.blocks for row in (*block.heads, *block.stacks)]
    return [cost for row in (*rows, costs.endings) for cost in row]
