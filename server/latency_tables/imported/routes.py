"""Imported cost tables: listed and read. They come as artifacts (`hilnas tables import`)."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Path, Query

from server.access.auth import Permitted
from server.access.schemas import OwnedListQuery
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.provide import provided
from server.core.http.resources import Listing
from server.latency_tables.imported.cost_tables import CostTable, CostTables
from server.latency_tables.imported.schemas import CostTableDetail, CostTableResource

T = TypeVar("T", bound=CostTableResource)
router = api_router("latency tables")
CostTablesDep = Annotated[CostTables, provided(CostTables)]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="sha256 of the table, lower-case hex.")]


@router.get("/cost-tables", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_cost_tables(
    cost_tables: CostTablesDep, paging: PagingDep, _: Permitted, query: Annotated[OwnedListQuery, Query()]
) -> Listing[CostTableResource]:
    """Tables of costs that were imported, newest first."""
    page = cost_tables.page(paging.wanted(query), query.owner)
    return paging.listing(page, [_resource(CostTableResource, one) for one in page.items])


@router.get("/cost-tables/{sha256}", responses=problems(*COMMON, NOT_FOUND))
def get_cost_table(sha256: Digest, cost_tables: CostTablesDep, _: Permitted) -> CostTableDetail:
    """An imported table with its costs."""
    return _resource(CostTableDetail, cost_tables.get(sha256))


def _resource(kind: type[T], found: CostTable) -> T:
    if found.table is None:
        nothing = dict.fromkeys(("space_id", "unit", "layout", "num_entries", "costs"))
        return kind.of(found, source="", **nothing)
    return kind.of(found, found.table)
