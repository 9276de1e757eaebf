"""Artifacts: content-addressed bytes, and the exports that were made of architectures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum

from server.access.principal import Principal
from server.core.errors import InvalidValueError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_sha256(sha256: str) -> str:
    """`sha256` if it is 64 lower-case hex digits.

    Raises:
        InvalidValueError: it is not.
    """
    if _SHA256.fullmatch(sha256) is None:
        raise InvalidValueError(f"{sha256[:80]!r} is not a sha256: give 64 lower-case hex digits")
    return sha256


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """What the byte store knows of one content."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Bytes that are stored under the hash of their content.

    Attributes:
        owner: of the token that first uploaded them; None for what the service made.
    """

    sha256: str
    size_bytes: int
    media_type: str
    created_at: datetime
    owner: Principal | None = None


FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$"
"""What a file may be called that somebody downloads: nothing a shell, a header or a file system reads otherwise."""
_EXTENSIONS = {
    "application/onnx": ".onnx",
    "application/vnd.rockchip.rknn": ".rknn",
    "application/vnd.hilnas.rknn-cycles+json": ".cycles.json",
    "application/json": ".json",
}


def default_name(artifact: Artifact) -> str:
    """Name for whoever saves a content of which only the digest is known."""
    return artifact.sha256[:16] + _EXTENSIONS.get(artifact.media_type, "")


class WeightsOrigin(StrEnum):
    """Which weights an exported model carries."""

    INHERITED = "inherited"  # from a supernet version
    RANDOM = "random"  # latency only: accuracy on the device is refused
    RETRAINED = "retrained"


class ModelFormat(Enum):
    """File format of a model; the agents' `model_formats`."""

    ONNX = "onnx"
    RKNN = "rknn"
    RKNN_CYCLES = "rknn-cycles"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelExport:
    """A model file made of an architecture; found again by latency key, so that nothing is exported twice.

    Attributes:
        id: ``exp_...``.
        cpu_operators: operators the converter left on the processor.
        supernet_version_id: for inherited weights.
    """

    id: str
    arch_id: str
    latency_key: str
    format: ModelFormat
    weights: WeightsOrigin
    sha256: str
    supernet_version_id: str | None = None
    cpu_operators: tuple[str, ...] = ()
    created_at: datetime


class ScrubState(Enum):
    """How far a scrub is."""

    NEVER = "never"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubReport:
    """What the last scrub found.

    Attributes:
        num_checked, checked_bytes: recorded contents looked at, and bytes read.
        num_corrupted, num_missing, num_orphaned: all of each; the lists name the first thousand.
        corrupted: digests whose file holds other bytes.
        missing: digests that are recorded and have no file.
        orphaned: files of the store that no record names, older than an hour.
        error: why it did not finish.
    """

    state: ScrubState = ScrubState.NEVER
    started_at: datetime | None = None
    finished_at: datetime | None = None
    num_checked: int = 0
    checked_bytes: int = 0
    num_corrupted: int = 0
    num_missing: int = 0
    num_orphaned: int = 0
    corrupted: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()
    error: str = ""
