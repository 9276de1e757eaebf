"""What is served of a latency table is the sum over a network's operators, for every genotype."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.cost.calibrated_tables.served_table import Calibration, ServedTable
from nas_engine.cost.calibrated_tables.sums_fit import find_sums
from nas_engine.cost.latency_table import LatencyTable
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.spaces.registry import create_space
from tests.support.samples.simulated_boards import board_table, npu_us
from tests.support.worlds.table_world import DENSE_SPACE

SPACES = {
    "spos": {"input_size": 32, "stage_repeats": [2, 1, 2, 1], "num_classes": 10},
    DENSE_SPACE["id"]: DENSE_SPACE["parameters"],
}


@cache
def served(space_id: str) -> tuple[SearchSpace, LatencyTable, ServedTable]:
    space = create_space(space_id, SPACES[space_id])
    table = board_table(space, npu_us, noise=0.2, seed=1)
    sums = find_sums(space, table)
    assert sums is not None
    unchanged = Calibration(centre=3.0, offset=0.0, slope=1.0)
    made = ServedTable(genes=tuple(space.genes), sums=sums, calibration=unchanged, margin=0.1, nominal=0.9)
    return space, table, ServedTable.from_bytes(made.to_bytes())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), space_id=st.sampled_from(sorted(SPACES)))
def test_it_is_the_sum_by_the_layer_graph(data: st.DataObject, space_id: str) -> None:
    space, table, estimates = served(space_id)
    genotype = space.canonical([data.draw(st.integers(0, gene.num_choices - 1)) for gene in space.genes])
    graph = space.graph(space.decode(genotype), Form.DEPLOYED)
    assert graph is not None
    expected = table.estimate_us(graph)
    said = estimates.estimate([genotype])
    assert np.isclose(said.values[0], expected, rtol=1e-9)
    assert said.low[0] < said.values[0] < said.high[0]
