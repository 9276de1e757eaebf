"""Latency tables: one-operator graphs, deduplicated; sums over them; refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from nas_engine.cost.latency_table import (
    LatencyTable,
    TableEntry,
    measured_costs,
    operator_graphs,
    read_latency_table,
)
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.domain.views.operator_graphs import cut_operators
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space

MBV2 = DenseSpace(DenseMbv2Parameters())
RESNET = DenseSpace(DenseResNetParameters())


def table_of_macs(space: DenseSpace, batch: int = 1) -> LatencyTable:
    """A table as it would be on a device that takes one microsecond for a million MACs."""
    operators = operator_graphs(space, batch=batch, dtype=Dtype.FP32)
    entries = {o.key: TableEntry(o.label, complexity(o.graph).macs / 1e6) for o in operators}
    return LatencyTable(space_id=space.space_id, hardware_key="h" * 64, batch=batch, dtype=Dtype.FP32, entries=entries)


@pytest.mark.parametrize("space", [MBV2, RESNET], ids=lambda s: s.space_id)
def test_every_operator_of_the_supernet_is_measured_once(space: DenseSpace) -> None:
    operators = operator_graphs(space, batch=32, dtype=Dtype.FP32)
    assert len({o.key for o in operators}) == len(operators)
    sites = [site for site in space.operator_sites() if site.graph is not None]
    assert sum(o.num_places for o in operators) == len(sites)
    assert len(operators) <= len(sites)


def test_the_number_of_operators_of_the_published_spaces() -> None:
    # 54 edges and their 6 operators (3 lead to the end: one each), 13 blocks with 6 stack operators, input, classifier.
    assert sum(o.num_places for o in operator_graphs(MBV2, batch=1, dtype=Dtype.FP32)) == 51 * 6 + 3 + 13 * 6 + 3
    assert sum(o.num_places for o in operator_graphs(RESNET, batch=1, dtype=Dtype.FP32)) == 84 + 3 + 17 + 2


def test_the_batch_is_part_of_every_key() -> None:
    keys = [{o.key for o in operator_graphs(MBV2, batch=batch, dtype=Dtype.FP32)} for batch in (1, 32)]
    assert not keys[0] & keys[1]


@pytest.mark.parametrize(("space", "name"), [(MBV2, "densenas-a"), (MBV2, "densenas-b"), (MBV2, "densenas-c")])
def test_the_parts_of_a_derived_network_are_rows_of_the_table(space: DenseSpace, name: str) -> None:
    table = table_of_macs(space)
    graph = space.graph(space.parse(name), Form.DEPLOYED)
    assert table.estimate_us(graph) == pytest.approx(complexity(graph).macs / 1e6, rel=1e-12)
    path = space.path_of(space.parse(name))
    assert path is not None
    costs = measured_costs(space, table)
    assert costs.unit == "us"
    assert costs.path_cost(space.routing, path) == pytest.approx(table.estimate_us(graph), rel=1e-12)


def test_a_resnet_path_is_priced_with_the_supernets_ending() -> None:
    path = RESNET.path_of(RESNET.parse("densenas-r1"))
    assert path is not None
    costs = measured_costs(RESNET, table_of_macs(RESNET))
    blocks_only = costs.path_cost(RESNET.routing, path) - costs.ending(RESNET.routing, 20) - costs.classifier
    graph = RESNET.graph(RESNET.parse("densenas-r1"), Form.DEPLOYED)
    parts = [p for p in cut_operators(graph) if p.block != "classifier"]
    assert blocks_only == pytest.approx(sum(complexity(p.graph).macs for p in parts) / 1e6, rel=1e-12)


def test_skips_cost_nothing_and_can_be_regularised() -> None:
    costs = measured_costs(MBV2, table_of_macs(MBV2))
    skip = MBV2.routing.skip
    assert skip is not None
    assert all(row[skip] == 0.0 for block in costs.blocks for row in block.stacks)
    raised = costs.with_regularised_skips(MBV2.routing)
    assert all(row[skip] == row[0] / 10 for block in raised.blocks for row in block.stacks)


def test_other_spaces_give_their_operators_too() -> None:
    space = create_space("spos", {"num_classes": 10, "input_size": 32, "stem_stride": 1})
    operators = operator_graphs(space, batch=1, dtype=Dtype.FP32)
    keys = {o.key for o in operators}
    mixed = space.graph(space.decode([0, 1, 2, 3] * 5), Form.DEPLOYED)
    assert mixed is not None
    assert {latency_key(p.graph, batch=1, dtype=Dtype.FP32) for p in cut_operators(mixed)} <= keys
    # Blocks of equal shape share their operators: fewer rows than places.
    assert len(operators) < sum(o.num_places for o in operators)


def test_a_missing_operator_is_named() -> None:
    table = table_of_macs(MBV2)
    graph = MBV2.graph(MBV2.parse("densenas-a"), Form.DEPLOYED)
    with pytest.raises(InvalidMeasurementError, match=r"operator conv3 of stem is not in this table .*batch 1, fp32"):
        replace(table, entries={}).estimate_us(graph)
    with pytest.raises(InvalidMeasurementError, match="batch 8"):
        replace(table, batch=8).estimate_us(graph)


def test_a_table_survives_json() -> None:
    table = table_of_macs(MBV2)
    assert read_latency_table(json.loads(json.dumps(table.as_json()))) == table


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"dtype": "int3"},
        {"batch": None},
        {"entries": {"k": {"label": "x", "latency_us": "NaN"}}},
        {"entries": {"k": {"label": "x", "latency_us": -1.0}}},
        {"entries": {"k": {"label": "x"}}},
        {"entries": 7},
    ],
)
def test_a_damaged_document_is_refused(change: dict) -> None:
    document = dict(table_of_macs(RESNET).as_json()) | change  # type: ignore[call-overload]
    with pytest.raises(InvalidMeasurementError):
        read_latency_table(document)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_a_latency_that_is_no_latency_is_never_stored(value: float) -> None:
    with pytest.raises(InvalidMeasurementError, match="finite"):
        TableEntry("x", value)
