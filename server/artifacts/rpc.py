"""The gRPC service by which devices fetch artifacts in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import grpc

from hilnas.v1 import artifacts_pb2, artifacts_pb2_grpc
from server.access.credentials import Authenticated, authenticated
from server.artifacts.artifacts import Artifacts
from server.core.errors import RangeNotSatisfiableError
from server.core.rpc.errors import answering

A = TypeVar("A", bound=Authenticated)


class ArtifactStream(artifacts_pb2_grpc.ArtifactsServicer, Generic[A]):
    """Servicer of `hilnas.v1.Artifacts`, for enrolled devices."""

    def __init__(
        self, authenticate: Callable[[str], A], check_fetch: Callable[[A, str], None], artifacts: Artifacts
    ) -> None:
        """`authenticate` gives the device with a credential, or raises; `check_fetch` refuses what is not for it."""
        self._authenticate = authenticate
        self._check_fetch = check_fetch
        self._artifacts = artifacts

    def Fetch(  # noqa: N802
        self, request: artifacts_pb2.FetchRequest, context: grpc.ServicerContext
    ) -> Iterator[artifacts_pb2.Chunk]:
        """Stream an artifact from an offset on, as artifacts.proto says."""
        with answering(context):
            self._check_fetch(authenticated(self._authenticate, None, context), request.sha256)
            artifact = self._artifacts.get(request.sha256)
            size_bytes = artifact.size_bytes
            if not 0 <= request.offset_bytes <= size_bytes:
                raise RangeNotSatisfiableError(request.offset_bytes, size_bytes)
            if request.offset_bytes == size_bytes:
                return
            offset = request.offset_bytes
            for data in self._artifacts.stream(artifact, offset):
                yield artifacts_pb2.Chunk(offset_bytes=offset, data=data, total_size_bytes=size_bytes)
                offset += len(data)
