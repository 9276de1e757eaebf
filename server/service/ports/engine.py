"""Ports to the engine: what the service asks of search spaces, data sets and front mathematics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import Dtype
from nas_engine.domain.objective import Metric, Objective
from server.service.values.candidate import ArchitectureRecord, KnownValue


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBounds:
    """Smallest and largest value a cheap metric takes in a space."""

    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneDescription:
    """One position of a genotype, for people."""

    name: str
    options: tuple[str, ...]
    group: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceDescription:
    """A search space, for people and checks.

    Attributes:
        parameters: every one with its value, defaults included.
        size: number of genotypes; may exceed 2**64.
        input_shapes: (channels, height, width), smallest first.
        named: published architectures: name -> source.
        has_graphs: False for a space that is only a table of results: it can be neither exported nor measured.
        columns: metrics that such a table holds; empty for spaces with graphs.
        num_rows: architectures that it holds; None for spaces with graphs.
        densely_connected: DenseNAS can search it.
    """

    id: str
    title: str
    parameters: Mapping[str, JsonValue]
    genes: tuple[GeneDescription, ...]
    size: int
    num_classes: int
    input_shapes: tuple[tuple[int, int, int], ...]
    named: Mapping[str, str]
    has_graphs: bool = True
    columns: tuple[Metric, ...] = ()
    num_rows: int | None = None
    densely_connected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """A data set a worker can load.

    Attributes:
        image_shape: (channels, height, width) as stored; None where images differ.
        num_train, num_validation, num_test: images per split; None where only the worker can count them.
    """

    name: str
    title: str
    num_classes: int
    image_shape: tuple[int, int, int] | None = None
    num_train: int | None = None
    num_validation: int | None = None
    num_test: int | None = None


class SpaceCatalog(Protocol):
    """What is known of search spaces and architectures without torch. Thread-safe; answers may be cached."""

    def space_ids(self) -> Sequence[str]:
        """Every registered id: built-in spaces, then tables."""

    def knows(self, space_id: str) -> bool:
        """Whether an id can be described, with the right parameters."""

    def describe(self, space_id: str, parameters: Mapping[str, JsonValue]) -> SpaceDescription:
        """A space. Raises nas_engine's InvalidSpaceError for an unknown id or bad parameters."""

    def bounds(self, space_id: str, parameters: Mapping[str, JsonValue]) -> Mapping[Metric, MetricBounds]:
        """Range of every cheap metric over the space; of a table those it holds. Raises as `describe`."""

    def record(self, space_id: str, parameters: Mapping[str, JsonValue], document: JsonValue) -> ArchitectureRecord:
        """An architecture from a published name, a genotype or the space's own form, with its cheap metrics.

        Raises nas_engine's InvalidArchitectureError or InvalidGenotypeError.
        """

    def decode(self, space_id: str, parameters: Mapping[str, JsonValue], genotype: Genotype) -> ArchitectureRecord:
        """The architecture of a genotype, with its cheap metrics. Raises nas_engine's InvalidGenotypeError."""

    def known_values(
        self, space_id: str, parameters: Mapping[str, JsonValue], genotype: Genotype
    ) -> Mapping[Metric, KnownValue]:
        """What a table of results holds of a genotype; empty for spaces with graphs."""

    def latency_key(self, architecture: Architecture, *, dtype: Dtype, batch: int) -> str | None:
        """What its latency is filed under; None for a space without graphs."""

    def picture_svg(self, architecture: Architecture, compared_with: Architecture | None = None) -> str:
        """A deterministic SVG; with a second architecture, of their differences."""

    def input_shape(self, architecture: Architecture) -> tuple[int, ...] | None:
        """(channels, height, width) of the DEPLOYED graph; None for a space without graphs."""

    def layers(self, architecture: Architecture) -> Sequence[Mapping[str, JsonValue]]:
        """Cost per layer of the DEPLOYED graph: name, block, operator, shape, macs, params."""

    def export_onnx(self, architecture: Architecture, *, batch: int, seed: int) -> bytes:
        """ONNX with random weights: good for latency only."""


class DatasetCatalog(Protocol):
    """Data sets by name."""

    def describe(self, name: str) -> DatasetDescription | None:
        """One data set; None where there is none of that name."""

    def all(self) -> Sequence[DatasetDescription]:
        """Every one, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateAgreement:
    """How well one estimator agrees with what was measured.

    Attributes:
        num_networks: how many were compared.
        kendall_tau: tau-b of estimates and measurements; None where all of one of them are equal.
        mean_relative_error: mean of |estimate - measured| / measured.
        mean_error_us: mean of estimate - measured; positive where the estimator is too high.
    """

    estimator: str
    num_networks: int
    kendall_tau: float | None
    mean_absolute_error_us: float
    mean_relative_error: float
    mean_error_us: float


class EstimateMaths(Protocol):
    """Order and error of latency estimates."""

    def compare(
        self, estimates_us: Mapping[str, Sequence[float]], measured_us: Sequence[float]
    ) -> Sequence[EstimateAgreement]:
        """One per estimator; two or more networks, all measured latencies positive."""


class FrontMaths(Protocol):
    """Dominance and hypervolume. Values are in the metrics' own units and directions; all finite."""

    def non_dominated(
        self,
        objectives: Sequence[Objective],
        values: Sequence[Sequence[float]],
        standard_errors: Sequence[Sequence[float]] | None = None,
    ) -> Sequence[int]:
        """Indices of the non-dominated rows, ascending; of equal rows all are kept.

        With standard errors: of the rows that none dominates beyond the 95 % confidence intervals.
        """

    def hypervolume(
        self, objectives: Sequence[Objective], values: Sequence[Sequence[float]], reference_point: Sequence[float]
    ) -> float:
        """Hypervolume dominated by the rows up to the reference point (own units); rows beyond it add nothing."""
