"""Which predictor estimates what is asked, what its estimates stand on, and what is wanting where there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nas_engine.cost.calibrated_tables.served_table import MIN_NETWORKS
from nas_engine.domain.measuring.environment import HardwareKey
from server.fleet.enrolment.trust import TRUST
from server.latencies.answer import Estimate
from server.latencies.predictors.predictor import MIN_FITTED, EstimateMethod, LatencyPredictor
from server.latencies.question import AskedDevice

_VALIDATION = "networks left out, a tenth at a time, of choosing, fitting and the intervals"


def ranked(
    predictors: Sequence[LatencyPredictor],
    device: AskedDevice,
    hardware: Mapping[str, HardwareKey],
    current: Mapping[str, int],
) -> list[LatencyPredictor]:
    """Predictors of one space on what is asked, the best first: those that are fitted, of the most trusted hardware,
    offered now; there, the least error on networks left out, whether of architectures or of a table.

    Args:
        predictors: of the space.
        device: that is asked for.
        hardware: what each hardware key of them stands for.
        current: place of the hardware keys that devices offer now, the most usual first.
    """
    admitted = [
        one
        for one in predictors
        if one.device_type == device.device_type
        and device.admits(one.hardware_key, hardware[one.hardware_key], is_model=False)
    ]

    def rank(one: LatencyPredictor) -> tuple[bool, int, int, float, bool]:
        trust = TRUST.index(hardware[one.hardware_key].identity.device_class)
        error = math.inf if one.quality is None else one.quality.mean_relative_error
        place = current.get(one.hardware_key, len(current))
        return one.artifact_sha256 is None, -trust, place, error, one.method is EstimateMethod.TABLE

    return sorted(admitted, key=rank)


def estimate_of(predictor: LatencyPredictor, value_us: float, low_us: float, high_us: float) -> Estimate:
    """An estimate with all that it stands on."""
    quality = predictor.quality
    return Estimate(
        method=predictor.method,
        source_id=predictor.table_id or predictor.id,
        predictor_id=predictor.id,
        hardware_key=predictor.hardware_key,
        value_us=value_us,
        low_us=low_us,
        high_us=high_us,
        nominal=None if quality is None else quality.nominal,
        coverage=None if quality is None else quality.coverage,
        num_left_out=0 if quality is None else quality.num_left_out,
        num_networks=predictor.num_fitted,
        num_operators=predictor.num_operators,
        validation=_validation(predictor),
        is_stale=predictor.is_stale,
    )


def wanting(predictors: Sequence[LatencyPredictor]) -> str:
    """What an estimate there needs, of predictors none of which is fitted; empty where there is none at all."""
    parts = []
    if counted := [one.num_seen for one in predictors if one.method is EstimateMethod.PREDICTOR]:
        parts.append(f"{max(counted)} of the {MIN_FITTED} measurements that an estimate needs were made there")
    tables = [one for one in predictors if one.method is EstimateMethod.TABLE]
    if tables:
        parts.append(_of_table(max(tables, key=lambda one: (one.num_seen, one.id))))
    return "".join(f"; {one}" for one in parts)


def lacking(predictor: LatencyPredictor) -> str:
    """Why a fitted predictor has no estimate of an architecture of its space."""
    return f"latency table {predictor.table_id} lacks an operator of it"


def _of_table(predictor: LatencyPredictor) -> str:
    table_id = predictor.table_id
    if predictor.trouble:
        return f"latency table {table_id} estimates nothing: {predictor.trouble}"
    if predictor.is_due:
        return f"estimates from latency table {table_id} are being made"
    there, order = "a latency table of this hardware is there", f"hilnas tables report {table_id} --networks"
    if predictor.num_seen == 0:
        return f"{there}; a report of {MIN_NETWORKS} networks makes it an estimate: {order} {MIN_NETWORKS}"
    seen = f"its reports compare {predictor.num_seen} of the {MIN_NETWORKS} networks that make it an estimate"
    return f"{there}, and {seen}: {order} {MIN_NETWORKS}"


def _validation(predictor: LatencyPredictor) -> str:
    if predictor.table_id is None:
        return _VALIDATION
    fitted = ", fitted to sampled networks" if predictor.model == "table_fitted" else ""
    return (
        f"sums over a table of {predictor.num_operators} operators{fitted}, calibrated by {predictor.num_fitted} "
        f"measured networks of {', '.join(predictor.report_ids)}, each left out in turn of calibration and interval"
    )
