"""Latency tables and their reports: ordered, and read while and after they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import LABELS_FIT, Permitted, check_priority
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.access.schemas import OwnedListQuery
from server.core.database.transaction import UnitOfWork
from server.core.errors import NotFoundError
from server.core.http.exports import EXPORTS, Column, csv_response, ndjson_response
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_SEARCH_SPEC,
    INVALID_STATE_TRANSITION,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import UowDep, provided
from server.core.http.requests import CSV, JSON, NDJSON, JsonDocument, preferred
from server.core.http.resources import Listing
from server.core.idempotency import StoredResponse
from server.fleet.takers import takers_of_spec
from server.latency_tables.batch import Batch, BatchState
from server.latency_tables.batches import Batches
from server.latency_tables.cost_reports import CostReport, CostReports
from server.latency_tables.keeper import BatchKeeper
from server.latency_tables.latency_tables import LatencyTables, MeasuredTable
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

T = TypeVar("T", bound=LatencyTableResource)
R = TypeVar("R", bound=CostReportResource)
router = api_router("latency tables", dependencies=[LABELS_FIT])
LatencyTablesDep = Annotated[LatencyTables, provided(LatencyTables)]
BatchesDep = Annotated[Batches, provided(Batches)]
KeeperDep = Annotated[BatchKeeper, provided(BatchKeeper)]
CostReportsDep = Annotated[CostReports, provided(CostReports)]
_STEER = problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION)
TableId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
ReportId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3b"])]


class Steering:
    """What pauses, resumes and cancels tables and reports; asked for by the routes that do."""

    def __init__(
        self, latency_tables: LatencyTablesDep, cost_reports: CostReportsDep, batches: BatchesDep, keeper: KeeperDep
    ) -> None:
        self._tables = latency_tables
        self._reports = cost_reports
        self._keeper = keeper
        self.batches = batches

    def pause(self, batch_id: str) -> None:
        """Give out no more jobs of a batch."""
        self.batches.pause(batch_id)

    def cancel(self, batch_id: str) -> None:
        """Stop a batch."""
        self.batches.cancel(batch_id)

    def resume(self, batch_id: str) -> None:
        """Go on with a batch."""
        self._keeper.resume(self.batches, batch_id)

    def table(self, table_id: str, change: Callable[[str], object]) -> StoredResponse:
        """Change a table; answers how it stands then. Raises NotFoundError."""
        self._tables.get(table_id)
        change(table_id)
        return stored_response(202, _table_detail(self._tables.get(table_id)))

    def report(self, table_id: str, report_id: str, change: Callable[[str], object]) -> StoredResponse:
        """Change a report; answers how it stands then. Raises NotFoundError."""
        self._reports.get(table_id, report_id)
        change(report_id)
        return stored_response(202, _report_detail(self._reports.get(table_id, report_id)))


SteeringDep = Annotated[Steering, Depends()]


@router.post(
    "/latency-tables",
    status_code=202,
    response_model=LatencyTableDetail,
    openapi_extra=json_body(LatencyTableSpec),
    responses=problems(*COMMON, *ONCE, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_latency_table(document: JsonDocument, latency_tables: LatencyTablesDep, once: PermittedOnce) -> Response:
    """Measure every operator of a space on a device; what is known already is not measured again."""

    def action() -> StoredResponse:
        spec = parse_latency_table_spec(document)
        check_priority(once.caller, spec.priority)
        table = latency_tables.create(spec, once.caller.creator)
        return stored_response(202, _table_detail(table), {"Location": f"/api/v1/latency-tables/{table.batch.id}"})

    return once(action)


@router.get("/latency-tables", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_latency_tables(
    latency_tables: LatencyTablesDep, paging: PagingDep, _: Permitted, query: Annotated[OwnedListQuery, Query()]
) -> Listing[LatencyTableResource]:
    """Latency tables, newest first."""
    page = latency_tables.page(paging.wanted(query), query.owner)
    return paging.listing(page, [_table(LatencyTableResource, one) for one in page.items])


@router.get(
    "/latency-tables/{table_id:id}",
    response_model=LatencyTableDetail,
    responses={**EXPORTS, **problems(*COMMON, NOT_FOUND, NOT_ACCEPTABLE)},
)
def get_latency_table(
    table_id: TableId, request: Request, latency_tables: LatencyTablesDep, uow: UowDep, _: Permitted
) -> Response:
    """A latency table as it stands; with Accept text/csv or application/x-ndjson its rows."""
    table = latency_tables.get(table_id)
    detail = _table_detail(table, _waiting_for(uow, table.batch))
    match preferred(request, JSON, CSV, NDJSON):
        case "text/csv":
            return csv_response(_TABLE_COLUMNS, iter(detail.rows))
        case "application/x-ndjson":
            return ndjson_response(iter(detail.rows))
        case _:
            return Response(detail.model_dump_json(), media_type=JSON)


@router.post(
    "/latency-tables/{table_id:id}:pause", status_code=202, response_model=LatencyTableDetail, responses=_STEER
)
def pause_latency_table(table_id: TableId, steering: SteeringDep, once: PermittedOnce) -> Response:
    """Give out no more of a table's measuring jobs; what a board holds goes on."""
    return once(lambda: steering.table(table_id, steering.pause))


@router.post(
    "/latency-tables/{table_id:id}:resume", status_code=202, response_model=LatencyTableDetail, responses=_STEER
)
def resume_latency_table(table_id: TableId, steering: SteeringDep, once: PermittedOnce) -> Response:
    """Go on where a pause stopped."""
    return once(lambda: steering.table(table_id, steering.resume))


