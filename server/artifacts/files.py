"""`FileByteStore` on a file system: content-addressed, written atomically, verified when read.

Layout: ``objects/ab/cdef...`` by sha256; ``incoming/`` holds what is being written, on the same file system.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from server.artifacts.artifact import StoredBytes, check_sha256
from server.core.errors import (
    ArtifactDamagedError,
    ArtifactTooLargeError,
    DigestMismatchError,
    NotFoundError,
    RangeNotSatisfiableError,
    StorageFullError,
)

CHUNK_BYTES = 1 << 20
VERIFIED_FOR_S = 60.0
"""How long ranges are answered from a file that was verified as a whole and has not changed since."""
_MAX_REMEMBERED = 1000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no room, or a disk that the kernel lets nobody write any more


class FileByteStore:
    """Bytes under a folder. Several processes may share it: names are digests and renames are atomic.

    Args:
        min_free_bytes: floor of free space; below it no upload is taken, so that the database beside it can write.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self.root = root
        self.objects = root / "objects"
        self._incoming = root / "incoming"
        self.min_free_bytes = min_free_bytes
        self._was_full = False
        self._verified: dict[str, tuple[tuple[int, ...], float]] = {}
        self._lock = threading.Lock()
        for folder in (self.objects, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)

    def require_room(self, wanted_bytes: int = 0) -> None:
        """Refuse what would leave less than the floor of free space. Raises StorageFullError."""
        free_bytes = shutil.disk_usage(self.root).free
        if free_bytes - wanted_bytes < self.min_free_bytes:
            raise StorageFullError(
                f"the artifact store has {free_bytes} bytes free, {wanted_bytes} are wanted and "
                f"{self.min_free_bytes} must stay free (HILNAS_MIN_FREE_BYTES)"
            )

    def fault(self) -> str | None:
        """Why nothing can be stored now; None where something can."""
        try:
            self.require_room()
            if self._was_full:  # a quota does not show in the free space: try
                with full_disk_told(), tempfile.TemporaryFile(dir=self._incoming, buffering=0) as probe:
                    probe.write(bytes(64 * 1024))
                    os.fsync(probe.fileno())
                self._was_full = False
        except (StorageFullError, OSError) as error:
            return str(error)
        return None

    @contextlib.contextmanager
    def incoming(self, *, limit_bytes: int | None = None, keeps_floor: bool = False) -> Iterator[Incoming]:
        """A file beside the objects that takes bytes until it is published; else nothing of it stays.

        Raises:
            StorageFullError: the disk is full, or below its floor, where that is kept: what the service makes itself
                may use the last of the room.
        """
        if keeps_floor:
            self.require_room()
        partial: Path | None = None
        try:
            with full_disk_told():
                descriptor, name = tempfile.mkstemp(dir=self._incoming)
                partial = Path(name)
                # Unbuffered: what a full disk refused would be tried once more when the file is closed.
                with os.fdopen(descriptor, "wb", buffering=0) as target:
                    yield Incoming(self, partial, target, limit_bytes, keeps_floor=keeps_floor)
        except StorageFullError:
            self._was_full = True
            raise
        finally:
            if partial is not None:
                partial.unlink(missing_ok=True)

    def scratch(self) -> BinaryIO:
        """An empty file that nobody else sees, beside what is stored; gone when it is closed."""
        return tempfile.TemporaryFile(dir=self._incoming)

    def put(
        self, source: BinaryIO, *, expected_sha256: str | None = None, limit_bytes: int | None = None
    ) -> StoredBytes:
        """Store a stream atomically; on any error nothing is stored."""
        with self.incoming(limit_bytes=limit_bytes) as incoming:
            while chunk := source.read(CHUNK_BYTES):
                incoming.write(chunk)
            return incoming.publish(expected_sha256)

    def put_bytes(self, content: bytes) -> StoredBytes:
        """`put` for bytes in memory."""
        return self.put(BytesIO(content))

    def exists(self, sha256: str) -> bool:
        """Whether the content is there."""
        return self.path(sha256).is_file()

    def size_bytes(self, sha256: str) -> int:
        """Look up the size of the content; NotFoundError where there is none."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error

    def read(self, sha256: str) -> bytes:
        """The whole content, verified. Raises NotFoundError, ArtifactDamagedError."""
        with self.open_unverified(sha256) as source:
            content = source.read()
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise damaged(sha256, found)
        return content

    def open(self, sha256: str) -> BinaryIO:
        """The content for reading, verified before the first byte is given."""
        source = self.open_unverified(sha256)
        with contextlib.ExitStack() as on_error:
            on_error.callback(source.close)
            digest = hashlib.sha256()
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise damaged(sha256, digest.hexdigest())
            source.seek(0)
            on_error.pop_all()
        return source

    def open_verified_lately(self, sha256: str) -> BinaryIO:
        """`open`, without reading a file again that was verified within `VERIFIED_FOR_S` and has not changed since."""
        source = self.open_unverified(sha256)
        stamp = _stamp(source)
        with self._lock:
            known, at_s = self._verified.get(sha256, ((), 0.0))
        if known == stamp and time.monotonic() - at_s < VERIFIED_FOR_S:
            return source
        source.close()
        source = self.open(sha256)
        with self._lock:
            if len(self._verified) >= _MAX_REMEMBERED:
                self._verified.clear()
            self._verified[sha256] = (_stamp(source), time.monotonic())
        return source

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` of a content that is verified as a whole."""
        size = self.size_bytes(sha256)
        if not 0 <= offset <= size or (offset == size and size > 0):
            raise RangeNotSatisfiableError(offset, size)
        with self.open_verified_lately(sha256) as source:
            source.seek(offset)
            return source.read(length)

    def delete(self, sha256: str) -> None:
        """Remove the content, if it is there."""
        self.path(sha256).unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the content lies. Only digests name files: nothing a client sends reaches the file system otherwise."""
        check_sha256(sha256)
        return self.objects / sha256[:2] / sha256[2:]

    def open_unverified(self, sha256: str) -> BinaryIO:
        """The content for a reader that verifies it while it reads. Raises NotFoundError."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError as error:
            raise NotFoundError("artifact", sha256) from error


