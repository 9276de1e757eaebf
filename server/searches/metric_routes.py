"""The metrics that searches can be made of."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query

from nas_engine.domain.doors import Brought
from nas_engine.domain.metric import Goal, MetricDeclaration, MetricSource
from nas_engine.domain.metrics import all_metrics
from nas_engine.settings.metrics import metric_settings_schema
from server.access.auth import Permitted
from server.core.http.openapi import COMMON, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_types import INVALID_PAGE_TOKEN
from server.core.http.resources import Json, Listing, ListQuery, Resource

router = APIRouter(prefix="/api/v1", tags=["searches"])


class MetricResource(Resource):
    """A metric that candidates are judged by."""

    name: str
    """Name of the metric, as specs, filters and orders write it."""

    title: str
    """What it says, in one line for people."""

    unit: str
    """Unit of its values; empty for plain numbers."""

    goal: Goal
    """Direction in which values are better, unless a search says otherwise."""

    source: MetricSource
    """Where its values come from: the layer graph, an evaluation by a worker, or a measurement by a device."""

    searched: bool
    """Whether objectives and constraints may name it; others are reported at the end of a search alone."""

    minimum: float | None
    """Smallest value that it can have; null where there is no bound."""

    maximum: float | None
    """Largest value that it can have; null where there is no bound."""

    settings: Json
    """JSON Schema of its settings; null where it has none."""

    package: str
    """Package that declares it."""

    version: str
    """Version of that package on the server."""


@router.get("/metrics", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_metrics(paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]) -> Listing[MetricResource]:
    """List the metrics that there are, those of plug-ins included."""
    page = page_in_memory(list(all_metrics().brought.values()), lambda one: one.declaration.name, paging.wanted(query))
    return paging.listing(page, [_resource(one) for one in page.items])


def _resource(brought: Brought[MetricDeclaration]) -> MetricResource:
    one = brought.declaration
    return MetricResource.of(
        one,
        brought.provider,
        minimum=one.minimum if math.isfinite(one.minimum) else None,
        maximum=one.maximum if math.isfinite(one.maximum) else None,
        settings=metric_settings_schema(one.name),
    )
