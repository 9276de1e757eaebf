"""Chained against local cost estimation on a latency table (paper, Sec. 4.5 and supplementary A.5).

Architecture parameters are drawn at random, each estimator predicts the cost of the supernet they stand for,
and the actual cost is the table's sum over the network that Viterbi derives from them. How peaked the
parameters are decides how far a supernet is from one network, so several scales are shown. A table is a file
in the published layout (milliseconds), e.g. from JaminFong/DenseNAS, latency_list.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from comparison import Row, report

from nas_engine.cost.chained import chained_cost, local_cost
from nas_engine.cost.estimate_quality import EstimateQuality, compare_estimators
from nas_engine.cost.routing_costs import RoutingCosts, read_published_layout
from nas_engine.spaces.densenas.routing import Routing
from nas_engine.spaces.densenas.routing_weights import normalise
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.densenas.viterbi import derive_path
from nas_engine.spaces.registry import create_space, space_ids

SCALES = (0.001, 1.0, 2.0, 4.0, 8.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="latency table in the published layout (JSON)")
    parser.add_argument("--space", default="densenas-mbv2", choices=[s for s in space_ids() if "densenas" in s])
    parser.add_argument("--networks", type=int, default=1500, help="derived networks per scale (paper: 1500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    space = create_space(arguments.space)
    assert isinstance(space, DenseSpace)
    costs = read_published_layout(json.loads(arguments.table.read_text()), space.routing, "ms")
    rows = []
    for scale in SCALES:
        chained, local = compare(space.routing, costs, scale, arguments.networks, arguments.seed)
        rows += rows_of(f"N(0, {scale:g}^2)", chained, local)
    report(rows, arguments.json)


def compare(
    routing: Routing, costs: RoutingCosts, scale: float, num_networks: int, seed: int
) -> tuple[EstimateQuality, EstimateQuality]:
    """Quality of both estimators for parameters drawn from N(0, scale^2)."""
    rng = np.random.default_rng(seed)
    chained, local, actual = list[float](), list[float](), list[float]()
    for _ in range(num_networks):
        logits = {name: scale * rng.standard_normal(size) for name, size in routing.coefficient_sizes()}
        weights = normalise(logits)
        chained.append(float(chained_cost(routing, costs, weights)))
        local.append(float(local_cost(routing, costs, weights)))
        actual.append(costs.path_cost(routing, derive_path(routing, logits)))
    first, second = compare_estimators({"chained": chained, "local": local}, actual)
    return first, second


def rows_of(label: str, chained: EstimateQuality, local: EstimateQuality) -> list[Row]:
    """Order (higher is better) and error (lower is better), chained as ours."""
    tau, peer_tau = chained.kendall_tau or 0.0, local.kendall_tau or 0.0
    error, peer_error = chained.mean_relative_error, local.mean_relative_error
    return [
        Row(f"{label} Kendall tau", tau, peer_tau, tau / peer_tau if peer_tau else float("inf"), "tau"),
        Row(f"{label} mean relative error", 100 * error, 100 * peer_error, peer_error / error, "%"),
    ]


if __name__ == "__main__":
    main()
