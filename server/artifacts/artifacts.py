"""Artifacts: bytes into the content-addressed store, and what they are into the database."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from server.access.principal import Principal
from server.artifacts.artifact import Artifact, check_sha256
from server.artifacts.files import FileByteStore
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError
from server.core.paging import Page, PageRequest

CHUNK_BYTES = 256 * 1024


class Artifacts:
    """Use cases of artifacts."""

    def __init__(self, uow: UnitOfWork, store: FileByteStore) -> None:
        self._uow = uow
        self._store = store

    def put(
        self,
        source: BinaryIO | bytes,
        media_type: str,
        *,
        expected_sha256: str | None = None,
        limit_bytes: int | None = None,
        owner: Principal | None = None,
    ) -> Artifact:
        """Store a stream or bytes; storing the same content again gives the same artifact.

        The bytes are stored before the row: a crash between the two leaves a file without a row, which a later put
        of the same content adopts.

        Args:
            owner: who uploads it; what is stored already keeps its first owner.

        Raises:
            DigestMismatchError, ArtifactTooLargeError: nothing is stored.
            InvalidValueError: `expected_sha256` is not a digest, or the media type is malformed.
        """
        if expected_sha256 is not None:
            check_sha256(expected_sha256)
        if not 3 <= len(media_type) <= 200 or "/" not in media_type or not media_type.isprintable():
            raise InvalidValueError(f"media type {media_type[:80]!r} is malformed: use type/subtype")
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        stored = self._store.put(stream, expected_sha256=expected_sha256, limit_bytes=limit_bytes)

        def work(tx: Transaction) -> Artifact:
            ArtifactStore(tx).put_artifact(
                Artifact(
                    sha256=stored.sha256,
                    size_bytes=stored.size_bytes,
                    media_type=media_type,
                    created_at=tx.now(),
                    owner=owner,
                )
            )
            return ArtifactStore(tx).get_artifact(stored.sha256)

        return self._uow.write(work)

    def get(self, sha256: str) -> Artifact:
        """Read the record of an artifact, without its content. Raises NotFoundError, InvalidValueError."""
        check_sha256(sha256)
        return self._uow.read(lambda tx: ArtifactStore(tx).get_artifact(sha256))

    def page(self, page: PageRequest, owner: str | None = None) -> Page[Artifact]:
        """List what is stored, or what an owner (by id or name) uploaded, newest first."""
        return self._uow.read(lambda tx: ArtifactStore(tx).page_of_artifacts(page, owner))

    def read(self, sha256: str) -> bytes:
        """Read the whole content, verified. Raises NotFoundError, DigestMismatchError."""
        return self._store.read(check_sha256(sha256))

    def open(self, sha256: str) -> BinaryIO:
        """Open the content for reading, verified first. Raises as `read`."""
        return self._store.open(check_sha256(sha256))

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`. Raises NotFoundError, RangeNotSatisfiableError."""
        return self._store.read_range(check_sha256(sha256), offset, length)

    def chunks(self, sha256: str, offset: int = 0, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) pairs from `offset` to the end. Raises as `read_range`, at the first pair."""
        size_bytes = self._store.size_bytes(check_sha256(sha256))
        position = offset
        while position < size_bytes or position == offset:
            chunk = self._store.read_range(sha256, position, chunk_bytes)
            yield position, chunk
            position += len(chunk)
            if not chunk:
                return
