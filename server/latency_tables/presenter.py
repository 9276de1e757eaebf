"""Latency tables and their reports as documents of the API."""

from __future__ import annotations

from server.candidates.states import CandidateState, SearchState
from server.core.errors import NotFoundError
from server.latency_tables.batch import Batch, BatchEntry
from server.latency_tables.cost_reports import CostReport
from server.latency_tables.latency_tables import MeasuredTable, TableRow
from server.latency_tables.schemas import (
    CostReportDetail,
    CostReportResource,
    CostReportRowResource,
    EstimateAgreementResource,
    LatencyTableDetail,
    LatencyTableResource,
    LatencyTableRowResource,
)


def batch_path(batch: Batch) -> str:
    """Where a table or report is read."""
    if batch.sampling is None:
        return f"/api/v1/latency-tables/{batch.id}"
    return f"/api/v1/latency-tables/{batch.sampling.table_id}/reports/{batch.id}"


def table_resource(batch: Batch) -> LatencyTableResource:
    """A table without its rows; on the wire its states are those of searches."""
    return LatencyTableResource(
        id=batch.id,
        name=batch.spec.name,
        state=SearchState(batch.state.value),
        reason=batch.reason,
        space_id=batch.spec.space.id,
        hardware_key=batch.hardware_key,
        batch=batch.batch_size,
        dtype=batch.spec.device.dtype,
        num_operators=batch.num_entries,
        num_measured=batch.num_measured,
        created_at=batch.created_at,
    )


def table_detail(table: MeasuredTable) -> LatencyTableDetail:
    """A table with its rows."""
    rows = [_table_row(row) for row in table.rows]
    return LatencyTableDetail(**table_resource(table.batch).model_dump(), rows=rows)


def report_resource(batch: Batch) -> CostReportResource:
    """A report without its rows; on the wire its states are those of searches."""
    if batch.sampling is None:
        raise NotFoundError("report", batch.id)
    return CostReportResource(
        id=batch.id,
        table_id=batch.sampling.table_id,
        name=batch.spec.name,
        state=SearchState(batch.state.value),
        reason=batch.reason,
        seed=batch.sampling.seed,
        logit_std=batch.sampling.logit_std,
        num_networks=batch.sampling.num_networks,
        num_measured=batch.num_measured,
        created_at=batch.created_at,
    )


def report_detail(report: CostReport) -> CostReportDetail:
    """A report with its figures and rows."""
    return CostReportDetail(
        **report_resource(report.batch).model_dump(),
        agreements=[
            EstimateAgreementResource(
                estimator=found.estimator,
                num_networks=found.num_networks,
                kendall_tau=found.kendall_tau,
                mean_absolute_error_us=found.mean_absolute_error_us,
                mean_relative_error=found.mean_relative_error,
                mean_error_us=found.mean_error_us,
            )
            for found in report.agreements
        ],
        rows=[_report_row(entry) for entry in report.entries],
    )


def _table_row(row: TableRow) -> LatencyTableRowResource:
    return LatencyTableRowResource(
        latency_key=row.entry.latency_key,
        label=row.label,
        state=CandidateState(row.entry.state.value),
        latency_us=row.entry.latency_us,
        flags=[flag.value for flag in row.entry.flags],
    )


def _report_row(entry: BatchEntry) -> CostReportRowResource:
    return CostReportRowResource(
        candidate_id=entry.id,
        arch_id=entry.arch_id or "",
        state=CandidateState(entry.state.value),
        estimates_us=dict(entry.estimates_us),
        missing=entry.missing,
        latency_us=entry.latency_us,
        flags=[flag.value for flag in entry.flags],
    )
