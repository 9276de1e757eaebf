"""Latency tables: ordered, and read while and after they are measured."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from server.api.auth import Viewer
from server.api.context import Context
from server.api.idempotency import ONCE, EngineerOnce, stored_response
from server.api.openapi import COMMON, json_body, problems
from server.api.problem_types import INVALID_SEARCH_SPEC, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE
from server.api.schemas.latency_tables import LatencyTableResource, LatencyTableRowResource
from server.api.specs import JsonDocument
from server.service.latency_tables import LatencyTableSpec, MeasuredTable, parse_latency_table_spec
from server.service.values.token import StoredResponse

router = APIRouter(prefix="/api/v1", tags=["latency tables"])
TableId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.post(
    "/latency-tables",
    status_code=202,
    response_model=LatencyTableResource,
    openapi_extra=json_body(LatencyTableSpec),
    responses=problems(*COMMON, *ONCE, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_latency_table(document: JsonDocument, context: Context, once: EngineerOnce) -> Response:
    """Measure every operator of a space on a device; what is known already is not measured again."""

    def action() -> StoredResponse:
        search = context.latency_tables.create(parse_latency_table_spec(document), once.caller.created_by)
        table = context.latency_tables.get(search.id)
        return stored_response(202, _resource(table), {"Location": f"/api/v1/latency-tables/{search.id}"})

    return once(action)


@router.get("/latency-tables/{table_id:id}", responses=problems(*COMMON, NOT_FOUND))
def get_latency_table(table_id: TableId, context: Context, _: Viewer) -> LatencyTableResource:
    """A latency table as it stands."""
    return _resource(context.latency_tables.get(table_id))


def _resource(table: MeasuredTable) -> LatencyTableResource:
    search = table.search
    rows = [
        LatencyTableRowResource(
            latency_key=row.candidate.latency_key or "",
            label=row.label,
            state=row.candidate.state,
            latency_us=row.candidate.latency_us,
            flags=[flag.value for flag in row.candidate.latency_flags],
        )
        for row in table.rows
    ]
    return LatencyTableResource(
        id=search.id,
        name=search.spec.name,
        state=search.state,
        reason=search.reason,
        space_id=table.space_id,
        hardware_key=search.hardware_key,
        batch=table.batch,
        dtype=table.dtype.value,
        num_operators=table.num_operators,
        num_measured=sum(row.latency_us is not None for row in rows),
        rows=rows,
    )
