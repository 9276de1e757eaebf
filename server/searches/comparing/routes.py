"""Comparing searches."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from server.access.auth import Permitted
from server.candidates.candidate import Candidate
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import NOT_FOUND
from server.core.http.provide import provided
from server.searches.candidate_schemas import FrontObjectiveResource
from server.searches.comparing.comparison import ComparedFront, Comparisons
from server.searches.comparing.schemas import (
    ComparedPointResource,
    ComparedSearchResource,
    ComparisonQuery,
    ComparisonResource,
)
from server.searches.fronts import Front

router = api_router("searches")
ComparisonsDep = Annotated[Comparisons, provided(Comparisons)]


@router.get("/searches:compare", responses=problems(*COMMON, NOT_FOUND))
def compare_searches(
    comparisons: ComparisonsDep, _: Permitted, query: Annotated[ComparisonQuery, Query()]
) -> ComparisonResource:
    """Compare the fronts of several searches with the same objectives: one reference point, and what each adds.

    Latencies must be of one hardware key.
    """
    found = comparisons.of_searches(query.search_id)
    return ComparisonResource(
        objectives=[FrontObjectiveResource.of_objective(objective) for objective in found.objectives],
        reference_point=None if found.reference_point is None else list(found.reference_point),
        hypervolume=found.hypervolume,
        searches=[_search(one) for one in found.fronts],
    )


def _search(one: ComparedFront) -> ComparedSearchResource:
    front, joint = one.front, {point.id for point in one.on_joint_front}
    return ComparedSearchResource(
        search_id=front.search.id,
        short_id=front.search.short_id,
        name=front.search.spec.name,
        state=front.search.state,
        num_complete=front.num_complete,
        front_size=len(front.points),
        hypervolume=one.hypervolume,
        share=one.share,
        num_on_joint_front=len(joint),
        points=[_point(front, point, on_joint_front=point.id in joint) for point in front.points],
    )


def _point(front: Front, point: Candidate, *, on_joint_front: bool) -> ComparedPointResource:
    return ComparedPointResource(
        candidate_id=point.id,
        short_id=point.short_id,
        values=list(front.values(point)),
        uncertainties=[point.current[one.metric].uncertainty for one in front.objectives],
        on_joint_front=on_joint_front,
    )
