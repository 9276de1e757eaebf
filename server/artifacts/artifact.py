"""Artifacts: content-addressed bytes, and the exports that were made of architectures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

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


class WeightsOrigin(Enum):
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
