"""A question for latencies: which networks, on which devices; and the specs it is written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.measuring.environment import Dtype, HardwareKey
from nas_engine.settings.base import Identifier, SpaceSpec, SpecPart
from server.candidates.boards import MeasurementSpec

MAX_NETWORKS = 200
MAX_DEVICES = 10

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class AskedArchitecture(SpecPart):
    """An architecture: by its id, or by its space and genotype."""

    arch_id: Digest | None = None
    """Id of an architecture that the server has seen; give this, or a space and a genotype."""

    space: SpaceSpec | None = None
    """Search space of the genotype."""

    genotype: Annotated[tuple[int, ...], Field(min_length=1, max_length=2000)] | None = None
    """One choice index per gene of the space."""

    @model_validator(mode="after")
    def _named_one_way(self) -> AskedArchitecture:
        by_genotype = self.space is not None and self.genotype is not None
        if (self.arch_id is None) != by_genotype or (self.arch_id is not None and self.space is not None):
            raise ValueError("name it one way: by arch_id, or by space and genotype")
        return self


class AskedDevice(SpecPart):
    """A device type, and which of its latencies are meant where there are several hardware keys."""

    device_type: Identifier
    """Type that the devices registered under, e.g. `rk3588`."""

    hardware_key: Digest | None = None
    """Hardware key that alone is meant (`GET /api/v1/hardware-keys` lists them); absent: any of the type's."""

    runtime: Identifier | None = None
    """Inference engine, e.g. `onnxruntime`; absent: any."""

    dtype: Dtype | None = None
    """Arithmetic of the network on the device; absent: any."""

    batch: int | None = Field(default=None, ge=1, le=1024)
    """Number of images per inference; absent: 1 for architectures, for a model the batch it was measured in."""

    core_mask: str | None = Field(default=None, min_length=1, max_length=64)
    """Cores that the network runs on, as the device names them; absent: any."""

    clocks_profile: str | None = Field(default=None, min_length=1, max_length=64)
    """Clock setting in force, e.g. `pinned-max`; absent: any."""

    def admits(self, hardware_key: str, key: HardwareKey, *, is_model: bool) -> bool:
        """Whether a latency under a hardware key is one of those that are meant."""
        identity, batch = key.identity, self.batch if self.batch is not None or is_model else 1
        wanted = (
            (self.hardware_key, hardware_key),
            (self.runtime, identity.runtime),
            (self.dtype, key.dtype),
            (batch, key.batch),
            (self.core_mask, identity.core_mask),
            (self.clocks_profile, identity.clocks_profile),
        )
        return all(asked in (None, found) for asked, found in wanted)


class LatencyQuestion(SpecPart):
    """Latencies of many networks on many device types, in one call."""

    architectures: Annotated[tuple[AskedArchitecture, ...], Field(max_length=MAX_NETWORKS)] = ()
    """Architectures of search spaces; with the models at most 200."""

    models: Annotated[tuple[Digest, ...], Field(max_length=MAX_NETWORKS)] = ()
    """Models of one's own, by the SHA-256 of the uploaded ONNX file."""

    devices: Annotated[tuple[AskedDevice, ...], Field(min_length=1, max_length=MAX_DEVICES)]
    """Device types, each with what narrows it; at most 10."""

    require_valid: bool = False
    """Whether measurements with validity flags count as none; else they are given, with their flags."""

    same_structure: bool = False
    """Whether measurements of other architectures with the same structure are looked for too: takes about 30 ms for
    each architecture that is asked for the first time."""

    queue_missing: bool = False
    """Whether to queue the measurement of whatever is answered with `measure_it`; needs the role engineer."""

    queue_estimated: bool = False
    """Whether to queue the measurement of whatever is answered with an estimate too, for devices that offer its
    hardware key now; needs the role engineer."""

    measurement: MeasurementSpec = Field(default_factory=MeasurementSpec)
    """How what is missing is measured, where it is queued."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Priority of the queued jobs; above 0 it needs the role admin."""

    @property
    def queues(self) -> bool:
        """Whether anything is to be queued."""
        return self.queue_missing or self.queue_estimated

    @model_validator(mode="after")
    def _bounded(self) -> LatencyQuestion:
        num = len(self.architectures) + len(self.models)
        if not 1 <= num <= MAX_NETWORKS:
            raise ValueError(f"{num} networks: ask for 1 to {MAX_NETWORKS} architectures and models together")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network that is asked for.

    Attributes:
        architecture: of a space; None for a model.
        arch_id: of the architecture; None for a model.
        genotype: of the architecture; None where it has none.
        model_sha256: of a model of somebody's own; None for an architecture.
    """

    architecture: Architecture | None = None
    arch_id: str | None = None
    genotype: Genotype | None = None
    model_sha256: str | None = None

    @property
    def is_model(self) -> bool:
        """Whether it is a model of somebody's own."""
        return self.architecture is None
