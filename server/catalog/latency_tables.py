"""Measured latency tables in the engine's terms, and how well estimates agree with measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.cost.estimate_quality import compare_estimators
from nas_engine.cost.latency_table import LatencyTable, TableEntry
from server.service.latency_tables import MeasuredTable
from server.service.ports.engine import EstimateAgreement


def engine_table(table: MeasuredTable) -> LatencyTable:
    """The measured rows of a table as the engine's latency table."""
    entries = {
        str(row.candidate.latency_key): TableEntry(row.label, row.candidate.latency_us)
        for row in table.rows
        if row.candidate.latency_us is not None
    }
    return LatencyTable(
        space_id=table.space_id,
        hardware_key=str(table.search.hardware_key),
        batch=table.batch,
        dtype=table.dtype,
        entries=entries,
    )


class EngineEstimateMaths:
    """`EstimateMaths` over `nas_engine.cost`."""

    def compare(
        self, estimates_us: Mapping[str, Sequence[float]], measured_us: Sequence[float]
    ) -> tuple[EstimateAgreement, ...]:
        """One per estimator, in the order given. Raises nas_engine's InvalidMeasurementError."""
        return tuple(
            EstimateAgreement(
                estimator=found.estimator,
                num_networks=found.num_networks,
                kendall_tau=found.kendall_tau,
                mean_absolute_error_us=found.mean_absolute_error,
                mean_relative_error=found.mean_relative_error,
                mean_error_us=found.mean_error,
            )
            for found in compare_estimators(estimates_us, measured_us)
        )
