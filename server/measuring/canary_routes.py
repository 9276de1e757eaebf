"""Canary runs of a device."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import Viewer
from server.bootstrap.http_context import Context
from server.core.http.listing import answer_page, page_request
from server.core.http.openapi import COMMON, problems
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.queries import ListQuery
from server.core.http.resources import Listing
from server.measuring.presenter import canary_resource
from server.measuring.schemas import CanaryResource

router = APIRouter(prefix="/api/v1", tags=["devices"])


@router.get("/devices/{device_id:id}/canaries", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_canaries(
    device_id: Annotated[str, Path(examples=["dev_01jd3x5w8k2v7m4q9r6t1y0z3a"])],
    request: Request,
    response: Response,
    context: Context,
    _: Viewer,
    query: Annotated[ListQuery, Query()],
) -> Listing[CanaryResource]:
    """Runs of the golden model on a board, newest first."""
    page = context.latencies.canaries(device_id, page_request(request, query, context.page_tokens))
    return answer_page(request, response, context.page_tokens, page, [canary_resource(c) for c in page.items])