@router.post(
    "/latency-tables/{table_id:id}:cancel", status_code=202, response_model=LatencyTableDetail, responses=_STEER
)
def cancel_latency_table(table_id: TableId, steering: SteeringDep, once: PermittedOnce) -> Response:
    """Measure no more of a table's operators; what was measured stays."""
    return once(lambda: steering.table(table_id, steering.cancel))


@router.post(
    "/latency-tables/{table_id:id}/reports/{report_id:id}:pause",
    status_code=202,
    response_model=CostReportDetail,
    responses=_STEER,
)
def pause_cost_report(table_id: TableId, report_id: ReportId, steering: SteeringDep, once: PermittedOnce) -> Response:
    """Give out no more of a report's measuring jobs; what a board holds goes on."""
    return once(lambda: steering.report(table_id, report_id, steering.pause))


@router.post(
    "/latency-tables/{table_id:id}/reports/{report_id:id}:resume",
    status_code=202,
    response_model=CostReportDetail,
    responses=_STEER,
)
def resume_cost_report(table_id: TableId, report_id: ReportId, steering: SteeringDep, once: PermittedOnce) -> Response:
    """Go on where a pause stopped."""
    return once(lambda: steering.report(table_id, report_id, steering.resume))


@router.post(
    "/latency-tables/{table_id:id}/reports/{report_id:id}:cancel",
    status_code=202,
    response_model=CostReportDetail,
    responses=_STEER,
)
def cancel_cost_report(table_id: TableId, report_id: ReportId, steering: SteeringDep, once: PermittedOnce) -> Response:
    """Measure no more of a report's networks; what was measured stays."""
    return once(lambda: steering.report(table_id, report_id, steering.cancel))


@router.post(
    "/latency-tables/{table_id:id}/reports",
    status_code=202,
    response_model=CostReportDetail,
    openapi_extra=json_body(CostReportSpec),
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_cost_report(
    table_id: TableId, document: JsonDocument, cost_reports: CostReportsDep, once: PermittedOnce
) -> Response:
    """Measure sampled networks end to end, to compare with what the table says of them."""

    def action() -> StoredResponse:
        spec = parse_cost_report_spec(document)
        check_priority(once.caller, spec.priority)
        report = cost_reports.create(table_id, spec, once.caller.creator)
        location = f"/api/v1/latency-tables/{table_id}/reports/{report.batch.id}"
        return stored_response(202, _report_detail(report), {"Location": location})

    return once(action)


@router.get("/latency-tables/{table_id:id}/reports", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_cost_reports(
    table_id: TableId,
    cost_reports: CostReportsDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[OwnedListQuery, Query()],
) -> Listing[CostReportResource]:
    """Reports of a table, newest first."""
    page = cost_reports.page(table_id, paging.wanted(query), query.owner)
    return paging.listing(page, [_report(CostReportResource, one) for one in page.items])


@router.get(
    "/latency-tables/{table_id:id}/reports/{report_id:id}",
    response_model=CostReportDetail,
    responses={**EXPORTS, **problems(*COMMON, NOT_FOUND, NOT_ACCEPTABLE)},
)
def get_cost_report(
    table_id: TableId, report_id: ReportId, request: Request, cost_reports: CostReportsDep, uow: UowDep, _: Permitted
) -> Response:
    """A report as it stands; with Accept text/csv or application/x-ndjson its networks."""
    report = cost_reports.get(table_id, report_id)
    detail = _report_detail(report, _waiting_for(uow, report.batch))
    match preferred(request, JSON, CSV, NDJSON):
        case "text/csv":
            return csv_response(_REPORT_COLUMNS, iter(detail.rows))
        case "application/x-ndjson":
            return ndjson_response(iter(detail.rows))
        case _:
            return Response(detail.model_dump_json(), media_type=JSON)


def batch_path(batch: Batch) -> str:
    """Where a table or report is read."""
    if batch.sampling is None:
        return f"/api/v1/latency-tables/{batch.id}"
    return f"/api/v1/latency-tables/{batch.sampling.table_id}/reports/{batch.id}"


def _table(kind: type[T], batch: Batch, **members: object) -> T:
    return kind.of(
        batch,
        batch.spec,
        space_id=batch.spec.space.id,
        batch=batch.batch_size,
        dtype=batch.spec.device.dtype,
        num_operators=batch.num_entries,
        **members,
    )


def _waiting_for(uow: UnitOfWork, batch: Batch) -> str:
    """What the measurements of a batch under way wait for; empty where there is nothing to say."""
    if batch.state is not BatchState.RUNNING:
        return ""
    return uow.read(lambda tx: takers_of_spec(tx, batch.spec.device, batch.hardware_key, batch.owner)).waiting_for


def _table_detail(table: MeasuredTable, waiting_for: str = "") -> LatencyTableDetail:
    rows = [LatencyTableRowResource.of(row.entry, label=row.label) for row in table.rows]
    return _table(LatencyTableDetail, table.batch, rows=rows, waiting_for=waiting_for)


def _report(kind: type[R], batch: Batch, **members: object) -> R:
    if batch.sampling is None:
        raise NotFoundError("report", batch.id)
    return kind.of(batch, batch.sampling, batch.spec, **members)


def _report_detail(report: CostReport, waiting_for: str = "") -> CostReportDetail:
    rows = [
        CostReportRowResource.of(entry, candidate_id=entry.id, arch_id=entry.arch_id or "") for entry in report.entries
    ]
    members = {"agreements": report.agreements, "rows": rows, "waiting_for": waiting_for}
    return _report(CostReportDetail, report.batch, **members)


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
