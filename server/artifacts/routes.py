"""Artifacts: content-addressed bytes, streamed both ways."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from server.access.auth import Caller, Permitted, QuotasDep
from server.access.changes.recording import PermittedChange
from server.access.limits.quotas import LEAST_UPLOAD_BYTES, Quotas
from server.access.schemas import OwnedListQuery
from server.artifacts.artifact import FILE_NAME, Artifact, default_name
from server.artifacts.artifacts import Artifacts, check_media_type
from server.artifacts.schemas import ArtifactResource, ArtifactScrubResource
from server.artifacts.scrub import ArtifactScrubs
from server.artifacts.store import ArtifactStore
from server.core.http.conditional import NOT_MODIFIED, not_modified
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import (
    ARTIFACT_DAMAGED,
    CONFLICT,
    CONTENT_TOO_LARGE,
    DIGEST_MISMATCH,
    INSUFFICIENT_STORAGE,
    INVALID_PAGE_TOKEN,
    NOT_FOUND,
    RANGE_NOT_SATISFIABLE,
)
from server.core.http.problems import Problem
from server.core.http.provide import SettingsDep, UowDep, provided
from server.core.http.resources import Listing

router = api_router("artifacts")
ArtifactsDep = Annotated[Artifacts, provided(Artifacts)]
ScrubsDep = Annotated[ArtifactScrubs, provided(ArtifactScrubs)]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="sha256 of the content, lower-case hex.")]
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_COUNTED_BYTES = 8 << 20  # an upload is held against the quota whenever so much more has come
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_CONTENT = {"content": {"*/*": _BINARY}}


@router.get("/artifacts", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_artifacts(
    artifacts: ArtifactsDep, paging: PagingDep, _: Permitted, query: Annotated[OwnedListQuery, Query()]
) -> Listing[ArtifactResource]:
    """List the artifacts that are stored, newest first."""
    page = artifacts.page(paging.wanted(query), query.owner)
    return paging.listing(page, [ArtifactResource.of(a) for a in page.items])


@router.post("/artifacts:scrub", status_code=202, responses=problems(*COMMON, CONFLICT))
def scrub_artifacts(scrubs: ScrubsDep, response: Response, change: PermittedChange) -> ArtifactScrubResource:
    """Read every stored file again and report what is corrupted, missing or orphaned; GET gives the report."""
    report = change(scrubs.start, lambda _: "")
    response.headers["Location"] = "/api/v1/artifacts:scrub"
    response.headers["Retry-After"] = "5"
    return ArtifactScrubResource.of(report)


@router.get("/artifacts:scrub", responses=problems(*COMMON))
def get_artifact_scrub(scrubs: ScrubsDep, _: Permitted) -> ArtifactScrubResource:
    """Read the report of the last scrub, or how far the one that runs is."""
    return ArtifactScrubResource.of(scrubs.report())


@router.get(
    "/artifacts/{sha256}",
    response_class=StreamingResponse,
    responses={
        200: {**_CONTENT, "description": "The whole content, in the artifact's own media type."},
        206: {**_CONTENT, "description": "The range that was asked for."},
        **NOT_MODIFIED,
        **problems(*COMMON, NOT_FOUND, RANGE_NOT_SATISFIABLE, ARTIFACT_DAMAGED),
    },
)
def get_artifact(
    sha256: Digest,
    request: Request,
    artifacts: ArtifactsDep,
    _: Permitted,
    name: Annotated[
        str | None,
        Query(pattern=FILE_NAME, description="Name of the file for whoever saves it; absent: made of the digest."),
    ] = None,
    range_header: Annotated[str | None, Header(alias="Range", description="One range: `bytes=FIRST-LAST`.")] = None,
) -> Response:
    """Download the content. Resumable: ask for the rest with Range, and check the sha256 at the end.

    The bytes are verified on their way: where stored bytes are corrupted, the connection ends before the last of them,
    so that a complete answer holds the right bytes. Ranges come from content that was verified as a whole.
    """
    artifact = artifacts.get(sha256)
    etag = f'"{artifact.sha256}"'
    if (unchanged := not_modified(request, etag)) is not None:
        return unchanged
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        # Whoever opens an upload in a browser must download it, not run it.
        "Content-Disposition": f'attachment; filename="{name or default_name(artifact)}"',
        "X-Content-Type-Options": "nosniff",
    }
    # Whoever holds a part of something else (If-Range, RFC 9110) gets everything.
    stale = request.headers.get("if-range", etag) != etag
    wanted = None if stale else _range(range_header, artifact.size_bytes)
    if wanted is None:
        return _stream(artifacts, artifact, 0, artifact.size_bytes, 200, headers)
    first, last = wanted
    headers["Content-Range"] = f"bytes {first}-{last}/{artifact.size_bytes}"
    return _stream(artifacts, artifact, first, last - first + 1, 206, headers)


@router.put(
    "/artifacts/{sha256}",
    status_code=201,
    response_model=ArtifactResource,
    openapi_extra={"requestBody": {"required": True, "content": {"*/*": _BINARY}}},
    responses={
        200: {"model": ArtifactResource, "description": "It was there already."},
        **problems(*COMMON, NOT_FOUND, CONTENT_TOO_LARGE, DIGEST_MISMATCH, INSUFFICIENT_STORAGE),
    },
)
async def put_artifact(
    sha256: Digest,
    request: Request,
    uow: UowDep,
    settings: SettingsDep,
    artifacts: ArtifactsDep,
    quotas: QuotasDep,
    caller: Permitted,
    change: PermittedChange,
) -> Response:
    """Store bytes under their sha256. Storing the same content again changes nothing, and heals a damaged artifact."""
    media_type = request.headers.get("content-type", "application/octet-stream")
    check_media_type(media_type)
    declared = request.headers.get("content-length", "0")
    announced_bytes = int(declared) if declared.isdecimal() else 0
    with artifacts.incoming(announced_bytes=announced_bytes, limit_bytes=settings.max_artifact_bytes) as incoming:
        async for chunk in _counted(request, quotas, caller):
            await run_in_threadpool(incoming.write, chunk)
        known = await run_in_threadpool(uow.read, lambda tx: ArtifactStore(tx).find_artifact(sha256))
        stored = await run_in_threadpool(incoming.publish, sha256)

    def adopt() -> Artifact:
        return artifacts.adopt(stored, media_type, caller.creator.owner)

    artifact = await run_in_threadpool(change, adopt, lambda _: sha256 if known is None else None)
    resource = ArtifactResource.of(artifact)
    headers = {"Location": f"/api/v1/artifacts/{sha256}", "ETag": f'"{sha256}"'}
    return JSONResponse(resource.model_dump(mode="json"), status_code=201 if known is None else 200, headers=headers)


async def _counted(request: Request, quotas: Quotas, caller: Caller) -> AsyncIterator[bytes]:
    """The chunks of an upload, counted against the owner's quota. Raises QuotaExceededError."""
    if caller.token is None:
        async for chunk in request.stream():
            yield chunk
        return
    announced = request.headers.get("content-length", "0")
    left = int(announced) if announced.isdecimal() else 0
    await run_in_threadpool(quotas.count_upload, caller.quota_key, 0, max(left, LEAST_UPLOAD_BYTES))
    pending, counted_bytes = 0, 0
    try:
        async for chunk in request.stream():
            pending += len(chunk)
            if pending >= _COUNTED_BYTES:
                counted, pending = pending, 0
                counted_bytes += counted
                await run_in_threadpool(quotas.count_upload, caller.quota_key, counted)
            yield chunk
    finally:
        quotas.note_upload(caller.quota_key, max(pending, LEAST_UPLOAD_BYTES - counted_bytes))


def _range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """First and last byte of a single range; None where there is none that we serve (RFC 9110, 14.2: ignore it)."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        first, last = max(0, size_bytes - int(match[2])), size_bytes - 1
        satisfiable = int(match[2]) > 0 and size_bytes > 0
    else:
        first, last = int(match[1]), min(int(match[2] or size_bytes - 1), size_bytes - 1)
        satisfiable = first < size_bytes
        if match[2] and int(match[2]) < first:
            return None
    if not satisfiable:
        detail = f"{header} lies outside the {size_bytes} bytes of the content"
        raise Problem(RANGE_NOT_SATISFIABLE, detail, headers={"Content-Range": f"bytes */{size_bytes}"})
    return first, last


def _stream(
    artifacts: Artifacts, artifact: Artifact, first: int, length: int, status: int, headers: dict[str, str]
) -> Response:
    headers = {**headers, "Content-Length": str(length)}
    chunks = artifacts.stream(artifact, first, length)
    return StreamingResponse(chunks, status_code=status, media_type=artifact.media_type, headers=headers)
