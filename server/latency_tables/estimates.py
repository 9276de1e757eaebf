"""Latency estimates from a table, compared with what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_engine.cost.estimate_quality import compare_estimators
from nas_engine.cost.latency_table import LatencyTable, TableEntry
from server.latency_tables.latency_tables import MeasuredTable


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateAgreement:
    """How well one estimator agrees with what was measured.

    Attributes:
        num_networks: how many were compared.
        kendall_tau: tau-b of estimates and measurements; None where all of one of them are equal.
        mean_relative_error: mean of |estimate - measured| / measured.
        mean_error_us: mean of estimate - measured; positive where the estimator is too high.
    """

    estimator: str
    num_networks: int
    kendall_tau: float | None
    mean_absolute_error_us: float
    mean_relative_error: float
    mean_error_us: float


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
