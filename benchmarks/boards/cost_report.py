"""Chained against local cost on measured networks: the comparison of the paper (Sec. 4.5, supplementary A.5), here.

Starts the product (server, worker, two emulated boards that run ONNX Runtime), has every operator of a small
DenseNAS space measured, samples networks from random architecture parameters, has them measured end to end,
and prints how far each estimate of the table is from what was measured. Several deviations of the parameters
are shown: how decided they are says how far a supernet is from one network. Ours is the chained cost, the peer
the local one; `operators` is the plain sum over a network's own operators, the best a table can say.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from comparison import Row, report

from hilnas.client.client import Hilnas
from hilnas.client.core.group import Document
from server.bootstrap.demo.processes import Rig
from server.bootstrap.demo.specs import DEVICE_TYPE
from server.candidates.states import SearchState
from server.latency_tables.schemas import CostReportDetail, EstimateAgreementResource, LatencyTableDetail

SPACE: Document = {
    "id": "densenas-mbv2",
    "parameters": {
        "num_classes": 10,
        "input_size": 32,
        "stem_stride": 1,
        "stem_channels": 16,
        "block_channels": [16, 24, 32, 40, 64, 96, 128],
        "downsamplings": [0, 1, 1, 2, 2, 3, 3],
        "stages": [0, 1, 1, 2, 2, 3, 3, 4],
        "num_layers": [0, 2, 2, 2, 2, 1, 0],
        "max_connections": 3,
        "last_channels": 256,
        "head_operators": ["mbconv_k3_t3", "mbconv_k3_t6", "mbconv_k7_t3", "mbconv_k7_t6"],
        "stack_operators": ["mbconv_k3_t3", "mbconv_k3_t6", "mbconv_k7_t3", "mbconv_k7_t6", "skip_connect"],
    },
}
LOOK_S = 1.0
T = TypeVar("T", LatencyTableDetail, CostReportDetail)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=40, help="measured networks per deviation")
    parser.add_argument("--deviations", type=float, nargs="+", default=[1.0, 4.0], help="of the parameters")
    parser.add_argument("--batch", type=int, default=1, help="images per inference")
    parser.add_argument("--space", type=Path, help="JSON file with another DenseNAS space: id and parameters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    space: Document = SPACE if arguments.space is None else json.loads(arguments.space.read_text())
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder) / "rig")
        try:
            with Hilnas(rig.start()) as nas:
                rig.wait_for_devices(nas, DEVICE_TYPE, num=2)
                table_id = measured_table(nas, space, arguments.batch)
                for deviation in arguments.deviations:
                    found = measured_report(nas, table_id, arguments.networks, arguments.seed, deviation)
                    print_agreements(deviation, found)
                    rows += rows_of(f"N(0, {deviation:g}^2)", found)
        finally:
            rig.stop()
    report(rows, arguments.json)


def measured_table(nas: Hilnas, space: Document, batch: int) -> str:
    """Id of a table of the space, once every operator is measured."""
    started_s = time.monotonic()
    table = nas.latency_tables.create(
        {
            "name": "cost report",
            "space": dict(space),
            "device": {"device_type": DEVICE_TYPE, "batch": batch},
            "measurement": {"profile": "quick", "validity_policy": "accept_flagged"},
        }
    )
    measured = wait(lambda: nas.latency_tables.get(table.id))
    flagged = sum(bool(row.flags) for row in measured.rows)
    print(
        f"{measured.num_measured} of {measured.num_operators} operators measured in "
        f"{time.monotonic() - started_s:.0f} s, {flagged} flagged as noisy"
    )
    return table.id


def measured_report(nas: Hilnas, table_id: str, networks: int, seed: int, deviation: float) -> CostReportDetail:
    """A report of the table, once every network is measured."""
    made = nas.latency_tables.create_report(table_id, {"num_networks": networks, "seed": seed, "logit_std": deviation})
    return wait(lambda: nas.latency_tables.report(table_id, made.id))


def wait(read: Callable[[], T]) -> T:
    """A table or report once it is over; raises where it did not complete."""
    while not (one := read()).state.final:
        time.sleep(LOOK_S)
    if one.state is not SearchState.COMPLETED:
        raise SystemExit(f"{one.id} is {one.state.value}: {one.reason}")
    return one


def print_agreements(deviation: float, found: CostReportDetail) -> None:
    """Every estimator's figures."""
    latencies = sorted(row.latency_us for row in found.rows if row.latency_us is not None)
    flagged = sum(bool(row.flags) for row in found.rows)
    print(
        f"parameters N(0, {deviation:g}^2): {len(latencies)} networks of {latencies[0]:.0f} to {latencies[-1]:.0f} us, "
        f"{flagged} flagged as noisy"
    )
    for one in found.agreements:
        tau = "-" if one.kendall_tau is None else f"{one.kendall_tau:.3f}"
        print(
            f"  {one.estimator:10} Kendall tau {tau:>6}   mean error {one.mean_error_us:+9.1f} us   "
            f"mean |error| {one.mean_absolute_error_us:8.1f} us, {100 * one.mean_relative_error:5.1f} %"
        )


def rows_of(label: str, found: CostReportDetail) -> list[Row]:
    """Order (higher is better) and error (lower is better), chained as ours."""
    by_name: dict[str, EstimateAgreementResource] = {one.estimator: one for one in found.agreements}
    chained, local = by_name["chained"], by_name["local"]
    tau, peer_tau = chained.kendall_tau or 0.0, local.kendall_tau or 0.0
    error, peer_error = chained.mean_relative_error, local.mean_relative_error
    return [
        Row(f"{label} Kendall tau", tau, peer_tau, tau / peer_tau if peer_tau else float("inf"), "tau"),
        Row(f"{label} mean relative error", 100 * error, 100 * peer_error, peer_error / error, "%"),
    ]


if __name__ == "__main__":
    main()
