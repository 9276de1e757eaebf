"""Algorithms, metrics, kinds of data sets, and what installed packages bring."""

from __future__ import annotations

import math
from typing import Annotated, TypeVar

from fastapi import Query

from nas_engine.domain.metric import MetricDeclaration
from nas_engine.domain.metrics import all_metrics
from nas_engine.domain.plugins.doors import Provider
from nas_engine.settings.kinds.declared import settings_schema
from server.access.auth import Permitted
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_types import INVALID_PAGE_TOKEN
from server.core.http.resources import Listing, ListQuery
from server.plugins.kinds import PluginKind, algorithms, dataset_kinds_known, installed_plugins
from server.plugins.schemas import (
    AlgorithmResource,
    DatasetKindResource,
    MetricResource,
    PluginResource,
    ProvidedResource,
)

router = api_router("plug-ins")
R = TypeVar("R", bound=ProvidedResource)


@router.get("/algorithms", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_algorithms(
    paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[AlgorithmResource]:
    """List the search algorithms with the JSON schemas of their settings; what installed packages bring comes last."""
    page = page_in_memory(list(algorithms()), lambda kind: kind.name, paging.wanted(query))
    return paging.listing(page, [_resource(AlgorithmResource, kind) for kind in page.items])


@router.get("/dataset-kinds", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_dataset_kinds(
    paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[DatasetKindResource]:
    """List the kinds of data sets that the operator may register, with the JSON schemas of their settings."""
    page = page_in_memory(list(dataset_kinds_known()), lambda kind: kind.name, paging.wanted(query))
    return paging.listing(page, [_resource(DatasetKindResource, kind) for kind in page.items])


@router.get("/metrics", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_metrics(paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]) -> Listing[MetricResource]:
    """List the metrics that there are with the JSON schemas of their settings; what packages bring comes last."""
    page = page_in_memory(list(all_metrics().brought.values()), lambda one: one.declaration.name, paging.wanted(query))
    return paging.listing(page, [_metric(one.declaration, one.provider) for one in page.items])


@router.get("/plugins", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_plugins(paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]) -> Listing[PluginResource]:
    """List what installed packages bring, with the reason for what cannot be used; restart after installing any."""
    page = page_in_memory(
        list(installed_plugins()), lambda found: f"{found.door.value}:{found.name}", paging.wanted(query)
    )
    items = [
        PluginResource.of(found, found.provider, door=found.door.value, problem=found.problem or None)
        for found in page.items
    ]
    return paging.listing(page, items)


def _resource(resource: type[R], kind: PluginKind) -> R:
    return resource.of(kind, kind.provider, **kind.facts)


def _metric(one: MetricDeclaration, provider: Provider) -> MetricResource:
    return MetricResource.of(
        one,
        provider,
        minimum=one.minimum if math.isfinite(one.minimum) else None,
        maximum=one.maximum if math.isfinite(one.maximum) else None,
        settings_schema=settings_schema(one),
    )
