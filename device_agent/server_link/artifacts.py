"""Artifacts by content: fetched in chunks, resumed by offset, verified before they get their name, cached by bytes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from device_agent.durable import sync_directory
from device_agent.failures import JobFailedError
from nas_engine.domain.job_protocol import FailureType

MAX_ATTEMPTS = 5
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL_MESSAGE = "the device's disk is full"
READ_ONLY_MESSAGE = "the device's disk is read-only"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """Content-addressed bytes: hex sha256, size in bytes, and format (`onnx`, `rknn`, `rknn-cycles`, `images`)."""

    sha256: str
    size_bytes: int
    format: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256) or self.size_bytes < 0:
            raise JobFailedError(
                FailureType.FETCH_FAILED,
                f"artifact {self.sha256!r} of {self.size_bytes} bytes is not a sha256 and size",
            )


class FetchInterruptedError(Exception):
    """The stream broke; the bytes so far are kept and the fetch may go on from there."""


Fetch = Callable[[str, int], Iterator[tuple[int, bytes]]]
"""(sha256, offset) -> (offset, data) chunks in order; raises FetchInterruptedError when the stream breaks."""


class ArtifactCache:
    """An LRU cache of artifacts in one directory, limited by `max_bytes`. One thread at a time may fetch."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._objects = directory / "objects"
        self._partial = directory / "partial"
        self.max_bytes = max_bytes
        self._pinned: dict[str, int] = {}
        self._lock = threading.Lock()  # of the pins, and of what is removed in spite of them
        for made in (self._objects, self._partial):
            made.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def use(self, ref: ArtifactRef, fetch: Fetch, *, pause: Callable[[int], None]) -> Iterator[Path]:
        """The artifact's path, pinned while in use; fetched where it is missing or its bytes have rotted.

        Args:
            ref: what is wanted.
            fetch: streams it from an offset on.
            pause: called with the number of failures so far before every further try.

        Raises:
            JobFailedError: FETCH_FAILED after five tries, DEVICE_BUSY (the disk is full, also without the rest of the
                cache), AGENT_FAULT (it cannot be written otherwise), MODEL_REJECTED (larger than the cache).
        """
        if ref.size_bytes > self.max_bytes:
            raise JobFailedError(
                FailureType.MODEL_REJECTED,
                f"artifact of {ref.size_bytes} bytes is larger than this agent's cache of {self.max_bytes}",
            )
        with self._lock:
            self._pinned[ref.sha256] = self._pinned.get(ref.sha256, 0) + 1
        try:
            path = self._object(ref.sha256)
            if not self._intact(path, ref):
                try:
                    self._make_room(ref.size_bytes)
                    self._fetch_all(ref, fetch, pause)
                except OSError as error:
                    self._drop_partial(ref)  # or the disk would stay full
                    if error.errno not in DISK_FULL:
                        raise _cannot_store(error) from error
                    self._fetch_after_clearing(ref, fetch, pause)
            os.utime(path)  # marks it as used last
            yield path
        finally:
            with self._lock:
                self._pinned[ref.sha256] -= 1
                if not self._pinned[ref.sha256]:
                    del self._pinned[ref.sha256]

    def has(self, ref: ArtifactRef) -> bool:
        """Whether it lies here; its bytes are looked at when it is used."""
        return self._object(ref.sha256).exists()

    def _fetch_after_clearing(self, ref: ArtifactRef, fetch: Fetch, pause: Callable[[int], None]) -> None:
        """Try once more without everything that is not in use."""
        try:
            self._make_room(self.max_bytes)
            self._fetch_all(ref, fetch, pause)
        except OSError as error:
            self._drop_partial(ref)
            if error.errno not in DISK_FULL:
                raise _cannot_store(error) from error
            raise JobFailedError(
                FailureType.DEVICE_BUSY, f"{DISK_FULL_MESSAGE}: an artifact of {ref.size_bytes} bytes does not fit"
            ) from error

    def _drop_partial(self, ref: ArtifactRef) -> None:
        """Delete what has come so far; a disk that lets nothing be deleted either has its first error reported."""
        with contextlib.suppress(OSError):
            self._partial_of(ref).unlink(missing_ok=True)

    def _partial_of(self, ref: ArtifactRef) -> Path:
        return self._partial / ref.sha256

    def held(self, limit: int) -> list[str]:
        """Digests of cached artifacts, used last first."""
        used_ns: dict[str, int] = {}
        for path in self._objects.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # a job makes room meanwhile
                used_ns[path.parent.name + path.name] = path.stat().st_mtime_ns
        return sorted(used_ns, key=used_ns.__getitem__, reverse=True)[:limit]

    def _object(self, sha256: str) -> Path:
        return self._objects / sha256[:2] / sha256[2:]

    def _intact(self, path: Path, ref: ArtifactRef) -> bool:
        """Whether the cached bytes are still those of the digest; SD cards rot, so every use looks again."""
        if not path.exists():
            return False
        if path.stat().st_size == ref.size_bytes and _digest(path) == ref.sha256:
            return True
        path.unlink()
        return False

    def _fetch_all(self, ref: ArtifactRef, fetch: Fetch, pause: Callable[[int], None]) -> None:
        part = self._partial_of(ref)
        reason = ""
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                pause(attempt)
            try:
                self._append(part, ref, fetch)
            except FetchInterruptedError as error:
                reason = str(error)
                continue
            if _digest(part) == ref.sha256:
                path = self._object(ref.sha256)
                path.parent.mkdir(exist_ok=True)
                os.replace(part, path)
                sync_directory(path.parent)
                return
            part.unlink()  # which chunk is wrong cannot be told: start over
            reason = "the bytes received do not have that digest"
        raise JobFailedError(FailureType.FETCH_FAILED, f"artifact {ref.sha256[:12]} not fetched: {reason}")

    def _append(self, part: Path, ref: ArtifactRef, fetch: Fetch) -> None:
        """Continue the partial file to the artifact's size and sync it."""
        with part.open("ab") as file:
            have = file.tell()
            if have > ref.size_bytes:
                file.truncate(0)
                have = 0
            if have < ref.size_bytes or have == 0:
                for offset, data in fetch(ref.sha256, have):
                    if offset != have or have + len(data) > ref.size_bytes:
                        file.truncate(0)
                        raise FetchInterruptedError(f"chunk at offset {offset} where {have} was expected")
                    file.write(data)
                    have += len(data)
            file.flush()
            os.fsync(file.fileno())
        if have != ref.size_bytes:
            raise FetchInterruptedError(f"stream ended after {have} of {ref.size_bytes} bytes")

    def _make_room(self, wanted_bytes: int) -> None:
        """Remove the artifacts that were used longest ago until `wanted_bytes` fit."""
        paths = sorted(self._objects.glob("*/*"), key=lambda p: p.stat().st_mtime_ns)
        used_bytes = sum(p.stat().st_size for p in paths)
        with self._lock:
            for path in paths:
                if used_bytes + wanted_bytes <= self.max_bytes:
                    return
                if path.parent.name + path.name in self._pinned:
                    continue
                used_bytes -= path.stat().st_size
                path.unlink()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _cannot_store(error: OSError) -> JobFailedError:
    """A card that the kernel no longer trusts is no fault of the job, and spends none of its attempts."""
    if error.errno == errno.EROFS:
        return JobFailedError(FailureType.DEVICE_BUSY, f"{READ_ONLY_MESSAGE}: cannot store an artifact: {error}")
    return JobFailedError(FailureType.AGENT_FAULT, f"cannot store an artifact: {error}")
