"""Descriptions of search spaces and data sets, for people and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.plugins.doors import Provider
from nas_engine.settings.kinds.datasets import too_few_images


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
        provider: package that brings it, and its version; None for a table of results.
        parameters_schema: JSON schema of its parameters; None for a table of results.
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
    provider: Provider | None = None
    parameters_schema: JsonValue = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """A data set a worker can load.

    Attributes:
        image_shape: (channels, height, width) as stored; None where images differ.
        num_train, num_validation, num_test: images per split; None where only the worker can count them.
        kind: format of its files, or the name of what a package brings.
        provider: package that reads it, and its version.
    """

    name: str
    title: str
    num_classes: int
    image_shape: tuple[int, int, int] | None = None
    num_train: int | None = None
    num_validation: int | None = None
    num_test: int | None = None
    kind: str
    provider: Provider

    def batch_fault(self, batch_size: int) -> str | None:
        """Why the training images make no batch of this size; None where they do, or where only a worker can tell.

        Validation images are carved class by class: by rounding there may be one training image more in each.
        """
        if self.num_train is None or batch_size <= self.num_train + self.num_classes:
            return None
        return too_few_images(self.name, self.num_train, "training", batch_size)
