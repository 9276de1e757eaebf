"""Results on disk: written and synced before they are sent, deleted only when the server has answered for them.

What the server rejects lies in `rejected/` with its reason beside it, until newer ones need the room.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from device_agent.durable import sync_directory, write_durably

_log = logging.getLogger(__name__)
_SUFFIX = ".result"
_BAD_SUFFIX = ".corrupt"
_REASON_SUFFIX = ".reason"
MAX_REJECTED = 100
MAX_REJECTED_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class SpooledResult:
    """One unsent result.

    Attributes:
        name: its file's name, unique per lease.
        envelope: serialised ResultEnvelope.
        sha256: hex digest of the envelope.
    """

    name: str
    envelope: bytes
    sha256: str


class Spool:
    """Unsent results in one directory. A file is the envelope's digest (32 bytes) followed by the envelope."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob(".*.tmp"):  # a write that a power cut ended; its job is measured again
            left.unlink()

    def put(self, lease_id: str, envelope: bytes) -> SpooledResult:
        """Store one result durably; the same lease again replaces it.

        Raises:
            OSError: the disk is full or not writable.
        """
        name = hashlib.sha256(lease_id.encode()).hexdigest()[:32]
        digest = hashlib.sha256(envelope)
        write_durably(self._directory / (name + _SUFFIX), digest.digest() + envelope)
        return SpooledResult(name, envelope, digest.hexdigest())

    def pending(self) -> list[SpooledResult]:
        """Unsent results, oldest first. A file whose digest does not fit is set aside and reported in the log."""
        paths = sorted(self._directory.glob("*" + _SUFFIX), key=lambda p: p.stat().st_mtime_ns)
        results: list[SpooledResult] = []
        for path in paths:
            raw = path.read_bytes()
            digest, envelope = raw[:32], raw[32:]
            if len(raw) < 32 or hashlib.sha256(envelope).digest() != digest:
                _log.error("spooled result %s is damaged: set aside as %s", path.name, _BAD_SUFFIX)
                path.rename(path.with_suffix(_BAD_SUFFIX))
                continue
            results.append(SpooledResult(path.stem, envelope, digest.hex()))
        return results

    def remove(self, name: str) -> None:
        """Forget a result that the server has answered for; a missing one is no error."""
        (self._directory / (name + _SUFFIX)).unlink(missing_ok=True)
        sync_directory(self._directory)

    def set_aside(self, result: SpooledResult, reason: str) -> None:
        """Keep a result that the server will never take, with its reason, out of the way of those behind it.

        Of what was refused the newest `MAX_REJECTED` are kept, and at most `MAX_REJECTED_BYTES`. A disk that takes no
        more loses this one, never the ones that are still to be sent.
        """
        rejected = self._directory / "rejected"
        name = result.name or result.sha256[:32]
        try:
            rejected.mkdir(exist_ok=True)
            write_durably(rejected / (name + _REASON_SUFFIX), f"{reason}\n".encode(errors="replace"))
            write_durably(rejected / (name + _SUFFIX), bytes.fromhex(result.sha256) + result.envelope)
            _keep_newest(rejected)
        except OSError as error:
            _log.error("result %s was refused (%s) and cannot be kept: %s", result.sha256[:12], reason, error)
        if result.name:
            self.remove(result.name)

    def __len__(self) -> int:
        return sum(1 for _ in self._directory.glob("*" + _SUFFIX))


def _keep_newest(rejected: Path) -> None:
    """Delete the oldest results beyond the limits, and reasons without a result."""
    left_bytes = MAX_REJECTED_BYTES
    results = sorted(rejected.glob("*" + _SUFFIX), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for place, path in enumerate(results):
        left_bytes -= path.stat().st_size
        if place >= MAX_REJECTED or (left_bytes < 0 and place):
            path.unlink()
    for reason in rejected.glob("*" + _REASON_SUFFIX):
        if not reason.with_suffix(_SUFFIX).exists():
            reason.unlink()
