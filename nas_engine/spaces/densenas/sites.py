"""Every place of a DenseNAS supernet where an operator is chosen or fixed, each as a one-operator network.

These are the rows of a latency table (paper, Sec. 3.3). The graphs are in DEPLOYED form and equal, node by
node, the parts that an architecture's graph is cut into, so a table prices derived networks too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.spaces.densenas.blocks import BlockWriter, DenseFamily
from nas_engine.spaces.densenas.parameters import HEAD_BLOCK_OPERATOR, DenseMbv2Parameters, DenseParameters
from nas_engine.spaces.densenas.routing import SKIP, Edge, Routing


class SiteKind(Enum):
    """Which part of the supernet a site belongs to."""

    INPUT = "input"  # stem, and the MobileNetV2 family's first block: always there
    HEAD = "head"
    STACK = "stack"
    ENDING = "ending"
    CLASSIFIER = "classifier"


@dataclass(frozen=True, slots=True)
class OperatorSite:
    """One operator at one place.

    Attributes:
        kind: part of the supernet.
        place: ``block4.head.1-4``, ``block4.stack``, ``ending.16-17``, ``stem``, ``block0``, ``classifier``.
        operator: label of the operator.
        graph: the operator alone; None for a skip, which computes nothing.
    """

    kind: SiteKind
    place: str
    operator: str
    graph: LayerGraph | None


def head_place(edge: Edge) -> str:
    """Place of an edge's head operators."""
    return f"block{edge.target}.head.{edge.label}"


def stack_place(block: int) -> str:
    """Place of a block's stack operators; its layers are all alike."""
    return f"block{block}.stack"


def ending_place(edge: Edge) -> str:
    """Place of the 1x1 convolution of an edge into the ending block."""
    return f"ending.{edge.label}"


def operator_sites(parameters: DenseParameters, family: DenseFamily, routing: Routing) -> Iterator[OperatorSite]:
    """All sites in depth order."""
    p, sites = parameters, _SiteWriter(parameters, family)
    image = (p.input_channels, p.input_size)
    mbv2 = isinstance(p, DenseMbv2Parameters)
    stem_channels = p.stem_channels if isinstance(p, DenseMbv2Parameters) else p.block_channels[0]
    yield sites.stem(image, stem_channels)
    if mbv2:
        shape = (stem_channels, feature_size(p, 0))
        yield sites.block(SiteKind.INPUT, "block0", HEAD_BLOCK_OPERATOR, shape, p.block_channels[0], 1)
    for block in routing.routing_blocks:
        for edge in routing.incoming(block.index):
            shape = _output_shape(p, routing, edge.source)
            for operator in routing.head_operators:
                yield sites.block(SiteKind.HEAD, head_place(edge), operator, shape, block.channels, edge.stride)
        if block.num_layers:
            shape = _output_shape(p, routing, block.index)
            for operator in routing.stack_operators:
                yield sites.block(SiteKind.STACK, stack_place(block.index), operator, shape, block.channels, 1)
    for edge in routing.incoming(routing.end):
        yield sites.ending(ending_place(edge), _output_shape(p, routing, edge.source))
    yield sites.classifier((p.last_channels, feature_size(p, p.downsamplings[-1])))


def feature_size(parameters: DenseParameters, downsampling: int) -> int:
    """Height and width after the stem and this many halvings (odd sizes round up)."""
    size = -(-parameters.input_size // parameters.stem_stride)
    for _ in range(downsampling):
        size = -(-size // 2)
    return size


def _output_shape(parameters: DenseParameters, routing: Routing, block: int) -> tuple[int, int]:
    return routing.blocks[block].channels, feature_size(parameters, routing.blocks[block].downsampling)


class _SiteWriter:
    """Writes one operator on an input of (channels, size)."""

    def __init__(self, parameters: DenseParameters, family: DenseFamily) -> None:
        self._p = parameters
        self._family = family

    def stem(self, shape: tuple[int, int], out: int) -> OperatorSite:
        g, writer = self._start(shape)
        with g.labelled("stem", "conv3"):
            graph = g.build(writer.stem(g.input, "stem", out=out, stride=self._p.stem_stride))
        return OperatorSite(SiteKind.INPUT, "stem", "conv3", graph)

    def block(
        self, kind: SiteKind, place: str, operator: str, shape: tuple[int, int], out: int, stride: int
    ) -> OperatorSite:
        if operator == SKIP:
            return OperatorSite(kind, place, operator, None)
        g, writer = self._start(shape)
        with g.labelled(place, operator):
            graph = g.build(writer.operator(g.input, operator, f"{place}.{operator}", out=out, stride=stride))
        return OperatorSite(kind, place, operator, graph)

    def ending(self, place: str, shape: tuple[int, int]) -> OperatorSite:
        g, writer = self._start(shape)
        with g.labelled(place, "conv1"):
            graph = g.build(writer.ending(g.input, place, out=self._p.last_channels))
        return OperatorSite(SiteKind.ENDING, place, "conv1", graph)

    def classifier(self, shape: tuple[int, int]) -> OperatorSite:
        g, writer = self._start(shape)
        with g.labelled("classifier", "linear"):
            graph = g.build(writer.classifier(g.input, "classifier", num_classes=self._p.num_classes))
        return OperatorSite(SiteKind.CLASSIFIER, "classifier", "linear", graph)

    def _start(self, shape: tuple[int, int]) -> tuple[GraphBuilder, BlockWriter]:
        channels, size = shape
        g = GraphBuilder((channels, size, size))
        return g, BlockWriter(g, self._family, Form.DEPLOYED)
