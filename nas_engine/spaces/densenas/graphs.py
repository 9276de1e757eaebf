"""DenseNAS networks as layer graphs: the whole supernet, one path of it, and derived networks.

Weight names are shared by the supernet and the derived networks inside the space, so a derived network
can inherit::

    block4.head.1-4.mbconv_k7_t6.*    head operator of edge 1 -> 4
    block4.layer0.mbconv_k3_t3.*      stack operator of layer 0
    ending.16-17.*                    1x1 convolution of the edge into the ending block
    stem.*, block0.*, classifier.*

Derived networks outside the space have weights of their own (``outside.*``), and so has the classifier of
a derived ResNet-based network (``derived.classifier.*``): it does not follow the supernet's 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import CoefficientRef, LayerGraph
from nas_engine.domain.search_space import Form
from nas_engine.spaces.densenas.blocks import RULES, BlockWriter, DenseFamily
from nas_engine.spaces.densenas.net_config import NetConfig
from nas_engine.spaces.densenas.parameters import HEAD_BLOCK_OPERATOR, DenseMbv2Parameters, DenseParameters
from nas_engine.spaces.densenas.routing import SKIP, Edge, Routing, RoutingPath, beta_name, head_name, stack_name
from nas_engine.spaces.densenas.routing_weights import OperatorSelection

CLASSIFIER = "classifier"
DERIVED_CLASSIFIER = "derived.classifier"


def supernet_graph(
    parameters: DenseParameters, family: DenseFamily, routing: Routing, selection: OperatorSelection | None = None
) -> LayerGraph:
    """All paths at once, SUPERNET form; `selection` keeps only the sampled operators of a layer.

    A layer with one operator left has no `WeightedSum`: its normalised weight is 1.
    """
    return _SupernetWriter(parameters, family, routing, selection or {}).write()


def path_graph(
    parameters: DenseParameters, family: DenseFamily, routing: Routing, path: RoutingPath, form: Form
) -> LayerGraph:
    """One network of the routing, with the supernet's weight names."""
    writer = _NetworkWriter(parameters, family, form)
    x = writer.input_block()
    visited = path.blocks[1:-1]
    for source, target, head, stack in zip(path.blocks, visited, path.heads, path.stacks, strict=False):
        block, edge = routing.blocks[target], routing.edge_between[source, target]
        x = writer.head(x, edge, routing.head_operators[head], block.channels)
        for layer, operator in enumerate(stack):
            x = writer.stack(x, target, layer, routing.stack_operators[operator], block.channels)
    ending = form is Form.SUPERNET or RULES[family].has_ending
    if ending:
        x = writer.ending(x, routing.edge_between[path.blocks[-2], path.blocks[-1]])
    return writer.classify(x, CLASSIFIER if ending else DERIVED_CLASSIFIER)


def outside_graph(parameters: DenseParameters, family: DenseFamily, network: NetConfig) -> LayerGraph:
    """A derived network that is no path of the space, DEPLOYED form."""
    g = GraphBuilder(image_shape(parameters))
    writer = BlockWriter(g, family, Form.DEPLOYED)
    with g.labelled("stem", "conv3"):
        x = writer.stem(g.input, "outside.stem", out=network.blocks[0].in_channels, stride=parameters.stem_stride)
    for number, entry in enumerate(network.blocks):
        layers = [(f"block{number}.head", entry.head, entry.stride)]
        layers += [(f"block{number}.layer{layer}", operator, 1) for layer, operator in enumerate(entry.stack)]
        for block, operator, stride in layers:
            with g.labelled(block, operator):
                x = writer.operator(x, operator, f"outside.{block}.{operator}", out=entry.out_channels, stride=stride)
    if network.ending_channels is not None:
        with g.labelled("ending", "conv1"):
            x = writer.ending(x, "outside.ending", out=network.ending_channels)
    with g.labelled("classifier", "linear"):
        x = writer.classifier(x, "outside.classifier", num_classes=parameters.num_classes)
    return g.build(x)


def image_shape(parameters: DenseParameters) -> tuple[int, int, int]:
    """(channels, height, width) of the input."""
    return (parameters.input_channels, parameters.input_size, parameters.input_size)


