"""Latencies without a board: one question for many networks and device types; hardware keys and predictors listed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from server.access.auth import Caller, Permitted, ReferringDocument, check_priority
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.access.limits.orders import Orders
from server.access.token import Role
from server.core.errors import InvalidSpecError
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_handlers import spec_problem
from server.core.http.problem_types import (
    FORBIDDEN,
    INVALID_LATENCY_QUESTION,
    INVALID_PAGE_TOKEN,
    NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.problems import Problem
from server.core.http.provide import provided
from server.core.http.resources import Listing
from server.core.idempotency import StoredResponse
from server.core.spec_documents import parse_spec
from server.latencies.answer import AnswerKind, FoundMeasurement, LatencyAnswer, LatencyAnswers
from server.latencies.answers import LatencyAsking
from server.latencies.known_hardware import KnownHardware
from server.latencies.ordering import LatencyOrders
from server.latencies.predictors.predictors import Predictors
from server.latencies.question import LatencyQuestion
from server.latencies.schemas import (
    EstimateResource,
    FoundMeasurementResource,
    HardwareKeyResource,
    HardwareListQuery,
    LatencyAnswerResource,
    LatencyAnswersResource,
    LatencyPredictorResource,
    OfferedHardwareResource,
    PredictorListQuery,
)
from server.measuring.schemas import HardwareResource

router = api_router("latencies")
AskingDep = Annotated[LatencyAsking, provided(LatencyAsking)]
OrdersDep = Annotated[LatencyOrders, provided(LatencyOrders)]
QuotaDep = Annotated[Orders, provided(Orders)]
HardwareDep = Annotated[KnownHardware, provided(KnownHardware)]
PredictorsDep = Annotated[Predictors, provided(Predictors)]
PredictorId = Annotated[str, Path(examples=["lpre_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.post(
    "/latencies:query",
    response_model=LatencyAnswersResource,
    openapi_extra=json_body(LatencyQuestion),
    responses=problems(*COMMON, *ONCE, INVALID_LATENCY_QUESTION, UNSUPPORTED_MEDIA_TYPE),
)
def query_latencies(
    document: ReferringDocument,
    asking: AskingDep,
    orders: OrdersDep,
    quotas: QuotaDep,
    once: PermittedOnce,
) -> Response:
    """Answer for up to 200 networks on up to 10 device types: measured, simulated, estimated, or `measure_it`.

    Asks no board, and starts nothing unless `queue_missing` or `queue_estimated` says so.
    """
    try:
        question = parse_spec(LatencyQuestion, document)
        if not question.queues:
            return Response(_resource(asking.ask(question)).model_dump_json(), media_type="application/json")
    except InvalidSpecError as error:
        raise spec_problem(error, INVALID_LATENCY_QUESTION) from error
    _may_queue(once.caller, question)
    owner = once.caller.creator.owner

    job_ids: list[str] = []

    def action() -> StoredResponse:
        queued = orders.queue(asking.ask(question), owner, lambda tx: quotas.check(tx, "query_latencies", owner))
        job_ids[:] = [one.job_id for one in queued.answers if one.job_id is not None]
        return stored_response(200, _resource(queued))

    # One record for all that one question queued: of the job, where it is a single one.
    def made(_: StoredResponse) -> str | None:
        return None if not job_ids else job_ids[0] if len(job_ids) == 1 else ""

    return once(action, refused_as=INVALID_LATENCY_QUESTION, made=made)


@router.get("/hardware-keys", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_hardware_keys(
    hardware: HardwareDep, paging: PagingDep, _: Permitted, query: Annotated[HardwareListQuery, Query()]
) -> Listing[OfferedHardwareResource]:
    """Hardware keys that something was measured or ordered under: runtime, versions, clocks, cores, data type, batch.

    Each with the device types that offer it now.
    """
    found = hardware.all(device_type=query.device_type, runtime=query.runtime)
    page = page_in_memory(found, lambda one: one.hardware_key, paging.wanted(query))
    return paging.listing(page, [OfferedHardwareResource.of(one) for one in page.items])


@router.get("/latency-predictors", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_latency_predictors(
    predictors: PredictorsDep, paging: PagingDep, _: Permitted, query: Annotated[PredictorListQuery, Query()]
) -> Listing[LatencyPredictorResource]:
    """Predictors of latency, newest first: what they stand on, and how often their intervals held.

    Those that are made of latency tables are among them: a complete table has one, which estimates once its reports
    compare 20 networks.
    """
    page = predictors.page(query.device_type, query.hardware_key, paging.wanted(query))
    return paging.listing(page, [LatencyPredictorResource.of(one) for one in page.items])


@router.get("/latency-predictors/{predictor_id:id}", responses=problems(*COMMON, NOT_FOUND))
def get_latency_predictor(
    predictor_id: PredictorId, predictors: PredictorsDep, _: Permitted
) -> LatencyPredictorResource:
    """Read one predictor."""
    return LatencyPredictorResource.of(predictors.get(predictor_id))


def _may_queue(caller: Caller, question: LatencyQuestion) -> None:
    """Refuse to queue for whoever may only read."""
    if caller.token is not None and not caller.token.permits(Role.ENGINEER):
        detail = "queueing measurements needs the role engineer: leave queue_missing and queue_estimated out to read"
        raise Problem(FORBIDDEN, detail)
    check_priority(caller, question.priority)


def _resource(found: LatencyAnswers) -> LatencyAnswersResource:
    counts = [one.kind for one in found.answers]
    return LatencyAnswersResource.of_stored(
        answers=[_answer(one) for one in found.answers],
        hardware=[
            HardwareKeyResource(hardware_key=digest, hardware=HardwareResource.model_validate(key))
            for digest, key in found.hardware.items()
        ],
        predictors=[LatencyPredictorResource.of(one) for one in found.predictors.values()],
        num_measured=counts.count(AnswerKind.MEASURED),
        num_simulated=counts.count(AnswerKind.SIMULATED),
        num_estimated=counts.count(AnswerKind.ESTIMATED),
        num_to_measure=counts.count(AnswerKind.MEASURE_IT),
    )


def _answer(one: LatencyAnswer) -> LatencyAnswerResource:
    measured, estimate = one.measurement, one.estimate
    latency: tuple[float | None, float | None, float | None] = (None, None, None)
    if measured is not None:
        latency = measured.p50_us, measured.ci95_low_us, measured.ci95_high_us
    elif estimate is not None:
        latency = estimate.value_us, estimate.low_us, estimate.high_us
    return LatencyAnswerResource.of_stored(
        arch_id=one.network.arch_id,
        model_sha256=one.network.model_sha256,
        device_type=one.device.device_type,
        device_index=one.device_index,
        kind=one.kind,
        latency_us=latency[0],
        low_us=latency[1],
        high_us=latency[2],
        hardware_key=one.hardware_key,
        is_current=one.is_current,
        is_ambiguous=bool(one.others),
        matched_by=one.matched_by,
        measurement=None if measured is None else _measurement(measured),
        estimate=None if estimate is None else _estimate(one),
        reason=one.reason,
        others=[_measurement(other) for other in one.others],
        job_id=one.job_id,
        not_queued=one.not_queued,
    )


def _measurement(one: FoundMeasurement) -> FoundMeasurementResource:
    return FoundMeasurementResource.of_stored(
        measurement_id=one.id,
        hardware_key=one.hardware_key,
        device_class=one.device_class,
        device_id=one.device_id,
        profile=one.profile,
        validity=one.validity,
        p50_us=one.p50_us,
        ci95_low_us=one.ci95_low_us,
        ci95_high_us=one.ci95_high_us,
        num_measurements=one.num_measurements,
        created_at=one.created_at,
    )


def _estimate(one: LatencyAnswer) -> EstimateResource:
    assert one.estimate is not None
    estimate = one.estimate
    return EstimateResource.of_stored(
        method=estimate.method,
        source_id=estimate.source_id,
        predictor_id=estimate.predictor_id,
        nominal=estimate.nominal,
        coverage=estimate.coverage,
        num_left_out=estimate.num_left_out,
        num_measurements=estimate.num_measurements,
        num_networks=estimate.num_networks,
        num_operators=estimate.num_operators,
        validation=estimate.validation,
        is_stale=estimate.is_stale,
    )
