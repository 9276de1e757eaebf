"""Latencies carried over to another board, on boards of our own making whose truth is known (fixed seeds)."""

from __future__ import annotations

from dataclasses import dataclass

import moocore
import numpy as np
import pytest
from numpy.typing import NDArray

from nas_engine.cost.transfer.covariance import NetworkCovariance, sampled_hyper
from nas_engine.cost.transfer.planning import first_measurements, next_measurements
from nas_engine.cost.transfer.transfer import MIN_MEASURED, LatencyTransfer, estimate_all
from nas_engine.domain.errors import EngineError
from nas_engine.domain.search_space import Form, sample_genotype
from nas_engine.domain.views.operator_totals import operator_totals
from nas_engine.spaces.registry import create_space
from tests.support.samples.simulated_boards import BOARDS

Floats = NDArray[np.float64]
NUM_NETWORKS, NUM_MEASURED = 120, 14


@dataclass(frozen=True)
class Networks:
    genotypes: NDArray[np.int64]
    totals: Floats
    errors: Floats  # 1 - accuracy
    latencies: dict[str, Floats]

    def covariance(self, board: str) -> NetworkCovariance:
        return NetworkCovariance(self.latencies[board].tolist(), self.totals, self.genotypes.tolist())

    def minimized(self, board: str) -> Floats:
        return np.column_stack([self.latencies[board], self.errors])


@pytest.fixture(scope="module")
def networks() -> Networks:
    space = create_space("spos", {"input_size": 32, "num_classes": 10})
    rng = np.random.default_rng(5)
    genotypes = [sample_genotype(space.genes, rng) for _ in range(NUM_NETWORKS)]
    graphs = [space.graph(space.decode(genotype), Form.DEPLOYED) for genotype in genotypes]
    assert all(graph is not None for graph in graphs)
    totals = np.asarray([operator_totals(graph).ravel() for graph in graphs if graph is not None])
    macs = totals.reshape(NUM_NETWORKS, -1, 4)[:, :, 1].sum(axis=1)
    errors = 0.3 - 0.05 * (macs - macs.mean()) / macs.std() + rng.normal(0.0, 0.03, NUM_NETWORKS)
    latencies = {
        name: np.asarray([board(graph) for graph in graphs if graph is not None]) for name, board in BOARDS.items()
    }
    return Networks(np.asarray(genotypes), totals, errors, latencies)


def share_of_hypervolume(networks: Networks, board: str, latency_us: Floats) -> float:
    """True hypervolume of the front that these latencies choose, over that of the true front."""
    truth = networks.minimized(board)
    reference = truth.max(axis=0) + 0.1 * np.ptp(truth, axis=0)
    chosen = moocore.is_nondominated(np.column_stack([latency_us, networks.errors]), keep_weakly=True)
    return float(moocore.hypervolume(truth[chosen], ref=reference) / moocore.hypervolume(truth, ref=reference))


def fitted(networks: Networks, old: str, new: str, num: int = NUM_MEASURED) -> LatencyTransfer:
    covariance = networks.covariance(old)
    measured = first_measurements(covariance, networks.minimized(old), num)
    return LatencyTransfer(covariance, measured, networks.latencies[new][measured].tolist())


@pytest.mark.parametrize(
    ("old", "new"), [("cpu", "npu"), ("cpu", "launches"), ("npu", "small cache"), ("cpu", "distorted")]
)
def test_a_dozen_measurements_give_nearly_the_whole_front(networks: Networks, old: str, new: str) -> None:
    transfer = fitted(networks, old, new)
    found = estimate_all(transfer)
    truth = networks.latencies[new]
    latency_us = found.values.copy()
    latency_us[transfer.measured] = transfer.latency_us
    assert share_of_hypervolume(networks, new, latency_us) >= 0.95
    unseen = np.setdiff1d(np.arange(NUM_NETWORKS), transfer.measured)
    held = (found.low <= truth) & (truth <= found.high)
    assert held[unseen].mean() >= 0.85
    assert (found.low < found.values).all()
    assert (found.values < found.high).all()
    assert found.quality.num_left_out == NUM_MEASURED


def test_a_board_that_only_bends_latencies_is_learned_to_a_percent(networks: Networks) -> None:
    found = estimate_all(fitted(networks, "cpu", "distorted"))
    assert np.abs(found.values / networks.latencies["distorted"] - 1.0).mean() < 0.01
    assert (found.quality.kendall_tau or 0.0) > 0.95


