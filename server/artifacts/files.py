"""`FileByteStore` on a file system: content-addressed, written atomically, verified when read.

Layout: ``objects/ab/cdef...`` by sha256; ``incoming/`` holds what is being written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from server.artifacts.artifact import StoredBytes, check_sha256
from server.core.errors import ArtifactTooLargeError, DigestMismatchError, NotFoundError, RangeNotSatisfiableError

CHUNK_BYTES = 1 << 20


class FileByteStore:
    """Bytes under a folder. Several processes may share it: names are digests and renames are atomic."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        for folder in (self._objects, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)

    def put(
        self, source: BinaryIO, *, expected_sha256: str | None = None, limit_bytes: int | None = None
    ) -> StoredBytes:
        """Store a stream atomically; on any error nothing is stored."""
        digest, size = hashlib.sha256(), 0
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    size += len(chunk)
                    if limit_bytes is not None and size > limit_bytes:
                        raise ArtifactTooLargeError(limit_bytes)
                    digest.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            found = digest.hexdigest()
            if expected_sha256 is not None and found != expected_sha256:
                raise DigestMismatchError(expected_sha256, found)
            self._publish(partial, found)
        finally:
            partial.unlink(missing_ok=True)
        return StoredBytes(found, size)

    def put_bytes(self, content: bytes) -> StoredBytes:
        """`put` for bytes in memory."""
        return self.put(BytesIO(content))

    def exists(self, sha256: str) -> bool:
        """Whether the content is there."""
        return self._path(sha256).is_file()

    def size_bytes(self, sha256: str) -> int:
        """Look up the size of the content; NotFoundError where there is none."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error

    def read(self, sha256: str) -> bytes:
        """The whole content, verified."""
        with self._open(sha256) as source:
            content = source.read()
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise DigestMismatchError(sha256, found)
        return content

    def open(self, sha256: str) -> BinaryIO:
        """The content for reading, verified before the first byte is given."""
        source = self._open(sha256)
        with contextlib.ExitStack() as on_error:
            on_error.callback(source.close)
            digest = hashlib.sha256()
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise DigestMismatchError(sha256, digest.hexdigest())
            source.seek(0)
            on_error.pop_all()
        return source

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; the reader verifies the whole by its digest."""
        size = self.size_bytes(sha256)
        if not 0 <= offset <= size or (offset == size and size > 0):
            raise RangeNotSatisfiableError(offset, size)
        with self._open(sha256) as source:
            source.seek(offset)
            return source.read(length)

    def delete(self, sha256: str) -> None:
        """Remove the content, if it is there."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        # Only digests name files: nothing a client sends reaches the file system otherwise.
        check_sha256(sha256)
        return self._objects / sha256[:2] / sha256[2:]

    def _open(self, sha256: str) -> BinaryIO:
        try:
            return self._path(sha256).open("rb")
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error

    def _publish(self, partial: Path, sha256: str) -> None:
        path = self._path(sha256)
        path.parent.mkdir(exist_ok=True)
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)
