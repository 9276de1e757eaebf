"""Ranking studies: ordered, followed and cancelled; what they found."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import LABELS_FIT, Permitted, ReferringDocument, check_priority
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.core.http.conditional import NOT_MODIFIED, check_if_match, tagged, version_etag
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_RANKING_STUDY_SPEC,
    INVALID_STATE_TRANSITION,
    NOT_FOUND,
    PRECONDITION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import provided
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.studies.schemas import RankingStudyResource, StudyEntryResource, StudyListQuery
from server.studies.spec import RankingStudySpec, parse_ranking_study_spec
from server.studies.studies import RankingStudies
from server.studies.study import RankingStudy, StudyQuery

router = api_router("ranking studies", dependencies=[LABELS_FIT])
RankingStudiesDep = Annotated[RankingStudies, provided(RankingStudies)]
StudyId = Annotated[str, Path(examples=["study_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.post(
    "/ranking-studies",
    status_code=202,
    response_model=RankingStudyResource,
    openapi_extra=json_body(RankingStudySpec),
    responses=problems(*COMMON, *ONCE, INVALID_RANKING_STUDY_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_ranking_study(document: ReferringDocument, studies: RankingStudiesDep, once: PermittedOnce) -> Response:
    """Find out whether a supernet ranks architectures as stand-alone training does."""

    def action() -> StoredResponse:
        spec = parse_ranking_study_spec(document)
        check_priority(once.caller, spec.priority)
        return _answer(studies.create_study(spec, once.caller.creator))

    return once(action, refused_as=INVALID_RANKING_STUDY_SPEC)


@router.get("/ranking-studies", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_ranking_studies(
    studies: RankingStudiesDep, paging: PagingDep, _: Permitted, query: Annotated[StudyListQuery, Query()]
) -> Listing[RankingStudyResource]:
    """Ranking studies, newest first."""
    wanted = StudyQuery(states=tuple(query.state), supernet_id=query.supernet_id, owner=query.owner)
    page = studies.page_of_studies(wanted, paging.wanted(query))
    total = studies.count_studies(wanted) if query.include_total else None
    items = [RankingStudyResource.of(study, study.spec) for study in page.items]
    return paging.listing(page, items, total)


@router.get(
    "/ranking-studies/{study_id:id}",
    response_model=RankingStudyResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_ranking_study(study_id: StudyId, request: Request, studies: RankingStudiesDep, _: Permitted) -> Response:
    """One ranking study with its correlations, as far as it is."""
    study = studies.get_study(study_id)
    return tagged(request, RankingStudyResource.of(study, study.spec), version_etag(study.version))


@router.get("/ranking-studies/{study_id:id}/entries", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_ranking_study_entries(
    study_id: StudyId,
    paging: PagingDep,
    studies: RankingStudiesDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[StudyEntryResource]:
    """Its architectures, each with both accuracies and how far its training is."""
    wanted = paging.wanted(query)
    page = page_in_memory(studies.study_entries(study_id), lambda entry: str(entry.number), wanted)
    items = [
        StudyEntryResource.of(
            entry,
            entry.record,
            **StudyEntryResource.of_metrics(entry.record.values),
            architecture=entry.record.architecture.choices_value(),
            shared=entry.inherited,
            alone=entry.standalone,
        )
        for entry in page.items
    ]
    return paging.listing(page, items)


@router.post(
    "/ranking-studies/{study_id:id}:cancel",
    status_code=202,
    response_model=RankingStudyResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION, PRECONDITION_FAILED),
)
def cancel_ranking_study(
    study_id: StudyId, request: Request, studies: RankingStudiesDep, once: PermittedOnce
) -> Response:
    """Stop a study; it cannot be resumed. What is done stays."""

    def action() -> StoredResponse:
        check_if_match(request, version_etag(studies.get_study(study_id).version))
        return _answer(studies.cancel(study_id))

    return once(action)


def _answer(study: RankingStudy) -> StoredResponse:
    headers = {"Location": f"/api/v1/ranking-studies/{study.id}", "ETag": version_etag(study.version)}
    return stored_response(202, RankingStudyResource.of(study, study.spec), headers)
