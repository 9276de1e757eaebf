"""A table's sums from genotypes alone are those by the layer graph; what the table lacks has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from nas_engine.cost.calibrated_tables.sums import ChoiceSums, FittedSums, RoutedSums, arrays_of, sums_of
from nas_engine.cost.calibrated_tables.sums_fit import find_sums
from nas_engine.cost.latency_table import LatencyTable, measured_costs
from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import EngineError, InvalidMeasurementError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.domain.views.operator_graphs import cut_operators
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from tests.support.samples.simulated_boards import board_table, cpu_us
from tests.support.worlds.table_world import DENSE_SPACE

SMALL = ShuffleNetSpace(ShuffleNetParameters(num_classes=10, input_size=32, stage_repeats=(1, 1, 1, 1)))
SCARLET = create_space("scarlet-s1", {"input_size": 32, "num_classes": 10})
DENSE = (
    cast(DenseSpace, create_space(DENSE_SPACE["id"], DENSE_SPACE["parameters"])),
    cast(DenseSpace, create_space("densenas-resnet", {"num_classes": 10, "input_size": 64})),
)


def drawn(space: SearchSpace, num: int, seed: int = 7) -> list[Genotype]:
    rng = np.random.default_rng(seed)
    return [space.canonical(sample_genotype(space.genes, rng)) for _ in range(num)]


def by_graph(space: SearchSpace, table: LatencyTable, genotype: Genotype) -> float | None:
    graph = space.graph(space.decode(genotype), Form.DEPLOYED)
    assert graph is not None
    try:
        return table.estimate_us(graph)
    except InvalidMeasurementError:
        return None


def test_sums_of_a_space_whose_operators_depend_on_one_gene_each_are_exact() -> None:
    table = board_table(SMALL, cpu_us, noise=0.1)
    found = find_sums(SMALL, table)
    assert isinstance(found, ChoiceSums)
    genotypes = drawn(SMALL, 20)
    assert found.of(np.asarray(genotypes)) == pytest.approx([by_graph(SMALL, table, one) for one in genotypes])


@pytest.mark.parametrize("space", DENSE, ids=lambda one: one.space_id)
def test_sums_along_the_paths_of_densenas_are_those_that_reports_compare(space: DenseSpace) -> None:
    table = board_table(space, cpu_us, noise=0.1)
    found = find_sums(space, table)
    assert isinstance(found, RoutedSums)
    genotypes, costs = drawn(space, 30), measured_costs(space, table)
    expected = [costs.path_cost(space.routing, space.path_of_genotype(one)) for one in genotypes]
    assert len(set(expected)) > 5
    assert found.of(np.asarray(genotypes)) == pytest.approx(expected)


def test_networks_that_the_table_lacks_an_operator_of_have_no_sum() -> None:
    table = board_table(SMALL, cpu_us)
    graph = SMALL.graph(SMALL.decode((0, 0, 3, 0)), Form.DEPLOYED)
    lost = next(part.graph for part in cut_operators(graph) if part.block == cut_operators(graph)[3].block)
    entries = {key: one for key, one in table.entries.items() if key != latency_key(lost, batch=1, dtype=Dtype.FP32)}
    assert len(entries) == len(table.entries) - 1
    lacking = replace(table, entries=entries)
    found = find_sums(SMALL, lacking)
    assert isinstance(found, ChoiceSums)
    genotypes = drawn(SMALL, 40)
    sums, expected = found.of(np.asarray(genotypes)).tolist(), [by_graph(SMALL, lacking, one) for one in genotypes]
    assert 0 < expected.count(None) < 40
    assert [None if np.isnan(us) else us for us in sums] == [one and pytest.approx(one) for one in expected]


class Coupled(ShuffleNetSpace):
    """The small space, where the second operator depends on the first two genes."""

    def decode(self, genotype: Any) -> Architecture:
        first, second, *others = genotype
        return super().decode((first, (first + second) % 4, *others))


def test_where_operators_depend_on_several_genes_a_predictor_is_fitted_to_networks_that_do_not_judge() -> None:
    space = Coupled(ShuffleNetParameters(num_classes=10, input_size=32, stage_repeats=(1, 1, 1, 1)))
    table = board_table(SMALL, cpu_us, noise=0.1)
    judges = drawn(space, 30)
    found = find_sums(space, table, judges)
    assert isinstance(found, FittedSums)
    expected = np.asarray([by_graph(space, table, one) for one in judges], dtype=np.float64)
    off = np.abs(found.of(np.asarray(judges)) / expected - 1.0)
    assert off.mean() < 0.3 * np.abs(expected / expected.mean() - 1.0).mean()
    lacking = replace(table, entries=dict(list(table.entries.items())[:-3]))
    with pytest.raises(EngineError, match="depend on several choices at once"):
        find_sums(space, lacking, judges)


def test_a_space_whose_networks_mostly_lack_operators_is_not_summed() -> None:
    with pytest.raises(EngineError, match="operators of scarlet-s1 depend on several choices at once"):
        find_sums(SCARLET, board_table(SCARLET, cpu_us))


def test_a_stopped_look_makes_nothing() -> None:
    assert find_sums(SMALL, board_table(SMALL, cpu_us), stopped=lambda: True) is None


@pytest.mark.parametrize("space", [SMALL, DENSE[0]], ids=lambda one: one.space_id)
def test_arrays_give_the_same_sums(space: SearchSpace) -> None:
    found = find_sums(space, board_table(space, cpu_us))
    assert found is not None
    rows = np.asarray(drawn(space, 5))
    assert sums_of(found.kind, arrays_of(found)).of(rows).tolist() == found.of(rows).tolist()
