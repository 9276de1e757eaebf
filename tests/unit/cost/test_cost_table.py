"""Tables of costs that are brought: the published files give the published costs, rows of one's own the same ones."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from nas_engine.cost.chained import chained_cost
from nas_engine.cost.cost_table import brought_costs, cost_table_document, read_cost_table
from nas_engine.cost.latency_table import mac_costs, operator_graphs
from nas_engine.cost.routing_costs import read_published_layout
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.routing_weights import normalise
from nas_engine.spaces.densenas.space import DenseSpace
from tests.support.reference import vectors

MBV2, RESNET = DenseSpace(DenseMbv2Parameters()), DenseSpace(DenseResNetParameters())
PUBLISHED = vectors("densenas_published_luts")["luts"]["lat_list_densenas_mbv2_xp32"]
COSTS = read_published_layout(PUBLISHED, MBV2.routing, "ms")


@pytest.mark.parametrize("text", [repr(PUBLISHED), json.dumps(PUBLISHED)], ids=["python", "json"])
def test_a_published_file_gives_the_published_cost(text: str) -> None:
    content = cost_table_document(MBV2, brought_costs(text.encode() + b"\n", MBV2, "ms"), "JaminFong/DenseNAS")
    assert content == cost_table_document(MBV2, COSTS, "JaminFong/DenseNAS")
    found = read_cost_table(content, MBV2)
    assert found == COSTS
    weights = normalise({name: np.zeros(size) for name, size in MBV2.routing.coefficient_sizes()})
    assert float(chained_cost(MBV2.routing, found, weights)) == pytest.approx(32.417945, abs=1e-6)


@cache
def labelled_mmacs() -> dict[str, float]:
    """Millions of MACs of each distinct operator."""
    operators = operator_graphs(MBV2, batch=1, dtype=Dtype.FP32)
    return {operator.label: complexity(operator.graph).macs / 1e6 for operator in operators}


def rows(unit: str, factor: float, without: str = "") -> bytes:
    """One row for each distinct operator, its millions of MACs as its latency."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["label", f"latency_{unit}", "state"])
    for label, mmacs in labelled_mmacs().items():
        if label != without:
            writer.writerow([label, mmacs * factor, "done"])
    return text.getvalue().encode()


@pytest.mark.parametrize(("unit", "factor"), [("ms", 1.0), ("us", 1000.0)])
def test_one_row_serves_every_place_of_an_operator(unit: str, factor: float) -> None:
    found = read_cost_table(cost_table_document(MBV2, brought_costs(rows(unit, factor), MBV2, "ms"), "own"), MBV2)
    wanted = mac_costs(MBV2)
    assert (found.unit, wanted.unit) == ("ms", "MMACs")
    assert found.classifier == pytest.approx(wanted.classifier)
    for one, other in zip(found.blocks, wanted.blocks, strict=True):
        for row, expected in zip((*one.heads, *one.stacks), (*other.heads, *other.stacks), strict=True):
            assert row == pytest.approx(expected)


def test_what_is_no_table_of_the_space_is_refused_with_what_is_wrong() -> None:
    label = list(labelled_mmacs())[5]
    cases = (
        (rows("ms", 1.0, without=label), f"no row for {label}"),
        (b"label,time\na,1\n", "it needs `label`, and `latency_us` or `latency_ms`"),
        (b"label,latency_us\na,fast\n", "line 2, a: 'fast' is no number"),
        (rows("ms", -1.0), "no finite, non-negative number"),
        (b"[1, 2]", "2 values, this routing needs 4"),
        (b"[__import__('os').getcwd()]", "no nested lists of numbers"),
        (b"\xff\xfe", "no text"),
    )
    for content, message in cases:
        with pytest.raises(InvalidMeasurementError, match=message.replace("(", r"\(")):
            brought_costs(content, MBV2, "ms")
    document = cost_table_document(MBV2, COSTS, "x")
    with pytest.raises(
        InvalidMeasurementError, match="is of space 'densenas-mbv2', the search is in 'densenas-resnet'"
    ):
        read_cost_table(document, RESNET)
    for content in (b"{}", b"\xff", b"[]", cost_table_document(MBV2, replace(COSTS, unit="MMACs"), "x")):
        with pytest.raises(InvalidMeasurementError):
            read_cost_table(content, MBV2)