class Incoming:
    """One content that is being written; `FileByteStore.incoming` makes it."""

    def __init__(
        self, store: FileByteStore, partial: Path, target: BinaryIO, limit_bytes: int | None, *, keeps_floor: bool
    ) -> None:
        self._store = store
        self._partial = partial
        self._target = target
        self._limit_bytes = limit_bytes
        self._keeps_floor = keeps_floor
        self._digest = hashlib.sha256()
        self._size = 0
        self._since_check_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            ArtifactTooLargeError: there are more than allowed.
            StorageFullError: the disk is full, or below its floor.
        """
        self._size += len(chunk)
        if self._limit_bytes is not None and self._size > self._limit_bytes:
            raise ArtifactTooLargeError(self._limit_bytes)
        self._since_check_bytes += len(chunk)
        if self._keeps_floor and self._since_check_bytes >= 16 * CHUNK_BYTES:  # uploads at the same time share the room
            self._since_check_bytes = 0
            self._store.require_room()
        self._digest.update(chunk)
        view = memoryview(chunk)
        with full_disk_told():
            while view:
                view = view[self._target.write(view) :]

    def publish(self, expected_sha256: str | None) -> StoredBytes:
        """Give the content its name, durably.

        Raises:
            DigestMismatchError: it is not what was announced.
        """
        found = self._digest.hexdigest()
        if expected_sha256 is not None and found != expected_sha256:
            raise DigestMismatchError(expected_sha256, found)
        path = self._store.path(found)
        with full_disk_told():
            os.fsync(self._target.fileno())
            path.parent.mkdir(exist_ok=True)
            self._partial.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the rename itself must survive a power cut
            finally:
                os.close(folder)
        return StoredBytes(found, self._size)


def damaged(sha256: str, found: str) -> ArtifactDamagedError:
    """The error for a file whose bytes have another digest than its name."""
    return ArtifactDamagedError(sha256, f"its stored bytes are corrupted (their sha256 is {found})")


@contextlib.contextmanager
def full_disk_told() -> Iterator[None]:
    """Say of a disk of the store that is full or read-only that it is. Raises StorageFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            what = "cannot be written" if error.errno == errno.EROFS else "is full"
            raise StorageFullError(f"the artifact store's disk {what} ({error.strerror})") from error
        raise


def _stamp(source: BinaryIO) -> tuple[int, ...]:
    stat = os.fstat(source.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
