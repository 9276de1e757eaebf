"""Search spaces and data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.errors import EngineError, InvalidSpaceError, collected_warnings
from nas_engine.domain.metric import Metric
from nas_engine.domain.plugins.doors import Provider
from server.access.auth import Permitted
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.core.errors import NotFoundError
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_handlers import architecture_problem
from server.core.http.problem_types import CONFLICT, INVALID_ARCHITECTURE, INVALID_PAGE_TOKEN, INVALID_TABLE, NOT_FOUND
from server.core.http.problems import Problem
from server.core.http.provide import provided
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.spaces.architecture import ArchitectureRecord, KnownValue
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.descriptions import DatasetDescription, SpaceDescription
from server.spaces.result_tables import TABLE_SPACE, SpaceTables
from server.spaces.schemas import (
    DatasetResource,
    DecodeBody,
    DecodedResource,
    NamedArchitectureResource,
    NewSpaceBody,
    RowValueResource,
    SpaceDetail,
    SpaceResource,
)

router = api_router("search spaces")
S = TypeVar("S", bound=SpaceResource)
OUTSIDE_NOTE = "outside the space's own choices: it decodes, but it is no genotype of the space"
TABLE_NOTE = "the space is a table of results: its architectures cannot be drawn, exported or measured"
NO_ROW_NOTE = "the table has no row for this genotype: a search never asks it"
SpaceCatalogDep = Annotated[SpaceCatalog, provided(SpaceCatalog)]
SpaceTablesDep = Annotated[SpaceTables, provided(SpaceTables)]
DatasetCatalogDep = Annotated[DatasetCatalog, provided(DatasetCatalog)]
SpaceId = Annotated[str, Path(description="Id of the search space, as lists name it.", examples=["spos"])]


@router.get("/search-spaces", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_search_spaces(
    paging: PagingDep, spaces: SpaceCatalogDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[SpaceResource]:
    """List every search space with its published parameters; registered tables of results come last."""
    wanted = paging.wanted(query)
    page = page_in_memory(list(spaces.space_ids()), str, wanted)
    items = [_space(SpaceResource, spaces.describe(space_id, {})) for space_id in page.items]
    return paging.listing(page, items)


@router.post(
    "/search-spaces",
    status_code=201,
    response_model=SpaceDetail,
    responses={
        200: {"model": SpaceDetail, "description": "It was registered already."},
        **problems(*COMMON, *ONCE, CONFLICT, INVALID_TABLE),
    },
)
def register_table(
    body: NewSpaceBody, spaces: SpaceCatalogDep, tables: SpaceTablesDep, once: PermittedOnce
) -> Response:
    """Register an uploaded table of results as a search space: its accuracies and costs are looked up, never measured.

    Searches in it need no supernet and no device. Registering the same table under the same id changes nothing.
    """

    # Read before the transaction begins: a large table takes a while, and is kept then.
    try:
        spaces.describe(TABLE_SPACE, {"sha256": body.sha256})
    except InvalidSpaceError as error:
        raise Problem(INVALID_TABLE, str(error)) from error

    def action() -> StoredResponse:
        space, is_new = tables.register(body.id, body.sha256, spaces, once.caller.creator)
        headers = {"Location": f"/api/v1/search-spaces/{body.id}"}
        return stored_response(201 if is_new else 200, _space(SpaceDetail, space), headers)

    return once(action)


@router.get(
    "/search-spaces/{space_id:id}",
    response_model=SpaceDetail,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_search_space(space_id: SpaceId, request: Request, spaces: SpaceCatalogDep, _: Permitted) -> Response:
    """Read one search space: parameters, genes, published models."""
    if space_id not in spaces.space_ids():
        raise NotFoundError("search space", space_id)
    return tagged(request, _space(SpaceDetail, spaces.describe(space_id, {})))


@router.post(
    "/search-spaces/{space_id:id}:decode",
    responses=problems(*COMMON, NOT_FOUND, INVALID_ARCHITECTURE),
)
def decode_architecture(space_id: SpaceId, body: DecodeBody, spaces: SpaceCatalogDep, _: Permitted) -> DecodedResource:
    """Decode an architecture and count what it costs: MACs, parameters, layers, picture. Asks no board."""
    if not spaces.knows(space_id):
        raise NotFoundError("search space", space_id)
    try:
        space = spaces.describe(space_id, body.parameters)
        with collected_warnings() as warned:
            record = spaces.record(space_id, body.parameters, body.architecture)
        layers = spaces.layers(record.architecture) if body.include_layers and space.has_graphs else None
        svg = spaces.picture_svg(record.architecture) if body.include_svg and space.has_graphs else None
        row = None
        if not space.has_graphs and record.genotype is not None:
            row = spaces.known_values(space_id, body.parameters, record.genotype)
    except EngineError as error:
        raise architecture_problem(error) from error
    return DecodedResource.of(
        record,
        space,
        **DecodedResource.of_metrics(record.values),
        space=space.id,
        architecture=record.architecture.choices_value(),
        input_shape=spaces.input_shape(record.architecture),
        layers=layers,
        svg=svg,
        note="; ".join([*warned, *_notes(record, space, row)]) or None,
        row={metric.name: RowValueResource.of(known) for metric, known in row.items()} if row else None,
    )


@router.get("/datasets", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_datasets(
    paging: PagingDep, datasets: DatasetCatalogDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[DatasetResource]:
    """List the data sets that supernets can be trained on; the operator registers them on the server."""
    wanted = paging.wanted(query)
    page = page_in_memory(datasets.all(), lambda dataset: dataset.name, wanted)
    return paging.listing(page, [_dataset(d) for d in page.items])


def _space(kind: type[S], space: SpaceDescription) -> S:
    named = [NamedArchitectureResource(name=name, source=source) for name, source in space.named.items()]
    package = {} if space.provider is None else _package(space.provider)
    return kind.of(space, num_genes=len(space.genes), named=named, **package)


def _package(provider: Provider) -> dict[str, str]:
    return {"package": provider.package, "package_version": provider.version}


def _dataset(dataset: DatasetDescription) -> DatasetResource:
    return DatasetResource.of(
        dataset,
        num_train_images=dataset.num_train,
        num_validation_images=dataset.num_validation,
        num_test_images=dataset.num_test,
        **_package(dataset.provider),
    )


def _notes(record: ArchitectureRecord, space: SpaceDescription, row: Mapping[Metric, KnownValue] | None) -> list[str]:
    if not space.has_graphs:
        return [TABLE_NOTE] if row else [NO_ROW_NOTE, TABLE_NOTE]
    return [OUTSIDE_NOTE] if record.genotype is None else []
