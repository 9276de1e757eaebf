"""Content-addressed bytes in a folder: ``objects/ab/cdef...``, written whole or not at all.

Safe for several processes and hosts that share the folder: a content has one name, and appears under it by an atomic
rename. What is there is never written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from server.service.errors import (
    ArtifactTooLargeError,
    DigestMismatchError,
    NotFoundError,
    RangeNotSatisfiableError,
)
from server.service.values.artifact import StoredBytes, check_sha256

CHUNK_BYTES = 1 << 20
DEFAULT_LIMIT_BYTES = 4 << 30
STALE_UPLOAD_S = 24 * 3600.0
_MAX_REMEMBERED = 1024


class FileStore:
    """`ByteStore` in a folder.

    Args:
        root: made when missing.
        limit_bytes: largest content taken, unless a call sets a smaller limit.
    """

    def __init__(self, root: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._objects = root / "objects"
        self._uploads = root / "uploads"
        self._limit_bytes = limit_bytes
        self._verified: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()
        for folder in (self._objects, self._uploads):
            folder.mkdir(parents=True, exist_ok=True)

    def put(
        self, source: BinaryIO, *, expected_sha256: str | None = None, limit_bytes: int | None = None
    ) -> StoredBytes:
        """Store a stream; the file appears complete or not at all. See `ByteStore.put`."""
        limit = self._limit_bytes if limit_bytes is None else min(limit_bytes, self._limit_bytes)
        with self._upload() as (path, target):
            digest, size_bytes = hashlib.sha256(), 0
            while chunk := source.read(CHUNK_BYTES):
                size_bytes += len(chunk)
                if size_bytes > limit:
                    raise ArtifactTooLargeError(limit)
                digest.update(chunk)
                target.write(chunk)
            sha256 = digest.hexdigest()
            if expected_sha256 is not None and sha256 != check_sha256(expected_sha256):
                raise DigestMismatchError(expected_sha256, sha256)
            target.flush()
            os.fsync(target.fileno())
            self._publish(path, sha256)
        return StoredBytes(sha256, size_bytes)

    def put_bytes(self, content: bytes) -> StoredBytes:
        """`put` for bytes in memory."""
        return self.put(io.BytesIO(content))

    def exists(self, sha256: str) -> bool:
        """Whether the content is there."""
        return self._path(sha256).is_file()

    def size_bytes(self, sha256: str) -> int:
        """Its size. Raises NotFoundError."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error

    def read(self, sha256: str) -> bytes:
        """The whole content, verified. See `ByteStore.read`."""
        try:
            content = self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error
        actual = hashlib.sha256(content).hexdigest()
        if actual != sha256:
            raise DigestMismatchError(sha256, actual)
        return content

    def open(self, sha256: str) -> BinaryIO:
        """The content for reading, verified before the first byte is given."""
        self._verify(sha256)
        try:
            return self._path(sha256).open("rb")
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; the file is verified first, once until it changes."""
        self._verify(sha256)
        with self.open(sha256) as source:
            size_bytes = os.fstat(source.fileno()).st_size
            if not 0 <= offset <= size_bytes or length < 0:
                raise RangeNotSatisfiableError(offset, size_bytes)
            source.seek(offset)
            return source.read(length)

    def delete(self, sha256: str) -> None:
        """Remove the content, if it is there."""
        self._path(sha256).unlink(missing_ok=True)

    def sweep_uploads(self, now_s: float, older_than_s: float = STALE_UPLOAD_S) -> int:
        """Remove what crashed uploads left; returns how many files."""
        removed = 0
        for path in self._uploads.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if now_s - path.stat().st_mtime > older_than_s:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, sha256: str) -> Path:
        # Checked, so that no caller can name a path outside the store.
        check_sha256(sha256)
        return self._objects / sha256[:2] / sha256[2:]

    @contextlib.contextmanager
    def _upload(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A private file on the same file system; gone again unless it was published."""
        handle, name = tempfile.mkstemp(dir=self._uploads, prefix="put-")
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as target:
                yield path, target
        finally:
            path.unlink(missing_ok=True)

    def _publish(self, path: Path, sha256: str) -> None:
        final = self._path(sha256)
        if final.is_file():
            return
        final.parent.mkdir(exist_ok=True)
        path.chmod(0o644)
        path.replace(final)
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself survives a power cut
        finally:
            os.close(folder)

    def _verify(self, sha256: str) -> None:
        """Check the digest, once per file and modification: chunked reads of one file do not hash it every time."""
        path = self._path(sha256)
        try:
            state = path.stat()
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error
        mark = (state.st_mtime_ns, state.st_size)
        with self._lock:
            if self._verified.get(sha256) == mark:
                self._verified.move_to_end(sha256)
                return
        with path.open("rb") as source:
            actual = hashlib.file_digest(source, "sha256").hexdigest()
        if actual != sha256:
            raise DigestMismatchError(sha256, actual)
        with self._lock:
            self._verified[sha256] = mark
            while len(self._verified) > _MAX_REMEMBERED:
                self._verified.popitem(last=False)
