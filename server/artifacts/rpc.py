"""The gRPC service by which devices fetch artifacts in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc

from hilnas.v1 import artifacts_pb2, artifacts_pb2_grpc
from server.access.credentials import Authenticated, authenticated
from server.artifacts.artifacts import Artifacts
from server.core.errors import RangeNotSatisfiableError
from server.core.rpc.errors import answering


class ArtifactStream(artifacts_pb2_grpc.ArtifactsServicer):
    """Servicer of `hilnas.v1.Artifacts`, for enrolled devices."""

    def __init__(self, authenticate: Callable[[str], Authenticated], artifacts: Artifacts) -> None:
        """`authenticate` gives the device with a credential, or raises."""
        self._authenticate = authenticate
        self._artifacts = artifacts

    def Fetch(  # noqa: N802
        self, request: artifacts_pb2.FetchRequest, context: grpc.ServicerContext
    ) -> Iterator[artifacts_pb2.Chunk]:
        """Stream an artifact from an offset on, as artifacts.proto says."""
        with answering(context):
            authenticated(self._authenticate, None, context)
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
