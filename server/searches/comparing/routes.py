"""Comparing searches."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from nas_engine.domain.uncertainty import Interval
from server.access.auth import Permitted
from server.candidates.candidate import Candidate
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import NOT_FOUND
from server.core.http.provide import provided
from server.core.http.resources import interval_resource
from server.searches.answers.answer import intervals_of
from server.searches.comparing.comparison import ComparedFront, Comparisons
from server.searches.comparing.schemas import (
    ComparedPointResource,
    ComparedSearchResource,
    ComparisonQuery,
    ComparisonResource,
)
from server.searches.fronts.schemas import FrontObjectiveResource

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
        points=[_point(one, point, on_joint_front=point.id in joint) for point in front.points],
    )


def _point(one: ComparedFront, point: Candidate, *, on_joint_front: bool) -> ComparedPointResource:
    front, known = one.front, intervals_of(point, one.latencies.get(point.id, {}))
    # In a search that shifts these are accuracies of one version of the weights, which may not be its own any more.
    values = front.values(point)
    errors = [point.current[objective.metric].uncertainty for objective in front.objectives]
    intervals = [
        own if (own := known[objective.metric]).value == value else Interval.of_error(value, error)
        for objective, value, error in zip(front.objectives, values, errors, strict=True)
    ]
    return ComparedPointResource(
        candidate_id=point.id,
        short_id=point.short_id,
        values=list(values),
        uncertainties=errors,
        intervals=[
            interval_resource(interval, objective.metric.unit)
            for interval, objective in zip(intervals, front.objectives, strict=True)
        ],
        on_joint_front=on_joint_front,
    )
