"""The latency query: measurements of every search, with everything that says how far to trust them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.measurement import DeviceClass, Validity
from nas_engine.domain.measuring.image_set import ImageSetHeader
from nas_engine.domain.measuring.sample_text import blocks_as_json
from server.access.auth import LABELS_FIT, Permitted, ReferringDocument, check_priority
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.artifacts.artifacts import Artifacts
from server.artifacts.image_sets import image_set_head
from server.artifacts.model_check import ModelCheck, WantedShapes
from server.artifacts.routes import ArtifactsDep
from server.core.errors import InvalidSpecError, SpecViolation
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.exports import EXPORTS, Column, csv_response, every, ndjson_response
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_handlers import spec_problem
from server.core.http.problem_types import (
    INVALID_MEASUREMENT_SPEC,
    INVALID_MODEL,
    INVALID_PAGE_TOKEN,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import provided
from server.core.http.requests import CSV, JSON, NDJSON, preferred
from server.core.http.resources import Listing, interval_resource
from server.core.idempotency import StoredResponse
from server.core.spec_documents import parse_spec
from server.jobs.routes import DispatchDep, job_detail
from server.jobs.schemas import JobDetail
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.measuring.queries import Latencies, ModelMeasurementSpec
from server.measuring.schemas import (
    LayerProfileResource,
    MeasurementDetail,
    MeasurementListQuery,
    MeasurementResource,
    ProfiledLayerResource,
    SamplesResource,
)
from server.spaces.routes import DatasetCatalogDep

router = api_router("measurements", dependencies=[LABELS_FIT])
LatenciesDep = Annotated[Latencies, provided(Latencies)]
ModelCheckDep = Annotated[ModelCheck, provided(ModelCheck)]
MeasurementId = Annotated[str, Path(examples=["meas_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.get(
    "/measurements",
    response_model=Listing[MeasurementResource],
    responses={**EXPORTS, **problems(*COMMON, INVALID_PAGE_TOKEN, NOT_ACCEPTABLE)},
)
def list_measurements(
    request: Request,
    latencies: LatenciesDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[MeasurementListQuery, Query()],
) -> Response:
    """Measurements, newest first. Measured ones only, unless other kinds are asked for by name."""
    wanted = _query(query)
    match preferred(request, JSON, CSV, NDJSON):
        case "text/csv":
            return csv_response(_COLUMNS, every(lambda at: latencies.page_of_measurements(wanted, at)))
        case "application/x-ndjson":
            found = every(lambda at: latencies.page_of_measurements(wanted, at))
            return ndjson_response(MeasurementResource.of(record) for record in found)
        case _:
            page = latencies.page_of_measurements(wanted, paging.wanted(query))
            total = latencies.count_measurements(wanted) if query.include_total else None
            return paging.answer(page, [MeasurementResource.of(record) for record in page.items], total)


@router.post(
    "/measurements",
    status_code=202,
    response_model=JobDetail,
    openapi_extra=json_body(ModelMeasurementSpec),
    responses=problems(*COMMON, *ONCE, INVALID_MEASUREMENT_SPEC, INVALID_MODEL, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE),
)
def measure_model(
    document: ReferringDocument,
    models: ModelCheckDep,
    artifacts: ArtifactsDep,
    latencies: LatenciesDep,
    dispatch: DispatchDep,
    datasets: DatasetCatalogDep,
    once: PermittedOnce,
) -> Response:
    """Measure a model of one's own, uploaded as an artifact before; what no registered device could do is refused.

    The job's result names the measurement; that of a conversion names the measuring job that follows it. With images, a
    classifying job is queued besides; `classify_job_id` names it.
    """

    # Looked at before the transaction begins: reading and checking a large model takes a while.
    try:
        spec = parse_spec(ModelMeasurementSpec, document)
        name = spec.calibration_dataset
        if name is not None and datasets.describe(name) is None:
            raise InvalidSpecError([SpecViolation("/calibration_dataset", datasets.absence(name))])
    except InvalidSpecError as error:
        raise spec_problem(error, INVALID_MEASUREMENT_SPEC) from error
    check_priority(once.caller, spec.priority)
    wanted = WantedShapes(batch=spec.device.batch, shapes=spec.input_shapes) if spec.input_shapes else None
    room = nullcontext() if wanted is None else artifacts.scratch()
    with artifacts.open_unverified(spec.model_sha256) as source, room as fixed:
        facts = models.check(source, spec.model_sha256, wanted, fixed)
        if fixed is not None and facts.fixed_shapes:
            stored = artifacts.put(fixed, "application/onnx", owner=once.caller.creator.owner)
            shapes = {**spec.input_shapes, **facts.fixed_shapes}
            spec = spec.model_copy(update={"model_sha256": stored.sha256, "input_shapes": shapes})
    image_sets = _image_sets(artifacts, spec)

    def action() -> StoredResponse:
        job = latencies.measure_model(spec, facts, image_sets, once.caller.creator.owner)
        headers = {"Location": f"/api/v1/jobs/{job.id}", "Retry-After": "1"}
        return stored_response(202, job_detail(job, dispatch.place(job.id)), headers)

    return once(action, refused_as=INVALID_MEASUREMENT_SPEC)


@router.get(
    "/measurements/{measurement_id:id}",
    response_model=MeasurementDetail,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_measurement(measurement_id: MeasurementId, request: Request, latencies: LatenciesDep, _: Permitted) -> Response:
    """One measurement with the state of the board around it."""
    return tagged(request, MeasurementDetail.of(latencies.get_measurement(measurement_id)))


@router.get(
    "/measurements/{measurement_id:id}/samples",
    response_model=SamplesResource,
    responses=problems(*COMMON, NOT_FOUND),
)
def get_measurement_samples(measurement_id: MeasurementId, latencies: LatenciesDep, _: Permitted) -> Response:
    """The raw samples: every timed run, in blocks as they were taken. Estimates have none."""
    packed = latencies.packed_samples_of(measurement_id)

    def pieces() -> Iterator[str]:
        yield f'{{"measurement_id":{json.dumps(measurement_id)},"blocks":'
        yield from ("[]",) if packed is None else blocks_as_json(packed)
        yield "}"

    return StreamingResponse(pieces(), media_type=JSON)


@router.get("/measurements/{measurement_id:id}/layers", responses=problems(*COMMON, NOT_FOUND))
def get_measurement_layers(
    measurement_id: MeasurementId, latencies: LatenciesDep, _: Permitted
) -> LayerProfileResource:
    """Read how long each layer took, where the measurement was ordered with `layer_times` and the runtime tells it."""
    profile = latencies.layers_of(measurement_id)
    if profile is None:
        trouble = latencies.get_measurement(measurement_id).layers_trouble
        return LayerProfileResource(
            measurement_id=measurement_id, source=None, trouble=trouble, num_runs=0, total=None, layers=[]
        )
    return LayerProfileResource(
        measurement_id=measurement_id,
        source=profile.source,
        num_runs=profile.num_runs,
        total=interval_resource(profile.mean_us(range(len(profile.layers))), "us"),
        layers=[
            ProfiledLayerResource.of(one, time=interval_resource(profile.mean_us([number]), "us"))
            for number, one in enumerate(profile.layers)
        ],
    )


def _image_sets(artifacts: Artifacts, spec: ModelMeasurementSpec) -> dict[str, ImageSetHeader]:
    """Header of every image set the spec names."""
    named = {
        "/images/sha256": None if spec.images is None else spec.images.sha256,
        "/calibration_images_sha256": spec.calibration_images_sha256,
    }
    found: dict[str, ImageSetHeader] = {}
    for pointer, sha256 in named.items():
        if sha256 is None:
            continue
        try:
            found[sha256], _ = image_set_head(artifacts, sha256)
        except DatasetError as error:
            refused = InvalidSpecError([SpecViolation(pointer, str(error))])
            raise spec_problem(refused, INVALID_MEASUREMENT_SPEC) from error
    return found


def _query(query: MeasurementListQuery) -> MeasurementQuery:
    return MeasurementQuery(
        device_type=query.device_type,
        device_id=query.device_id,
        device_class=None if query.device_class is None else DeviceClass(query.device_class),
        hardware_key=query.hardware_key,
        latency_key=query.latency_key,
        arch_id=query.arch_id,
        space_id=query.space,
        search_id=query.search_id,
        candidate_id=query.candidate_id,
        kinds=tuple(MeasurementKind(kind) for kind in query.kind),
        validities=tuple(Validity(validity) for validity in query.validity),
        include_superseded=query.include_superseded,
        include_suspect=query.include_suspect,
        since=query.since,
        until=query.until,
    )


_COLUMNS: tuple[Column[MeasurementRecord], ...] = (
    ("id", lambda r: r.id),
    ("created_at", lambda r: r.created_at.isoformat()),
    ("kind", lambda r: r.kind.value),
    ("device_class", lambda r: r.device_class.value),
    ("device_type", lambda r: r.device_type),
    ("device_id", lambda r: r.device_id),
    ("hardware_key", lambda r: r.hardware_key),
    ("latency_key", lambda r: r.latency_key),
    ("arch_id", lambda r: r.arch_id),
    ("search_id", lambda r: r.search_id),
    ("candidate_id", lambda r: r.candidate_id),
    ("batch", lambda r: r.hardware.batch),
    ("dtype", lambda r: r.hardware.dtype.value),
    ("runtime", lambda r: r.hardware.identity.runtime),
    ("validity", lambda r: r.validity.value),
    ("count", lambda r: r.stats.count),
    ("p50_us", lambda r: r.stats.p50_us),
    ("ci95_low_us", lambda r: r.stats.ci95_low_us),
    ("ci95_high_us", lambda r: r.stats.ci95_high_us),
    ("min_us", lambda r: r.stats.min_us),
    ("p90_us", lambda r: r.stats.p90_us),
    ("p99_us", lambda r: r.stats.p99_us),
    ("npu_p50_us", lambda r: r.npu_p50_us),
)