class _NetworkWriter:
    """Writes the parts of a network with the space's names."""

    def __init__(self, parameters: DenseParameters, family: DenseFamily, form: Form) -> None:
        self.p = parameters
        self.g = GraphBuilder(image_shape(parameters))
        self._blocks = BlockWriter(self.g, family, form)

    def input_block(self) -> int:
        """Stem, and the t=1 MBConv of the MobileNetV2 family."""
        g, p = self.g, self.p
        with g.labelled("stem", "conv3"):
            out = p.stem_channels if isinstance(p, DenseMbv2Parameters) else p.block_channels[0]
            x = self._blocks.stem(g.input, "stem", out=out, stride=p.stem_stride)
        if isinstance(p, DenseMbv2Parameters):
            with g.labelled("block0", HEAD_BLOCK_OPERATOR):
                name = f"block0.{HEAD_BLOCK_OPERATOR}"
                x = self._blocks.operator(x, HEAD_BLOCK_OPERATOR, name, out=p.block_channels[0], stride=1)
        return x

    def head(self, x: int, edge: Edge, operator: str, out: int) -> int:
        """Head operator of an edge."""
        with self.g.labelled(f"block{edge.target}.head", operator):
            name = f"block{edge.target}.head.{edge.label}.{operator}"
            return self._blocks.operator(x, operator, name, out=out, stride=edge.stride)

    def stack(self, x: int, block: int, layer: int, operator: str, out: int) -> int:
        """Stack operator of a layer; the skip is no node."""
        if operator == SKIP:
            return x
        with self.g.labelled(f"block{block}.layer{layer}", operator):
            return self._blocks.operator(x, operator, f"block{block}.layer{layer}.{operator}", out=out, stride=1)

    def ending(self, x: int, edge: Edge) -> int:
        """1x1 convolution of an edge into the ending block."""
        with self.g.labelled("ending", "conv1"):
            return self._blocks.ending(x, f"ending.{edge.label}", out=self.p.last_channels)

    def classify(self, x: int, name: str) -> LayerGraph:
        """Pooling, classifier, done."""
        with self.g.labelled("classifier", "linear"):
            return self.g.build(self._blocks.classifier(x, name, num_classes=self.p.num_classes))


class _SupernetWriter:
    """Writes every block, edge and selected operator with its coefficients."""

    def __init__(
        self, parameters: DenseParameters, family: DenseFamily, routing: Routing, selection: OperatorSelection
    ) -> None:
        self._parts = _NetworkWriter(parameters, family, Form.SUPERNET)
        self._routing = routing
        self._selection = selection

    def write(self) -> LayerGraph:
        routing, parts = self._routing, self._parts
        outputs = [parts.input_block()]
        for block in routing.routing_blocks:
            branches = [self._head(outputs[edge.source], edge) for edge in routing.incoming(block.index)]
            x = self._join(branches, block.index)
            for layer in range(block.num_layers):
                x = self._layer(x, block.index, layer)
            outputs.append(x)
        branches = [parts.ending(outputs[edge.source], edge) for edge in routing.incoming(routing.end)]
        return parts.classify(self._join(branches, routing.end), CLASSIFIER)

    def _head(self, x: int, edge: Edge) -> int:
        out = self._routing.blocks[edge.target].channels
        operators, name = self._routing.head_operators, head_name(edge)
        kept = self._kept(name, operators)
        values = [self._parts.head(x, edge, operators[o], out) for o in kept]
        return self._mix(values, kept, name, f"block{edge.target}.head")

    def _layer(self, x: int, block: int, layer: int) -> int:
        out = self._routing.blocks[block].channels
        operators, name = self._routing.stack_operators, stack_name(block, layer)
        kept = self._kept(name, operators)
        values = [self._parts.stack(x, block, layer, operators[o], out) for o in kept]
        return self._mix(values, kept, name, f"block{block}.layer{layer}")

    def _kept(self, name: str, operators: Sequence[str]) -> tuple[int, ...]:
        return self._selection.get(name, tuple(range(len(operators))))

    def _mix(self, values: Sequence[int], kept: Sequence[int], name: str, block: str) -> int:
        """Sum of operator outputs, each times its normalised weight."""
        if len(values) == 1:
            return values[0]
        g = self._parts.g
        with g.labelled(block, "mixture"):
            return g.weighted_sum(values, f"{name}.mixture", [CoefficientRef(name, operator) for operator in kept])

    def _join(self, branches: Sequence[int], block: int) -> int:
        """Sum over the edges into a block, each times its share of the source's outgoing softmax."""
        g, routing = self._parts.g, self._routing
        coefficients = [
            CoefficientRef(beta_name(edge.source), routing.outgoing(edge.source).index(edge))
            for edge in routing.incoming(block)
        ]
        with g.labelled(f"block{block}.join", "join"):
            return g.weighted_sum(branches, f"block{block}.join", coefficients)
