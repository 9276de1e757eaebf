"""Search spaces and data sets on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nas_engine.domain.search_space import GeneKind
from nas_engine.settings.base import Identifier, one_of
from server.core.http.resources import Body, Json, MetricLabel, Resource


class NamedArchitectureResource(Resource):
    """A published model of a space."""

    name: str
    """Name under which requests may give it, unique within the space."""

    source: str
    """Publication that the architecture is taken from."""


if TYPE_CHECKING:
    GeneKindName = str
else:
    GeneKindName = one_of(kind.value for kind in GeneKind)


class GeneResource(Resource):
    """One position of a genotype."""

    name: str
    """Name of the position, unique within the space."""

    group: str
    """Group of genes that it is shown with, such as the stage it belongs to."""

    kind: GeneKindName
    """Role of the gene in the space: structural genes change which other genes have an effect, leaves do not."""

    options: list[str]
    """Label of each choice, in order; a genotype holds indices into this list."""


class SpaceResource(Resource):
    """A search space with its published parameters."""

    id: str
    """Id that search specs name the space by."""

    title: str
    """Title of the space for people."""

    num_genes: int
    """Number of genes of a genotype."""

    size: int = Field(examples=[1099511627776])
    """Number of genotypes; may exceed 2**53."""

    num_classes: int
    """Number of classes that its architectures tell apart, with the published parameters."""

    input_shapes: list[list[int]]
    """Every (channels, height, width) that an architecture may take, in pixels."""

    has_graphs: bool
    """Whether architectures have layer graphs; false for a space that is only a table of results, which can be neither
    exported nor measured."""

    named: list[NamedArchitectureResource]
    """Architectures that were published for the space."""

    columns: list[MetricLabel]
    """Metrics that a table of results holds; empty for a space with graphs."""

    num_rows: int | None
    """Number of architectures that a table of results holds; null for a space with graphs."""

    package: str | None = None
    """Installed package that brings the space; `hilnas` for what ships with the server, null for a table of results."""

    package_version: str | None = None
    """Version of that package, as it is installed on the server; null for a table of results."""


class NewSpaceBody(Body):
    """A table of results to be registered as a search space."""

    id: Identifier = Field(examples=["my-table"])
    """Id of the new space, as search specs will use it; the table it stands for never changes."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the table, uploaded as an artifact: JSON or CSV, at most 8 MiB."""


class SpaceDetail(SpaceResource):
    """A search space with its parameters and genes."""

    parameters: dict[str, Json]
    """Parameters of the space with their published values, by name."""

    parameters_schema: dict[str, Json] | None = None
    """JSON schema of the parameters; null for a table of results, which takes none."""

    genes: list[GeneResource]
    """Genes of a genotype, in order."""


class DecodeBody(Body):
    """The architecture to decode, and what to answer with it."""

    architecture: Any = Field(examples=["spos-searched", [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3]])
    """Architecture to decode: a published name, a genotype, or the space's own form."""

    parameters: dict[str, Any] = Field(default_factory=dict, max_length=64)
    """Parameters of the space by name; absent ones take the published values."""

    include_layers: bool = False
    """Whether the answer lists every layer that has weights."""

    include_svg: bool = False
    """Whether the answer holds a drawing of the architecture."""


class LayerResource(Resource):
    """Cost of one layer that has weights."""

    name: str
    """Name of the layer in the layer graph."""

    block: str
    """Name of the block that the layer belongs to."""

    operator: str
    """Operator of the layer, such as a convolution, with what sets its cost."""

    macs: int
    """Multiply-accumulate operations for one image, counted from the layer graph."""

    params: int
    """Number of weights, counted from the layer graph."""


class RowValueResource(Resource):
    """One metric of one row of a table of results."""

    value: float
    """Mean over the table's repeated runs, in the metric's unit."""

    standard_error: float | None
    """Standard error of that mean, in the metric's unit; null for a single run."""


class DecodedResource(Resource):
    """An architecture with what it costs, counted by the server without any board."""

    space: str
    """Id of the space that the architecture belongs to."""

    arch_id: str
    """Identity of the architecture: SHA-256 of its canonical JSON, lower-case hex."""

    genotype: list[int] | None
    """Choice of each gene as its index; null where the architecture lies outside the space's own choices."""

    architecture: Json
    """Description of the architecture in the space's own form."""

    num_classes: int
    """Number of classes that it tells apart, from the space's parameters."""

    input_shape: list[int] | None
    """Channels, height and width of its input; null for a space that is only a table of results."""

    note: str | None = None
    """Remarks of the server: what was read otherwise than it says, and what cannot be done with it; null where there
    are none."""

    row: dict[MetricLabel, RowValueResource] | None = None
    """Values that the table of results holds for it, by metric; null for a space with graphs, and where there is no
    such row."""

    macs: int | None
    """Multiply-accumulate operations for one image, counted from the deployed graph; null for a space that is only a
    table of results."""

    params: int | None
    """Number of weights, counted from the deployed graph; null for a space that is only a table of results."""

    peak_activation_bytes: int | None
    """Largest size of all activations alive at once, in bytes, counted from the deployed graph; null for a space that
    is only a table of results."""

    layers: list[LayerResource] | None = None
    """Layers that have weights, in order of execution; null unless include_layers was set."""

    svg: str | None = None
    """Drawing of the architecture as an SVG document; null unless include_svg was set."""


class DatasetResource(Resource):
    """A data set that supernets can be trained on."""

    name: str
    """Name that specs give the data set by, set by the operator."""

    title: str
    """Title of the data set for people."""

    num_classes: int
    """Number of classes its images are labelled with."""

    image_shape: list[int] | None
    """Channels, height and width of an image as stored; null where images differ."""

    kind: str = ""
    """Kind of data set: the format of its files, or what a package brings; see `/api/v1/dataset-kinds`."""

    package: str = ""
    """Installed package that reads it; `hilnas` for the formats that ship with the server."""

    package_version: str = ""
    """Version of that package, as it is installed on the server."""

    num_train_images: int | None
    """Number of training images; null where only a worker can count them."""

    num_validation_images: int | None
    """Number of validation images, which searches look at; null where only a worker can count them."""

    num_test_images: int | None
    """Number of test images, held back for reports; null where only a worker can count them."""
