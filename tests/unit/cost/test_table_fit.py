"""Calibrated tables: the ratio that was put in is found, intervals are those of networks left out, files are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.cost.calibrated_tables.served_table import MIN_NETWORKS, Calibration, ServedTable
from nas_engine.cost.calibrated_tables.table_fit import calibrate, fit_table, judge
from nas_engine.cost.latency_table import LatencyTable
from nas_engine.domain.errors import EngineError, InvalidGenotypeError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.domain.views.operator_graphs import cut_operators
from tests.support.samples.simulated_boards import board_table, launches_us
from tests.unit.cost.test_table_sums import SCARLET, SMALL, drawn

GENOTYPES = list(dict.fromkeys(drawn(SMALL, 40)))


def latencies_us(noise: float = 0.0) -> list[float]:
    """Half as long again as the operators take together."""
    rng = np.random.default_rng(3)
    graphs = [SMALL.graph(SMALL.decode(one), Form.DEPLOYED) for one in GENOTYPES]
    return [1.5 * launches_us(graph) * float(np.exp(noise * rng.normal())) for graph in graphs]


def test_a_constant_ratio_is_found_and_nothing_is_left_to_err() -> None:
    sums = np.geomspace(100.0, 900.0, 25)
    calibration, errors = calibrate(sums, 1.5 * sums)
    assert calibration.offset == pytest.approx(np.log(1.5))
    assert calibration.slope == pytest.approx(1.0)
    assert np.abs(errors).max() < 1e-12
    assert np.exp(calibration.logs(np.asarray([50.0, np.nan, 0.0]))) == pytest.approx(
        [75.0, np.nan, np.nan], nan_ok=True
    )


def test_a_fixed_cost_bends_the_slope_and_noise_alone_hardly_does() -> None:
    sums = np.geomspace(100.0, 900.0, 25)
    assert 0.7 < calibrate(sums, sums + 100.0)[0].slope < 0.85
    rng = np.random.default_rng(0)
    alike = np.geomspace(100.0, 103.0, 25)  # networks so alike that they say nothing of a slope
    assert calibrate(alike, 1.2 * alike * np.exp(0.1 * rng.normal(size=25)))[0].slope == pytest.approx(1.0, abs=0.1)


def test_left_out_errors_are_those_of_calibrations_that_were_made_without_them() -> None:
    rng = np.random.default_rng(1)
    sums = rng.uniform(100.0, 900.0, 30)
    measured = (sums + 80.0) * np.exp(0.05 * rng.normal(size=30))
    _, errors = calibrate(sums, measured)
    for place in (0, 11, 29):
        others, _ = calibrate(np.delete(sums, place), np.delete(measured, place))
        found = np.log(measured[place]) - others.logs(sums[place : place + 1])[0]
        assert errors[place] == pytest.approx(found, abs=2e-3)  # the slope's weight is that of all thirty


def test_intervals_hold_as_often_as_they_say_for_networks_that_nothing_saw() -> None:
    rng = np.random.default_rng(5)
    held, said = [], []
    for _ in range(150):
        sums = rng.uniform(200.0, 900.0, 24)
        measured = (sums + 80.0) * np.exp(0.05 * rng.normal(size=24))
        seen, new = slice(0, MIN_NETWORKS), slice(MIN_NETWORKS, None)
        calibration, errors = calibrate(sums[seen], measured[seen])
        margin = np.sort(np.abs(errors))[18]  # 19 of 20: the 90 % of 21
        held += (np.abs(np.log(measured[new]) - calibration.logs(sums[new])) <= margin).tolist()
        said.append(judge(sums[seen], measured[seen]).coverage)
    assert 0.85 < np.mean(held) < 0.95
    assert 0.85 < np.mean(said) < 0.95


def test_a_table_is_served_with_what_was_found_on_networks_left_out() -> None:
    found = fit_table(SMALL, board_table(SMALL, launches_us), GENOTYPES, latencies_us(noise=0.01))
    assert found is not None
    served, quality = found
    assert quality.num_left_out == len(GENOTYPES)
    assert quality.mean_relative_error < 0.03
    assert quality.kendall_tau is not None
    assert quality.kendall_tau > 0.6
    said = served.estimate(GENOTYPES)
    assert said.values == pytest.approx(latencies_us(), rel=0.05)
    assert said.high / said.values == pytest.approx(np.full(len(GENOTYPES), np.exp(served.margin)))
    again = ServedTable.from_bytes(served.to_bytes())
    assert again.estimate(GENOTYPES).low.tolist() == said.low.tolist()
    assert again.is_of(SMALL.genes)
    assert not again.is_of(SCARLET.genes)
    with pytest.raises(InvalidGenotypeError):
        again.estimate([(9, 0, 0, 0)])


def kept_keys(table: LatencyTable) -> set[str]:
    """Keys without those of three quarters of one gene's choices."""
    graphs = [SMALL.graph(SMALL.decode((0, 0, choice, 0)), Form.DEPLOYED) for choice in range(4)]
    keys = [{latency_key(part.graph, batch=1, dtype=Dtype.FP32) for part in cut_operators(graph)} for graph in graphs]
    return set(table.entries) - (set.union(*keys[1:]) - keys[0])


def test_too_few_networks_and_damaged_files_are_refused() -> None:
    table, latencies = board_table(SMALL, launches_us), latencies_us()
    with pytest.raises(EngineError, match=f"19 measured networks: calibrating a table needs {MIN_NETWORKS}"):
        fit_table(SMALL, table, GENOTYPES[:19], latencies[:19])
    with pytest.raises(EngineError, match="not positive"):
        fit_table(SMALL, table, GENOTYPES, [0.0, *latencies[1:]])
    lacking = replace(table, entries={key: one for key, one in table.entries.items() if key in kept_keys(table)})
    with pytest.raises(EngineError, match=f"of {len(GENOTYPES)} measured networks are wholly in the table"):
        fit_table(SMALL, lacking, GENOTYPES, latencies)
    assert fit_table(SMALL, table, GENOTYPES, latencies, lambda: True) is None
    with pytest.raises(EngineError, match="damaged"):
        ServedTable.from_bytes(b"no archive")


def test_a_calibration_is_read_as_it_was_written() -> None:
    calibration = Calibration(centre=5.0, offset=0.25, slope=0.9)
    assert calibration.logs(np.exp(np.asarray([5.0, 6.0]))) == pytest.approx([5.25, 6.15])
