"""Latency tables and their reports: ordered, and read while and after they are measured."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import Viewer
from server.access.idempotency import ONCE, EngineerOnce, stored_response
from server.core.http.exports import EXPORTS, Column, csv_response, ndjson_response
from server.core.http.openapi import COMMON, json_body, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_SEARCH_SPEC,
    INVALID_STATE_TRANSITION,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import provided
from server.core.http.requests import CSV, JSON, NDJSON, JsonDocument, preferred
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.latency_tables.batches import Batches
from server.latency_tables.cost_reports import CostReports
from server.latency_tables.latency_tables import LatencyTables
from server.latency_tables.presenter import report_detail, report_resource, table_detail, table_resource
from server.latency_tables.schemas import (
    CostReportDetail,
    CostReportResource,
    CostReportRowResource,
    LatencyTableDetail,
    LatencyTableResource,
    LatencyTableRowResource,
)
from server.latency_tables.spec import (
    CostReportSpec,
    LatencyTableSpec,
    parse_cost_report_spec,
    parse_latency_table_spec,
)

router = APIRouter(prefix="/api/v1", tags=["latency tables"])
LatencyTablesDep = Annotated[LatencyTables, provided(LatencyTables)]
BatchesDep = Annotated[Batches, provided(Batches)]
CostReportsDep = Annotated[CostReports, provided(CostReports)]
TableId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
ReportId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3b"])]


@router.post(
    "/latency-tables",
    status_code=202,
    response_model=LatencyTableDetail,
    openapi_extra=json_body(LatencyTableSpec),
    responses=problems(*COMMON, *ONCE, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_latency_table(document: JsonDocument, latency_tables: LatencyTablesDep, once: EngineerOnce) -> Response:
    """Measure every operator of a space on a device; what is known already is not measured again."""

    def action() -> StoredResponse:
        table = latency_tables.create(parse_latency_table_spec(document), once.caller.created_by)
        return stored_response(202, table_detail(table), {"Location": f"/api/v1/latency-tables/{table.batch.id}"})

    return once(action)


@router.get("/latency-tables", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_latency_tables(
    latency_tables: LatencyTablesDep, paging: PagingDep, _: Viewer, query: Annotated[ListQuery, Query()]
) -> Listing[LatencyTableResource]:
    """Latency tables, newest first."""
    page = latency_tables.page(paging.wanted(query))
    return paging.listing(page, [table_resource(one) for one in page.items])


@router.get(
    "/latency-tables/{table_id:id}",
    response_model=LatencyTableDetail,
    responses={**EXPORTS, **problems(*COMMON, NOT_FOUND, NOT_ACCEPTABLE)},
)
def get_latency_table(table_id: TableId, request: Request, latency_tables: LatencyTablesDep, _: Viewer) -> Response:
    """A latency table as it stands; with Accept text/csv or application/x-ndjson its rows."""
    detail = table_detail(latency_tables.get(table_id))
    match preferred(request, JSON, CSV, NDJSON):
        case "text/csv":
            return csv_response(_TABLE_COLUMNS, iter(detail.rows))
        case "application/x-ndjson":
            return ndjson_response(iter(detail.rows))
        case _:
            return Response(detail.model_dump_json(), media_type=JSON)


@router.post(
    "/latency-tables/{table_id:id}:cancel",
    response_model=LatencyTableDetail,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION),
)
def cancel_latency_table(
    table_id: TableId, latency_tables: LatencyTablesDep, batches: BatchesDep, once: EngineerOnce
) -> Response:
    """Measure no more of a table's operators; what was measured stays."""

    def action() -> StoredResponse:
        latency_tables.get(table_id)
        batches.cancel(table_id)
        return stored_response(200, table_detail(latency_tables.get(table_id)))

    return once(action)


@router.post(
    "/latency-tables/{table_id:id}/reports/{report_id:id}:cancel",
    response_model=CostReportDetail,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION),
)
def cancel_cost_report(
    table_id: TableId, report_id: ReportId, cost_reports: CostReportsDep, batches: BatchesDep, once: EngineerOnce
) -> Response:
    """Measure no more of a report's networks; what was measured stays."""

    def action() -> StoredResponse:
        cost_reports.get(table_id, report_id)
        batches.cancel(report_id)
        return stored_response(200, report_detail(cost_reports.get(table_id, report_id)))

    return once(action)


@router.post(
    "/latency-tables/{table_id:id}/reports",
    status_code=202,
    response_model=CostReportDetail,
    openapi_extra=json_body(CostReportSpec),
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_cost_report(
    table_id: TableId, document: JsonDocument, cost_reports: CostReportsDep, once: EngineerOnce
) -> Response:
    """Measure sampled networks end to end, to compare with what the table says of them."""

    def action() -> StoredResponse:
        report = cost_reports.create(table_id, parse_cost_report_spec(document), once.caller.created_by)
        location = f"/api/v1/latency-tables/{table_id}/reports/{report.batch.id}"
        return stored_response(202, report_detail(report), {"Location": location})

    return once(action)


@router.get("/latency-tables/{table_id:id}/reports", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_cost_reports(
    table_id: TableId,
    cost_reports: CostReportsDep,
    paging: PagingDep,
    _: Viewer,
    query: Annotated[ListQuery, Query()],
) -> Listing[CostReportResource]:
    """Reports of a table, newest first."""
    page = cost_reports.page(table_id, paging.wanted(query))
    return paging.listing(page, [report_resource(one) for one in page.items])


@router.get(
    "/latency-tables/{table_id:id}/reports/{report_id:id}",
    response_model=CostReportDetail,
    responses={**EXPORTS, **problems(*COMMON, NOT_FOUND, NOT_ACCEPTABLE)},
)
def get_cost_report(
    table_id: TableId, report_id: ReportId, request: Request, cost_reports: CostReportsDep, _: Viewer
) -> Response:
    """A report as it stands; with Accept text/csv or application/x-ndjson its networks."""
    detail = report_detail(cost_reports.get(table_id, report_id))
    match preferred(request, JSON, CSV, NDJSON):
        case "text/csv":
            return csv_response(_REPORT_COLUMNS, iter(detail.rows))
        case "application/x-ndjson":
            return ndjson_response(iter(detail.rows))
        case _:
            return Response(detail.model_dump_json(), media_type=JSON)


_TABLE_COLUMNS: tuple[Column[LatencyTableRowResource], ...] = (
    ("latency_key", lambda row: row.latency_key),
    ("label", lambda row: row.label),
    ("state", lambda row: row.state.value),
    ("latency_us", lambda row: row.latency_us),
    ("flags", lambda row: " ".join(row.flags)),
)
_REPORT_COLUMNS: tuple[Column[CostReportRowResource], ...] = (
    ("candidate_id", lambda row: row.candidate_id),
    ("arch_id", lambda row: row.arch_id),
    ("state", lambda row: row.state.value),
    ("chained_us", lambda row: row.estimates_us.get("chained")),
    ("local_us", lambda row: row.estimates_us.get("local")),
    ("operators_us", lambda row: row.estimates_us.get("operators")),
    ("latency_us", lambda row: row.latency_us),
    ("flags", lambda row: " ".join(row.flags)),
    ("missing", lambda row: row.missing),
)
