"""Architectures as they are stored and handed to workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas_engine.domain.architecture import Architecture, Genotype
from server.core.errors import InvalidValueError
from server.jobs.payloads import Payload

MAX_COUNT = 2**62  # of MACs, params and bytes


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
        values: by the metric's name, what is known without a board: counted from the DEPLOYED graph, or held by a
            table of results.
    """

    architecture: Architecture
    genotype: Genotype | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not 0 <= value <= MAX_COUNT:
                raise InvalidValueError(f"{name} of architecture {self.architecture.arch_id} is {value}")

    @property
    def arch_id(self) -> str:
        """Identity of the architecture."""
        return self.architecture.arch_id


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
