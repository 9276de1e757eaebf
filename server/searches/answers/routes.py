"""The answer of a search: which network to ship."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.objective import Constraint
from server.access.auth import Permitted
from server.candidates.spec import SearchSpec
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import NOT_FOUND
from server.core.http.provide import provided
from server.searches.answers.answer import Answers
from server.searches.answers.resources import answer_resource
from server.searches.answers.schemas import AnswerQuery, AnswerResource
from server.searches.candidate_routes import SearchesDep, latency_kind_of
from server.searches.candidate_schemas import bound_of

router = api_router("searches")
AnswersDep = Annotated[Answers, provided(Answers)]
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.get(
    "/searches/{search_id:id}/answer",
    response_model=AnswerResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_answer(
    search_id: SearchId,
    request: Request,
    searches: SearchesDep,
    answers: AnswersDep,
    _: Permitted,
    query: Annotated[AnswerQuery, Query()],
) -> Response:
    """Which candidate to ship, what it beats, and how sure that is; also while the search runs."""
    spec = searches.get_search(search_id).spec
    answer = answers.of_search(search_id, tuple(_bounds(query, spec)), board=query.board)
    return tagged(request, answer_resource(answer, latency_kind_of(answer.front)))


def _bounds(query: AnswerQuery, spec: SearchSpec) -> Iterator[Constraint]:
    board = next((one for one in spec.all_boards() if one.name == query.board), None)
    for limit_us in (query.latency_us, None if query.latency_ms is None else query.latency_ms * 1000.0):
        if limit_us is not None:
            yield Constraint(LATENCY_US if board is None else board.metric, maximum=limit_us)
    for metric, lower, upper in (bound_of(text, spec) for text in query.bound):
        yield Constraint(metric, minimum=lower, maximum=upper)
