"""Calibrates a latency table by networks that were measured, and finds out on networks left out how far to believe it.

The interval is that of split conformal prediction (Vovk et al. 2005; Lei et al. 2018, "Distribution-free predictive
inference for regression") over errors of networks that were left out of the calibration in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nas_engine.cost.calibrated_tables.served_table import MIN_NETWORKS, Calibration, ServedTable
from nas_engine.cost.calibrated_tables.sums_fit import find_sums
from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.cost.latency_table import LatencyTable
from nas_engine.cost.prediction.encodings import Floats
from nas_engine.cost.prediction.served_fit import NOMINAL, LeftOutQuality, conformal_margin
from nas_engine.cost.prediction.served_genes import genotype_rows
from nas_engine.domain.errors import EngineError
from nas_engine.domain.search_space import SearchSpace

SLOPE_DEVIATION = 0.3
"""How far the slope lies from 1, before anything is measured: a fixed cost of half the fastest network makes it .7."""


def fit_table(
    space: SearchSpace,
    table: LatencyTable,
    genotypes: Sequence[Sequence[int]],
    measured_us: Sequence[float],
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[ServedTable, LeftOutQuality] | None:
    """Make estimates of a table that can be served, with their interval and its coverage on networks left out.

    What is judged is what is served: networks that the sums may be fitted to are none of those that were measured, and
    each of these is left out in turn of the calibration and of the interval that it is held against.

    Args:
        space: of the table.
        table: of the space's operators.
        genotypes, measured_us: of distinct networks that were measured, canonical; those that the table lacks operators
            of are passed over.
        stopped: asked between layer graphs; once true, nothing is made.

    Returns:
        What is served and how it did; None where it was stopped.

    Raises:
        EngineError: the table lacks operators of most networks, fewer than `MIN_NETWORKS` are left, or a latency is not
            positive.
    """
    left_out = {tuple(one) for one in genotypes}
    if len(left_out) < MIN_NETWORKS:
        raise EngineError(f"{len(left_out)} measured networks: calibrating a table needs {MIN_NETWORKS}")
    sums = find_sums(space, table, left_out, stopped)
    if sums is None:
        return None
    sums_us, measured = sums.of(genotype_rows(space.genes, genotypes)), np.asarray(measured_us, dtype=np.float64)
    known = sums_us > 0.0  # false for NaN, of networks that the table lacks an operator of
    sums_us, measured = sums_us[known], measured[known]
    if len(measured) < MIN_NETWORKS:
        raise EngineError(
            f"{len(measured)} of {len(known)} measured networks are wholly in the table: "
            f"calibrating it needs {MIN_NETWORKS}"
        )
    if not (np.isfinite(measured).all() and (measured > 0.0).all()):
        raise EngineError("a measured latency is not positive: nothing can be calibrated by it")
    calibration, errors = calibrate(sums_us, measured)
    served = ServedTable(
        genes=tuple(space.genes),
        sums=sums,
        calibration=calibration,
        margin=conformal_margin(np.abs(errors)),
        nominal=NOMINAL,
    )
    return served, judge(sums_us, measured)


def calibrate(sums_us: Floats, measured_us: Floats) -> tuple[Calibration, Floats]:
    """Fit ratio and slope by least squares of the logarithms; the slope is drawn to 1 as far as networks leave it open.

    Returns:
        The calibration, and by how much the logarithm of each network is off when it is left out of it.
    """
    logs, wanted = np.log(sums_us), np.log(measured_us) - np.log(sums_us)
    centre, offset = float(logs.mean()), float(wanted.mean())
    x, y = logs - centre, wanted - offset
    spread = float(x @ x)
    slope = float(x @ y) / spread if spread > 0.0 else 0.0
    variance = float(((y - slope * x) ** 2).sum()) / max(len(x) - 2, 1)
    held = variance / SLOPE_DEVIATION**2
    bend = float(x @ y) / (spread + held) if spread + held > 0.0 else 0.0
    # Residuals of the others' calibrations, without making these (Allen 1974): the fit is linear in what is measured.
    leverage = 1.0 / len(x) + (x**2 / (spread + held) if spread + held > 0.0 else 0.0)
    errors = (y - bend * x) / (1.0 - leverage)
    return Calibration(centre=centre, offset=offset, slope=1.0 + bend), np.asarray(errors)


def judge(sums_us: Floats, measured_us: Floats) -> LeftOutQuality:
    """How calibrations of all but one network, and the intervals of all but that one, did on it; for each in turn."""
    num = len(measured_us)
    estimates, margins = np.empty(num), np.empty(num)
    for place in range(num):
        calibration, errors = calibrate(np.delete(sums_us, place), np.delete(measured_us, place))
        estimates[place] = np.exp(calibration.logs(sums_us[place : place + 1])[0])
        margins[place] = conformal_margin(np.abs(errors))
    missed = np.abs(np.log(measured_us) - np.log(estimates))
    return LeftOutQuality(
        coverage=float((missed <= margins).mean()),
        num_left_out=num,
        num_folds=num,
        mean_relative_error=float(np.mean(np.abs(estimates - measured_us) / measured_us)),
        median_relative_width=float(np.median(2.0 * np.sinh(margins) * estimates / measured_us)),
        kendall_tau=kendall_tau(estimates.tolist(), measured_us.tolist()),
    )
