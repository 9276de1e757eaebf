"""Artifacts: bytes into the content-addressed store, and what they are into the database."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from server.access.principal import Principal
from server.artifacts.artifact import Artifact, StoredBytes, check_sha256
from server.artifacts.files import FileByteStore, Incoming, damaged
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ArtifactDamagedError, InvalidValueError, NotFoundError
from server.core.paging import Page, PageRequest

CHUNK_BYTES = 256 * 1024
SMALL_BYTES = 1 << 20
"""Up to this size a content is verified before its first byte is given out."""


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
            DigestMismatchError, ArtifactTooLargeError, StorageFullError: nothing is stored.
            InvalidValueError: `expected_sha256` is not a digest, or the media type is malformed.
        """
        if expected_sha256 is not None:
            check_sha256(expected_sha256)
        check_media_type(media_type)
        if isinstance(source, bytes) and (known := self._known(source)) is not None:
            return known  # a full disk does not matter then
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        stored = self._store.put(stream, expected_sha256=expected_sha256, limit_bytes=limit_bytes)
        return self.adopt(stored, media_type, owner)

    def incoming(
        self, *, announced_bytes: int = 0, limit_bytes: int | None = None
    ) -> contextlib.AbstractContextManager[Incoming]:
        """A file of the store that takes an upload; once published, `adopt` what is stored. Raises StorageFullError."""
        self._store.require_room(announced_bytes)
        return self._store.incoming(limit_bytes=limit_bytes, keeps_floor=True)

    def scratch(self) -> BinaryIO:
        """An empty file that nobody else sees, on the disk of what is stored; gone when it is closed."""
        return self._store.scratch()

    def adopt(self, stored: StoredBytes, media_type: str, owner: Principal | None = None) -> Artifact:
        """Record a content that lies in the store; what is recorded already keeps its first owner."""

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

    def page(self, page: PageRequest, owner: str | None = None, media_type: str | None = None) -> Page[Artifact]:
        """List what is stored, or what an owner (by id or name) uploaded, or what is of a type; newest first."""
        return self._uow.read(lambda tx: ArtifactStore(tx).page_of_artifacts(page, owner, media_type))

    def read(self, sha256: str) -> bytes:
        """Read the whole content, verified. Raises NotFoundError, ArtifactDamagedError."""
        with self._losses_told(sha256):
            return self._store.read(check_sha256(sha256))

    def open(self, sha256: str) -> BinaryIO:
        """Open the content for reading, verified first. Raises as `read`."""
        with self._losses_told(sha256):
            return self._store.open(check_sha256(sha256))

    def open_unverified(self, sha256: str) -> BinaryIO:
        """Open the content for a reader that verifies it itself. Raises as `read`."""
        with self._losses_told(sha256):
            return self._store.open_unverified(check_sha256(sha256))

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`. Raises as `read`, and RangeNotSatisfiableError."""
        with self._losses_told(sha256):
            return self._store.read_range(check_sha256(sha256), offset, length)

    def stream(self, artifact: Artifact, first: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Chunks of `length` bytes from `first`, or of all that follow; never all of them where any byte is wrong.

        A small content is verified at once. What reaches to the end of a large one is verified while it is read, and
        its last chunk is held back until the digest fits. A range within a large one is cut from a file that was
        verified as a whole before.

        Raises:
            ArtifactDamagedError: the bytes are lost or corrupted; at once, or instead of the last chunk.
        """
        end = artifact.size_bytes if length is None else first + length
        with contextlib.ExitStack() as on_error:
            with self._losses_told(artifact.sha256):
                to_the_end = end == artifact.size_bytes
                small = artifact.size_bytes <= SMALL_BYTES
                found = self._store.open_unverified if small or to_the_end else self._store.open_verified_lately
                source = on_error.enter_context(found(artifact.sha256))
            size_bytes = os.fstat(source.fileno()).st_size
            if size_bytes != artifact.size_bytes:
                reason = f"its file has {size_bytes} bytes instead of {artifact.size_bytes}"
                raise ArtifactDamagedError(artifact.sha256, reason)
            if small:
                content = source.read()
                digest = hashlib.sha256(content).hexdigest()
                if digest != artifact.sha256:
                    raise damaged(artifact.sha256, digest)
                return iter([content[at : min(at + CHUNK_BYTES, end)] for at in range(first, end, CHUNK_BYTES)])
            on_error.pop_all()
        return _verified_to_the_end(source, artifact.sha256, first) if to_the_end else _range_of(source, first, end)

    def _known(self, content: bytes) -> Artifact | None:
        """The record of a content that is stored already and undamaged."""
        sha256 = hashlib.sha256(content).hexdigest()
        known = self._uow.read(lambda tx: ArtifactStore(tx).find_artifact(sha256))
        if known is not None:
            with contextlib.suppress(NotFoundError, ArtifactDamagedError), self._store.open(sha256):
                return known
        return None

    @contextlib.contextmanager
    def _losses_told(self, sha256: str) -> Iterator[None]:
        """Tell what was never stored from what is recorded and has no file any more."""
        try:
            yield
        except NotFoundError as error:
            if self._uow.read(lambda tx: ArtifactStore(tx).find_artifact(sha256)) is None:
                raise
            raise ArtifactDamagedError(sha256, "its stored bytes are lost") from error


def check_media_type(media_type: str) -> None:
    """Refuse a malformed media type. Raises InvalidValueError."""
    if not 3 <= len(media_type) <= 200 or "/" not in media_type or not media_type.isprintable():
        raise InvalidValueError(f"media type {media_type[:80]!r} is malformed: use type/subtype")


def _verified_to_the_end(source: BinaryIO, sha256: str, first: int) -> Iterator[bytes]:
    digest, position, held = hashlib.sha256(), 0, b""
    with source:
        while chunk := source.read(min(CHUNK_BYTES, first - position) if position < first else CHUNK_BYTES):
            digest.update(chunk)
            position += len(chunk)
            if position > first:
                if held:
                    yield held
                held = chunk
    if digest.hexdigest() != sha256:
        raise damaged(sha256, digest.hexdigest())
    yield held


def _range_of(source: BinaryIO, first: int, end: int) -> Iterator[bytes]:
    with source:
        source.seek(first)
        while chunk := source.read(min(CHUNK_BYTES, end - source.tell())):
            yield chunk
