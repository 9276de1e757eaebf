"""How the hypervolume of a search grew."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from server.access.auth import Permitted
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import NOT_FOUND
from server.core.http.provide import provided
from server.searches.fronts.fronts import Fronts
from server.searches.fronts.schemas import FrontObjectiveResource
from server.searches.history.schemas import HypervolumeQuery, HypervolumeResource

router = api_router("searches")
FrontsDep = Annotated[Fronts, provided(Fronts)]
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.get("/searches/{search_id:id}/hypervolume", responses=problems(*COMMON, NOT_FOUND))
def get_hypervolume_history(
    search_id: SearchId, fronts: FrontsDep, _: Permitted, query: Annotated[HypervolumeQuery, Query()]
) -> HypervolumeResource:
    """How the hypervolume of a search grew, evaluation by evaluation; also while it runs."""
    history = fronts.hypervolumes(search_id, query.max_points)
    objectives = [FrontObjectiveResource.of_objective(objective) for objective in history.objectives]
    return HypervolumeResource.of(history, search_id=history.search.id, objectives=objectives)
