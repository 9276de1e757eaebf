"""Search spaces and data sets on the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from nas_engine.settings.base import Identifier
from server.core.http.resources import Body, Json, MetricLabel, Resource


class NamedArchitectureResource(Resource):
    """A published model of a space."""

    name: str
    source: str


class GeneResource(Resource):
    """One position of a genotype."""

    name: str
    group: str
    kind: Literal["structural", "leaf"]
    """Structural genes change which other genes have an effect."""

    options: list[str]
    """Label of each choice; a genotype holds indices into it."""


class SpaceResource(Resource):
    """A search space with its published parameters."""

    id: str
    title: str
    num_genes: int
    size: int = Field(examples=[1099511627776])
    """Number of genotypes; may exceed 2**53."""

    num_classes: int
    input_shapes: list[list[int]]
    """Every (channels, height, width) an architecture may take."""

    has_graphs: bool
    """False for a space that is only a table of results: it can be neither exported nor measured."""

    named: list[NamedArchitectureResource]
    columns: list[MetricLabel]
    """Metrics that a table of results holds; empty for a space with graphs."""

    num_rows: int | None
    """Architectures that a table of results holds; null for a space with graphs."""


class NewSpaceBody(Body):
    """A table of results to be registered as a search space."""

    id: Identifier = Field(examples=["my-table"])
    """Name of the new space, as search specs will use it; what it stands for never changes."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the table, uploaded as an artifact: JSON or CSV, at most 8 MiB."""


class SpaceDetail(SpaceResource):
    """A search space with its parameters and genes."""

    parameters: dict[str, Json]
    genes: list[GeneResource]


class DecodeBody(Body):
    """Which architecture to decode."""

    architecture: Any = Field(examples=["spos-searched", [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3]])
    """A published name, a genotype, or the space's own form."""

    parameters: dict[str, Any] = Field(default_factory=dict, max_length=64)
    """Parameters of the space; absent ones take the published values."""

    include_layers: bool = False
    """Whether to list every layer."""

    include_svg: bool = False
    """Whether to draw it."""


class LayerResource(Resource):
    """Cost of one layer that has weights."""

    name: str
    block: str
    operator: str
    macs: int
    params: int


class RowValueResource(Resource):
    """One metric of one row of a table of results."""

    value: float
    """In the metric's unit; the mean over repeated runs."""

    standard_error: float | None
    """Of that mean; null for a single run."""


class DecodedResource(Resource):
    """What an architecture is and costs, before any board is asked."""

    space: str
    arch_id: str
    genotype: list[int] | None
    """Null where the architecture lies outside the space's own choices."""

    architecture: Json
    """The space's own description."""

    num_classes: int
    input_shape: list[int] | None
    """Channels, height, width; null for a space that is only a table of results."""

    note: str | None = None
    """What to know about it; null where there is nothing."""

    row: dict[MetricLabel, RowValueResource] | None = None
    """What the table of results holds of it; null for a space with graphs, and where there is no such row."""

    macs: int | None
    params: int | None
    peak_activation_bytes: int | None
    layers: list[LayerResource] | None = None
    svg: str | None = None


class DatasetResource(Resource):
    """A data set that supernets can be trained on."""

    name: str
    title: str
    num_classes: int
    image_shape: list[int] | None
    """Channels, height, width as stored; null where images differ."""

    num_train_images: int | None
    """Null where only a worker can count them; so below."""

    num_validation_images: int | None
    num_test_images: int | None
