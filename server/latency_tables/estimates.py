"""Latency estimates from a table, compared with what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.cost.estimate_quality import compare_estimators
from nas_engine.cost.latency_table import LatencyTable, TableEntry
from server.latency_tables.batch import EstimateAgreement
from server.latency_tables.latency_tables import MeasuredTable


def engine_table(table: MeasuredTable) -> LatencyTable:
    """The measured rows of a table as the engine's latency table."""
    entries = {
        row.entry.latency_key: TableEntry(row.label, row.entry.latency_us)
        for row in table.rows
        if row.entry.latency_us is not None
    }
    return LatencyTable(
        space_id=table.space_id,
        hardware_key=table.batch.hardware_key,
        batch=table.batch.batch_size,
        dtype=table.batch.dtype,
        entries=entries,
    )


class EstimateMaths:
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
