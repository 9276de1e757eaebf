"""Which networks to measure on a new board: the first ones, and those that would settle the estimated front."""

from __future__ import annotations

from collections.abc import Collection

import moocore
import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.transfer.covariance import Floats, NetworkCovariance, Rows, sampled_hyper
from nas_engine.cost.transfer.transfer import LatencyTransfer

MAX_CONSIDERED = 600
"""Networks that are looked at together: memory and time grow with their square."""

NUM_PLANNING_HYPER = 12
"""Draws of hyper-parameters that the plan is made for, as nothing says yet which hold."""

FRONT_DEPTH, BACKGROUND = 3.0, 0.5
"""How much a network's uncertainty counts: exp(-rank / depth) by its rank on the known board, and this much wherever it
is, as the fronts of two boards may lie apart.
"""

NUM_DRAWS = 400


def first_measurements(
    covariance: NetworkCovariance, minimized_NM: Floats, num: int, without: Collection[int] = ()
) -> list[int]:
    """Choose networks whose measurement tells most about all, those near the known board's front counting more.

    Greedy: each takes away as much as possible of the summed variance that the ones before left (A-optimal design, as
    Krause, Singh & Guestrin 2008, "Near-optimal sensor placements in Gaussian processes"; on the mean of priors).

    Args:
        covariance: of all networks.
        minimized_NM: their objectives on the known board, (num_networks, num_objectives), all minimised.
        num: how many to choose.
        without: rows that cannot be measured.

    Returns:
        Rows, the most telling first; fewer where there are no more.
    """
    ranks, barred = _ranks(minimized_NM), set(without)
    possible = np.asarray([row for row in np.argsort(ranks, kind="stable") if row not in barred], dtype=np.int64)
    rows = _thinned(possible)
    hypers = sampled_hyper(NUM_PLANNING_HYPER)
    left = np.mean([covariance.between(rows, rows, hyper) for hyper in hypers], axis=0)
    noise = float(np.mean([hyper.noise for hyper in hypers]))
    weight = np.exp(-ranks[rows] / FRONT_DEPTH) + BACKGROUND
    chosen: list[int] = []
    for _ in range(min(num, len(rows))):
        variance = np.diag(left) + noise
        gain = (weight[:, None] * left**2).sum(axis=0) / variance
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / variance[best]
    return [int(rows[place]) for place in chosen]


def next_measurements(
    transfer: LatencyTransfer, others_NM: Floats, num: int, without: Collection[int] = ()
) -> tuple[list[int], Floats]:
    """Choose networks whose measurement would most settle which ones are on the new board's front.

    Latencies of all are drawn together from what was learned; in each draw some networks are on the front. Measuring
    one explains that part of every network's being on the front or not which goes with its latency (the squared
    covariance over the variance). The one that explains most is taken, what it explains is taken away, and so on.

    Args:
        transfer: what was learned.
        others_NM: the other objectives of all networks, minimised; (num_networks, num_objectives - 1).
        num: how many to choose.
        without: rows that cannot be measured, or must not be on the front.

    Returns:
        Rows, the most settling first, and for each network the share of draws in which it is on the front.
    """
    every, barred = np.arange(len(transfer.covariance)), set(without)
    middle, spread = transfer.logs(every)
    middle[transfer.measured], spread[transfer.measured] = np.log(transfer.latency_us), 0.0
    allowed = np.asarray([row for row in every if row not in barred], dtype=np.int64)
    share = np.zeros(len(every))
    if len(allowed) == 0:
        return [], share
    hopes = np.column_stack([(middle - 2.0 * spread)[allowed], others_NM[allowed]])
    rows = allowed[np.argsort(_ranks(hopes), kind="stable")][:MAX_CONSIDERED]
    logs = transfer.draws(rows, NUM_DRAWS, np.random.default_rng(0))
    others = others_NM[rows]
    on_front = np.stack([_on_front(np.column_stack([drawn, others])) for drawn in logs]).astype(np.float64)
    share[rows] = on_front.mean(axis=0)
    open_front, open_logs = on_front - on_front.mean(axis=0), logs - logs.mean(axis=0)
    known = np.isin(rows, transfer.measured)
    chosen: list[int] = []
    while len(chosen) < min(num, int((~known).sum())):
        variance = (open_logs**2).sum(axis=0)
        explained = ((open_front.T @ open_logs) ** 2).sum(axis=0) / np.maximum(variance, 1e-12)
        explained[known] = -1.0
        explained[chosen] = -1.0
        best = int(explained.argmax())
        chosen.append(best)
        direction = open_logs[:, best] / max(float(np.linalg.norm(open_logs[:, best])), 1e-12)
        open_front = open_front - np.outer(direction, direction @ open_front)
        open_logs = open_logs - np.outer(direction, direction @ open_logs)
    return [int(rows[place]) for place in chosen], share


def _thinned(rows: Rows) -> Rows:
    """The first half of what may be considered as they come, and of the rest every so many."""
    if len(rows) <= MAX_CONSIDERED:
        return rows
    half = MAX_CONSIDERED // 2
    spread = np.linspace(half, len(rows) - 1, MAX_CONSIDERED - half).round().astype(np.int64)
    return np.asarray(np.concatenate([rows[:half], rows[spread]]))


def _ranks(points_NM: Floats) -> Floats:
    if points_NM.shape[1] == 1:
        return np.unique(points_NM[:, 0], return_inverse=True)[1].astype(np.float64)
    return np.asarray(moocore.pareto_rank(points_NM), dtype=np.float64)


def _on_front(points_NM: Floats) -> NDArray[np.bool_]:
    if points_NM.shape[1] == 1:
        return np.asarray(points_NM[:, 0] == points_NM[:, 0].min(), dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(points_NM, keep_weakly=True), dtype=np.bool_)
