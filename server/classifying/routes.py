"""What models answered to image sets on devices: accuracy, and what is lost against float."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import Permitted
from server.classifying.classification import ClassificationQuery, ClassificationRecord
from server.classifying.queries import Classifications
from server.classifying.schemas import ClassificationDetail, ClassificationListQuery, ClassificationResource
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.provide import provided
from server.core.http.resources import Listing
from server.measuring.measurement import measurement_kind

router = api_router("classifications")
C = TypeVar("C", bound=ClassificationResource)
ClassificationsDep = Annotated[Classifications, provided(Classifications)]


@router.get("/classifications", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_classifications(
    classifications: ClassificationsDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ClassificationListQuery, Query()],
) -> Listing[ClassificationResource]:
    """List classifications by devices and workers, newest first."""
    wanted = ClassificationQuery(
        device_type=query.device_type,
        device_id=query.device_id,
        hardware_key=query.hardware_key,
        images_sha256=query.images_sha256,
        source_sha256=query.source_sha256,
        search_id=query.search_id,
        candidate_id=query.candidate_id,
        include_superseded=query.include_superseded,
    )
    page = classifications.page_of_classifications(wanted, paging.wanted(query))
    items = [_classification(ClassificationResource, record) for record in page.items]
    return paging.listing(page, items)


@router.get(
    "/classifications/{classification_id:id}",
    response_model=ClassificationDetail,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_classification(
    classification_id: Annotated[str, Path(examples=["cls_01jd3x5w8k2v7m4q9r6t1y0z3a"])],
    request: Request,
    classifications: ClassificationsDep,
    _: Permitted,
) -> Response:
    """One classification with the class it gave to every image."""
    record = classifications.get_classification(classification_id)
    predictions = record.predictions_N().tolist()
    return tagged(request, _classification(ClassificationDetail, record, predictions=predictions))


def _classification(kind: type[C], record: ClassificationRecord, **members: object) -> C:
    device_class = record.device_class
    return kind.of(
        record,
        kind=None if device_class is None else measurement_kind(device_class),
        top1=record.top1.value,
        standard_error=record.top1.standard_error,
        hardware_key=None if record.hardware is None else record.hardware.digest,
        **members,
    )
