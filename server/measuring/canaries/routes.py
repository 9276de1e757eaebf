"""Runs of the golden model, board by board."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from server.access.auth import Permitted
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.provide import UowDep
from server.core.http.resources import Listing, ListQuery
from server.fleet.routes import DevicesDep
from server.measuring.canaries.store import CanaryStore
from server.measuring.schemas import CanaryResource

router = api_router("devices")


@router.get("/devices/{device_id:id}/canaries", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_canaries(
    device_id: Annotated[str, Path(examples=["dev_01jd3x5w8k2v7m4q9r6t1y0z3a"])],
    devices: DevicesDep,
    uow: UowDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[CanaryResource]:
    """Runs of the golden model on a board, newest first."""
    devices.get(device_id)
    at = paging.wanted(query)
    page = uow.read(lambda tx: CanaryStore(tx).page_of_canaries(device_id, at))
    return paging.listing(page, [CanaryResource.of(canary) for canary in page.items])
