"""Latency tables and their reports as documents of the API."""

from __future__ import annotations

from nas_engine.settings.algorithms import CostReportSettings
from server.candidates.search import Search
from server.core.errors import NotFoundError
from server.latency_tables.cost_reports import CostReport, ReportRow
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


def table_resource(search: Search) -> LatencyTableResource:
    """A table without its rows, from the search that measures it."""
    device = search.spec.device
    if device is None:
        raise NotFoundError("latency table", search.id)
    return LatencyTableResource(
        id=search.id,
        name=search.spec.name,
        state=search.state,
        reason=search.reason,
        space_id=str(search.spec.space.parameters["space"]),
        hardware_key=search.hardware_key,
        batch=device.batch,
        dtype=device.dtype,
        num_operators=search.spec.budget.num_candidates,
        num_measured=search.progress.num_complete,
        created_at=search.created_at,
    )


def table_detail(table: MeasuredTable) -> LatencyTableDetail:
    """A table with its rows."""
    rows = [_table_row(row) for row in table.rows]
    counts = {"num_operators": table.num_operators, "num_measured": sum(row.latency_us is not None for row in rows)}
    return LatencyTableDetail(**{**table_resource(table.search).model_dump(), **counts}, rows=rows)


def report_resource(search: Search) -> CostReportResource:
    """A report without its rows, from the search that measures its networks."""
    algorithm = search.spec.algorithm
    if not isinstance(algorithm, CostReportSettings):
        raise NotFoundError("report", search.id)
    return CostReportResource(
        id=search.id,
        table_id=algorithm.latency_table,
        name=search.spec.name,
        state=search.state,
        reason=search.reason,
        seed=search.spec.seed,
        logit_std=algorithm.logit_std,
        num_networks=search.spec.budget.num_candidates,
        num_measured=search.progress.num_complete,
        created_at=search.created_at,
    )


def report_detail(report: CostReport) -> CostReportDetail:
    """A report with its figures and rows."""
    return CostReportDetail(
        **report_resource(report.search).model_dump(),
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
        rows=[_report_row(row) for row in report.rows],
    )


def _table_row(row: TableRow) -> LatencyTableRowResource:
    return LatencyTableRowResource(
        latency_key=row.candidate.latency_key or "",
        label=row.label,
        state=row.candidate.state,
        latency_us=row.candidate.latency_us,
        flags=[flag.value for flag in row.candidate.latency_flags],
    )


def _report_row(row: ReportRow) -> CostReportRowResource:
    return CostReportRowResource(
        candidate_id=row.candidate.id,
        arch_id=row.candidate.arch_id,
        state=row.candidate.state,
        estimates_us=dict(row.estimates_us),
        missing=row.missing,
        latency_us=row.candidate.latency_us,
        flags=[flag.value for flag in row.candidate.latency_flags],
    )
