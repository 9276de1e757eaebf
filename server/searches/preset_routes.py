"""The papers' searches, ready to be launched."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from server.access.auth import Permitted
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.resources import Listing, ListQuery
from server.searches.presets import SEARCH_PRESETS, SearchPreset, search_preset
from server.searches.schemas import PresetNeedResource, SearchPresetResource

router = api_router("searches")
PresetName = Annotated[str, Path(examples=["spos-imagenet-evolution"])]


@router.get("/search-presets", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_search_presets(
    paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[SearchPresetResource]:
    """The papers' searches, by name."""
    wanted = paging.wanted(query)
    page = page_in_memory(list(SEARCH_PRESETS.values()), lambda preset: preset.name, wanted)
    return paging.listing(page, [_resource(preset) for preset in page.items])


@router.get("/search-presets/{name:id}", responses=problems(*COMMON, NOT_FOUND))
def get_search_preset(name: PresetName, _: Permitted) -> SearchPresetResource:
    """Read the spec of one search preset and what it needs."""
    return _resource(search_preset(name))


def _resource(preset: SearchPreset) -> SearchPresetResource:
    needs = [PresetNeedResource(pointer=pointer, meaning=meaning) for pointer, meaning in preset.needs]
    return SearchPresetResource.of(preset, needs=needs)
