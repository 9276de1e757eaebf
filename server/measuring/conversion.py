"""Model files that conversions make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.jobs.job import LeaseRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A model file that was made and stored as an artifact.

    Attributes:
        cpu_operators: operators the converter left on the processor.
    """

    sha256: str
    format: ModelFormat
    weights: WeightsOrigin
    supernet_version_id: str | None = None
    cpu_operators: tuple[str, ...] = ()


class RecordConversion(Protocol):
    """Ends a CONVERT job with its files; what a file was made for follows from it, in every concern that waits."""

    def __call__(self, lease: LeaseRef, conversion: Conversion, *others: Conversion) -> None:
        """Take the file in the format that was asked for, and others that came of the same conversion."""
