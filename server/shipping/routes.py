"""Shipping a candidate: its model exported on demand, the evidence behind it, and the key that signs that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.uncertainty import Interval
from server.access.auth import Permitted
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.core.http.conditional import NOT_MODIFIED, not_modified
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import ARTIFACT_DAMAGED, CONFLICT, INSUFFICIENT_STORAGE, NOT_FOUND
from server.core.http.provide import provided
from server.core.http.resources import interval_resource
from server.core.idempotency import StoredResponse
from server.jobs.routes import DispatchDep, job_detail
from server.jobs.schemas import JobDetail
from server.shipping.bundle.archive import CHUNK_BYTES
from server.shipping.bundle.manifest import ALGORITHM
from server.shipping.bundles import EvidenceBundles, MadeBundle
from server.shipping.exports import CandidateExports
from server.shipping.layers import BlockTime, BlockTimes, CandidateLayers, LayerTimes
from server.shipping.neighbours import Neighbour, Neighbourhoods
from server.shipping.schemas import (
    BlockTimeResource,
    BlockTimesResource,
    CandidateLayersResource,
    EvidenceKeyResource,
    ExplanationResource,
    LayerTimeResource,
    MeasureNeighboursResource,
    MeasureNeighboursSpec,
    NeighbourResource,
)
from server.shipping.spare_time import SpareTime

router = api_router("shipping")
ExportsDep = Annotated[CandidateExports, provided(CandidateExports)]
NeighbourhoodsDep = Annotated[Neighbourhoods, provided(Neighbourhoods)]
LayerTimesDep = Annotated[LayerTimes, provided(LayerTimes)]
SpareTimeDep = Annotated[SpareTime, provided(SpareTime)]
BundlesDep = Annotated[EvidenceBundles, provided(EvidenceBundles)]
NetworkId = Annotated[str, Path(examples=["network_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
CandidateId = Annotated[str, Path(examples=["cand_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_ZIP = {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
_BUNDLE: dict[int | str, dict[str, Any]] = {
    200: {**_ZIP, "description": "The bundle, a ZIP file."},
    **NOT_MODIFIED,
    **problems(*COMMON, NOT_FOUND, CONFLICT, ARTIFACT_DAMAGED, INSUFFICIENT_STORAGE),
}


@router.post(
    "/candidates/{candidate_id:id}:export",
    status_code=202,
    response_model=JobDetail,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, CONFLICT),
)
def export_candidate(
    candidate_id: CandidateId, exports: ExportsDep, dispatch: DispatchDep, once: PermittedOnce
) -> Response:
    """Have a candidate exported with its supernet's weights. The answer is the job; once it is done, the candidate's
    models list the file, and its test accuracy is known.
    """

    def action() -> StoredResponse:
        job = exports.order(candidate_id)
        headers = {"Location": f"/api/v1/jobs/{job.id}", "Retry-After": "1"}
        return stored_response(202, job_detail(job, dispatch.place(job.id)), headers)

    return once(action)


@router.get("/candidates/{candidate_id:id}/bundle", response_class=StreamingResponse, responses=_BUNDLE)
def get_candidate_bundle(candidate_id: CandidateId, request: Request, bundles: BundlesDep, _: Permitted) -> Response:
    """Download the evidence behind a network in one signed file: models, raw samples, circumstances, spec.

    `hilnas bundles verify` checks it without a server.
    """
    return _bundle(request, bundles.make(candidate_id))


@router.get("/networks/{network_id:id}/bundle", response_class=StreamingResponse, responses=_BUNDLE)
def get_network_bundle(network_id: NetworkId, request: Request, bundles: BundlesDep, _: Permitted) -> Response:
    """Download the evidence behind a network that was trained by itself in one signed file: its models, its training,
    and what the search that found it knows of it.
    """
    return _bundle(request, bundles.make_of_network(network_id))


def _bundle(request: Request, made: MadeBundle) -> Response:
    """A bundle as a download; nothing but its tag where the caller has it already."""
    etag = f'"{made.manifest_sha256}"'
    if (unchanged := not_modified(request, etag)) is not None:
        made.file.close()
        return unchanged
    headers = {
        "ETag": etag,
        "Content-Length": str(made.size_bytes),
        "Content-Disposition": f'attachment; filename="{made.file_name}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_chunks(made.file), media_type="application/zip", headers=headers)


@router.get("/evidence-key", responses=problems(*COMMON))
def get_evidence_key(bundles: BundlesDep, _: Permitted) -> EvidenceKeyResource:
    """Read the key that signs evidence bundles: compare its fingerprint with the one the server printed at start."""
    key = bundles.key
    return EvidenceKeyResource(algorithm=ALGORITHM, fingerprint=key.fingerprint, public_key_pem=key.public_pem)


@router.get("/candidates/{candidate_id:id}/neighbours", responses=problems(*COMMON, NOT_FOUND))
def explain_candidate(
    candidate_id: CandidateId, neighbourhoods: NeighbourhoodsDep, _: Permitted
) -> ExplanationResource:
    """Read what each single change of the architecture would do to latency, accuracy and size, and who says so.

    Nothing is measured for it: figures are measured, summed from a latency table, or predicted, and say which.
    """
    found = neighbourhoods.explain(candidate_id)
    own = found.candidate.current.get(LATENCY_US)
    return ExplanationResource(
        candidate_id=candidate_id,
        latency_us=None if own is None else own.value,
        latency=None if own is None else interval_resource(Interval.of_error(own.value, own.uncertainty), "us"),
        device_type=found.device_type,
        neighbours=[_neighbour(one) for one in found.neighbours],
        notes=list(found.notes),
    )


@router.post(
    "/candidates/{candidate_id:id}/neighbours:measure",
    status_code=202,
    response_model=MeasureNeighboursResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, CONFLICT),
)
def measure_neighbours(
    candidate_id: CandidateId, spec: MeasureNeighboursSpec, spare_time: SpareTimeDep, once: PermittedOnce
) -> Response:
    """Have neighbours measured that nothing measured yet, while boards have nothing else to do.

    Once the jobs are done, the candidate's neighbours list what they brought.
    """

    def action() -> StoredResponse:
        jobs = spare_time.order(candidate_id, spec.max_networks, once.caller.creator.owner)
        found = MeasureNeighboursResource(candidate_id=candidate_id, job_ids=[job.id for job in jobs])
        headers = {"Location": f"/api/v1/candidates/{candidate_id}/neighbours", "Retry-After": "1"}
        return stored_response(202, found, headers)

    return once(action)


@router.get("/candidates/{candidate_id:id}/layers", responses=problems(*COMMON, NOT_FOUND))
def get_candidate_layers(
    candidate_id: CandidateId, layer_times: LayerTimesDep, _: Permitted
) -> CandidateLayersResource:
    """Read where the microseconds of a candidate go: time per block and layer with MACs beside it, and who says so.

    Nothing is measured for it: times are those of a measurement that was ordered with `layer_times`, or follow from the
    cycle table of a conversion, and are labelled simulated then.
    """
    found = layer_times.of_candidate(candidate_id)
    own = found.candidate.current.get(LATENCY_US)
    return CandidateLayersResource(
        candidate_id=candidate_id,
        latency_us=None if own is None else own.value,
        tables=[_block_times(one) for one in found.tables],
        notes=list(_notes_of_layers(found)),
    )


def _block_times(table: BlockTimes) -> BlockTimesResource:
    record = table.measurement
    return BlockTimesResource.of(
        table,
        measurement_id=None if record is None else record.id,
        device_class=None if record is None else record.device_class.value,
        total=interval_resource(table.total_us, "us"),
        blocks=[_block_time(one) for one in table.blocks],
    )


def _block_time(one: BlockTime) -> BlockTimeResource:
    block = one.summary
    return BlockTimeResource(
        block=None if block is None else block.block,
        operator=None if block is None else block.operator,
        macs=None if block is None else block.macs,
        params=None if block is None else block.params,
        time=interval_resource(one.time_us, "us"),
        share=one.share,
        layers=[
            LayerTimeResource(name=layer.name, operator=layer.operator, time=interval_resource(layer.time_us, "us"))
            for layer in one.layers
        ],
    )


def _notes_of_layers(found: CandidateLayers) -> Iterator[str]:
    kinds = {one.kind for one in found.tables if one.measurement is not None}
    if kinds:
        yield "measured: by the runtime's profiler in runs of their own, which take longer for it: look at the shares"
    if any(one.measurement is None for one in found.tables):
        yield (
            "simulated: the compiler's cycles; it counts none for activations, joins, pooling and the CPU, and no "
            "launches"
        )
    if found.trouble:
        yield f"the last measurement was to time layers, and could not: {found.trouble}"
    if not found.tables:
        yield (
            "no layer was timed: order it with "
            f"`hilnas candidates explain {found.candidate.short_id} --measure`, or in a spec with "
            "`measurement.layer_times`; boards whose runtime has no profiler tell none"
        )


def _neighbour(one: Neighbour) -> NeighbourResource:
    return NeighbourResource(
        gene=one.gene.name,
        change=one.change,
        genotype=list(one.genotype),
        arch_id=one.record.arch_id,
        candidate_id=None if one.candidate is None else one.candidate.id,
        latency_difference_us=None if one.latency is None else one.latency.value,
        latency_interval_us=None if one.latency is None else one.latency.interval,
        latency_source=None if one.source is None else one.source.value,
        top1_difference=None if one.top1 is None else one.top1.value,
        top1_interval=None if one.top1 is None else one.top1.interval,
        top1_is_paired=one.top1 is not None and one.top1.is_paired,
        test_top1_difference=None if one.test_top1 is None else one.test_top1.value,
        test_top1_interval=None if one.test_top1 is None else one.test_top1.interval,
        test_top1_is_paired=one.test_top1 is not None and one.test_top1.is_paired,
        macs_difference=one.macs,
        params_difference=one.params,
    )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
