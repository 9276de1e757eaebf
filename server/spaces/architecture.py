"""Architectures as they are stored and handed to workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.objective import Metric
from server.core.errors import InvalidValueError
from server.jobs.payloads import Payload

MAX_COUNT = 2**62  # of MACs, params and bytes; fits every database's bigint


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownValue:
    """A metric that needs no evaluation, because a table of results holds it.

    Attributes:
        standard_error: over the table's runs; None for a single one.
    """

    value: float
    standard_error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureRecord:
    """An architecture with what is known about it without a board; stored once for all searches.

    Attributes:
        architecture: canonical; `arch_id` is its identity.
        genotype: canonical genotype; None where it lies outside the space's choices.
        macs, params, peak_activation_bytes: of the DEPLOYED graph; None for a space without graphs.
    """

    architecture: Architecture
    genotype: Genotype | None = None
    macs: int | None = None
    params: int | None = None
    peak_activation_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("macs", "params", "peak_activation_bytes"):
            count = getattr(self, name)
            if count is not None and not 0 <= count <= MAX_COUNT:
                raise InvalidValueError(f"{name} of architecture {self.architecture.arch_id} is {count}")

    @property
    def arch_id(self) -> str:
        """Identity of the architecture."""
        return self.architecture.arch_id

    @property
    def cheap_values(self) -> Mapping[Metric, float]:
        """The cheap metrics that are known."""
        known = {
            Metric.MACS: self.macs,
            Metric.PARAMS: self.params,
            Metric.PEAK_ACTIVATION_BYTES: self.peak_activation_bytes,
        }
        return {metric: float(count) for metric, count in known.items() if count is not None}


class ArchitectureDocument(Payload):
    """An architecture as a document, for the payloads of jobs."""

    space_id: str
    parameters: str
    choices: str

    @classmethod
    def of(cls, architecture: Architecture) -> ArchitectureDocument:
        return cls(space_id=architecture.space_id, parameters=architecture.parameters, choices=architecture.choices)

    def architecture(self) -> Architecture:
        return Architecture(self.space_id, self.parameters, self.choices)