def test_estimates_do_not_depend_on_the_unit_of_the_new_board(networks: Networks) -> None:
    transfer = fitted(networks, "cpu", "npu")
    slower = LatencyTransfer(transfer.covariance, transfer.measured.tolist(), (1000.0 * transfer.latency_us).tolist())
    every = np.arange(NUM_NETWORKS)
    np.testing.assert_allclose(slower.logs(every)[0], transfer.logs(every)[0] + np.log(1000.0), rtol=1e-9)


def test_more_measurements_leave_less_open(networks: Networks) -> None:
    every = np.arange(NUM_NETWORKS)
    few, many = (fitted(networks, "cpu", "npu", num).logs(every)[1].mean() for num in (8, 40))
    assert many < few


def test_what_is_chosen_first_is_distinct_spread_and_always_the_same(networks: Networks) -> None:
    covariance, minimized = networks.covariance("cpu"), networks.minimized("cpu")
    chosen = first_measurements(covariance, minimized, 16)
    assert len(set(chosen)) == 16
    assert chosen == first_measurements(covariance, minimized, 16)
    barred = set(chosen[:5])
    assert not barred & set(first_measurements(covariance, minimized, 16, barred))
    latency = networks.latencies["cpu"]
    assert np.ptp(latency[chosen]) > 0.6 * np.ptp(latency)
    assert len(first_measurements(covariance, minimized, 1000)) == NUM_NETWORKS


def test_what_is_to_be_measured_next_may_be_on_the_front_and_is_not_known(networks: Networks) -> None:
    transfer = fitted(networks, "cpu", "npu")
    barred = {3, 4, 5}
    chosen, share = next_measurements(transfer, networks.errors[:, None], 8, barred)
    assert len(set(chosen)) == 8
    assert not set(chosen) & (barred | set(transfer.measured.tolist()))
    assert (share[list(barred)] == 0.0).all()
    assert ((share >= 0.0) & (share <= 1.0)).all()
    assert share[chosen].mean() > share.mean()


def test_where_all_is_measured_nothing_is_left_to_measure(networks: Networks) -> None:
    every = list(range(NUM_NETWORKS))
    transfer = LatencyTransfer(networks.covariance("cpu"), every, networks.latencies["npu"].tolist())
    chosen, share = next_measurements(transfer, networks.errors[:, None], 8)
    assert chosen == []
    assert set(np.unique(share)) <= {0.0, 1.0}


def test_with_latency_alone_the_front_is_the_fastest(networks: Networks) -> None:
    transfer = fitted(networks, "cpu", "npu")
    chosen, share = next_measurements(transfer, np.zeros((NUM_NETWORKS, 0)), 4)
    assert len(chosen) == 4
    assert share.sum() == pytest.approx(1.0)


def test_what_cannot_be_learned_from_is_refused(networks: Networks) -> None:
    covariance = networks.covariance("cpu")
    with pytest.raises(EngineError, match="distinct"):
        LatencyTransfer(covariance, [1, 1, 2, 3, 4, 5], [1.0] * 6)
    with pytest.raises(EngineError, match="positive"):
        LatencyTransfer(covariance, range(MIN_MEASURED), [0.0] * MIN_MEASURED)
    with pytest.raises(EngineError, match="needed to leave one out"):
        estimate_all(LatencyTransfer(covariance, range(MIN_MEASURED - 1), [1.0] * (MIN_MEASURED - 1)))
    with pytest.raises(EngineError, match="known board must be positive"):
        NetworkCovariance([1.0, 0.0], np.ones((2, 3)), [(0,), (1,)])
    with pytest.raises(EngineError, match="one of each"):
        NetworkCovariance([1.0], np.ones((2, 3)), [(0,), (1,)])


def test_prior_covariances_are_positive_definite(networks: Networks) -> None:
    rows = np.arange(0, NUM_NETWORKS, 5)
    covariance = networks.covariance("npu")
    for hyper in sampled_hyper(20):
        gram = covariance.between(rows, rows, hyper)
        np.testing.assert_allclose(gram, gram.T)
        np.testing.assert_allclose(np.diag(gram), covariance.variance(rows, hyper))
        assert np.linalg.eigvalsh(gram).min() > -1e-8
