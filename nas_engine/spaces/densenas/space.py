"""The DenseNAS search spaces: densely connected blocks of many widths, from which a path is chosen.

Source: Fang et al., Densely Connected Search Space for More Flexible Neural Architecture Search (CVPR
2020), its supplementary material, and the published implementation (JaminFong/DenseNAS). The genotype,
for algorithms that choose rather than differentiate: per block a successor (an index into its outgoing
edges), per routing block a head operator and its stack operators. Every genotype is valid, because a
successor gene has exactly as many choices as the block has edges. An architecture is its `net_config`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import cast

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, Gene, GeneKind, NamedArchitecture, validate_genotype
from nas_engine.spaces.densenas.blocks import RULES, DenseFamily
from nas_engine.spaces.densenas.graphs import image_shape, outside_graph, path_graph, supernet_graph
from nas_engine.spaces.densenas.net_config import Ending, NetConfig, parse_net_config, read_net_config
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseParameters, DenseResNetParameters
from nas_engine.spaces.densenas.paths import Outside, locate, net_config_of
from nas_engine.spaces.densenas.published import MBV2_MODELS, RESNET_MODELS
from nas_engine.spaces.densenas.routing import Routing, RoutingPath
from nas_engine.spaces.densenas.routing_weights import OperatorSelection
from nas_engine.spaces.densenas.sites import OperatorSite, operator_sites
from nas_engine.spaces.parameters import document_of, require_own

MBV2_ID = "densenas-mbv2"
RESNET_ID = "densenas-resnet"


class DenseSpace:
    """`SearchSpace` of DenseNAS; the family follows from the type of the parameters."""

    def __init__(self, parameters: DenseParameters | None = None) -> None:
        self._p = parameters or DenseMbv2Parameters()
        self._family = DenseFamily.MBV2 if isinstance(self._p, DenseMbv2Parameters) else DenseFamily.RESNET
        self.routing: Routing = self._p.routing()

    @property
    def space_id(self) -> str:
        """``densenas-mbv2`` or ``densenas-resnet``."""
        return MBV2_ID if self._family is DenseFamily.MBV2 else RESNET_ID

    @cached_property
    def parameters(self) -> Mapping[str, JsonValue]:
        """Every parameter with its value."""
        return document_of(self._p)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Per block: its successor, then (routing blocks) its head operator and its stack operators."""
        return tuple(gene for block in self.routing.blocks[:-1] for gene in self._genes_of(block.index))

    @property
    def size(self) -> int:
        """Number of genotypes; far fewer are different, since most blocks lie off the path."""
        return prod(gene.num_choices for gene in self.genes)

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier."""
        return self._p.num_classes

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The one input shape of the space."""
        return (image_shape(self._p),)

    @cached_property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """Published models, where only the number of classes differs from the published space."""
        published: DenseParameters = (
            DenseMbv2Parameters() if self._family is DenseFamily.MBV2 else DenseResNetParameters()
        )
        models = MBV2_MODELS if self._family is DenseFamily.MBV2 else RESNET_MODELS
        same = self._p == replace(published, num_classes=self._p.num_classes)
        return {model.name: model for model in models} if same else {}

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Validated; genes of unvisited blocks are 0, and the skips of a block stand last.

        A skip is no layer, so a block's networks differ only by the sequence of its other operators.
        """
        return self._genotype_of_path(self.path_of_genotype(genotype))

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """The architecture of a genotype."""
        return self.architecture_of(self.path_of_genotype(genotype))

    def parse(self, document: JsonValue) -> Architecture:
        """Read a published name, a genotype, or a net_config (text, or its list of entries).

        A net_config outside the space is read too; `genotype_of` then gives None and `why_outside` the reason.
        """
        if isinstance(document, str):
            if document.lower() in self.named:
                document = self.named[document.lower()].document
            if "[" not in cast(str, document):
                known = ", ".join(self.named) or "none with these parameters"
                raise InvalidArchitectureError(
                    f"{document!r} is neither a net_config nor a published model of {self.space_id}: known are {known}"
                )
            return self._architecture(parse_net_config(cast(str, document), self._ending))
        if not isinstance(document, list | tuple):
            raise InvalidArchitectureError(
                f"cannot read {document!r}: give a published name, a net_config or a list of choice indices"
            )
        if document and isinstance(document[0], list | tuple):
            return self._architecture(read_net_config(document, self._ending))
        return self.decode(cast(Sequence[int], document))

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """The canonical genotype; None where the architecture is no path of this space."""
        place = self._locate(architecture)
        return None if isinstance(place, Outside) else self._genotype_of_path(place)

    def why_outside(self, architecture: Architecture) -> str | None:
        """What keeps an architecture from being a genotype of this space; None where nothing does."""
        place = self._locate(architecture)
        return place.reason if isinstance(place, Outside) else None

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph:
        """Layer graph of one network.

        Raises:
            InvalidArchitectureError: the SUPERNET form of an architecture outside the space.
        """
        place = self._locate(architecture)
        if isinstance(place, RoutingPath):
            return path_graph(self._p, self._family, self.routing, place, form)
        if form is Form.SUPERNET:
            raise InvalidArchitectureError(
                f"this network is no path of the supernet, so it has no SUPERNET form: {place.reason}"
            )
        return outside_graph(self._p, self._family, self.net_config(architecture))

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """The one graph that holds every block, edge and operator."""
        yield self.supernet_graph()

    def supernet_graph(self, selection: OperatorSelection | None = None) -> LayerGraph:
        """All paths at once, with the sampled operators of each layer only (None: all of them)."""
        return supernet_graph(self._p, self._family, self.routing, selection)

    def operator_sites(self) -> Iterator[OperatorSite]:
        """Every operator of the supernet at every place, alone: the rows of a latency table."""
        return operator_sites(self._p, self._family, self.routing)

    def net_config(self, architecture: Architecture) -> NetConfig:
        """The architecture in the reference's own form."""
        require_own(self, architecture)
        return read_net_config(architecture.choices_value(), self._ending)

    def path_of(self, architecture: Architecture) -> RoutingPath | None:
        """The architecture as a path of the routing; None outside the space."""
        place = self._locate(architecture)
        return None if isinstance(place, Outside) else place

    def architecture_of(self, path: RoutingPath) -> Architecture:
        """The derived network of a path. Raises InvalidArchitectureError for a path of another routing."""
        return self._architecture(net_config_of(self._p, self.routing, self.routing.validate(path)))

    def path_of_genotype(self, genotype: Sequence[int]) -> RoutingPath:
        """The blocks a genotype visits and the operators it uses, skips last in each block."""
        genes = validate_genotype(self.genes, genotype)
        blocks, heads, stacks = [0], list[int](), list[tuple[int, ...]]()
        while blocks[-1] != self.routing.end:
            block = blocks[-1]
            start = self._offsets[block]
            if block:
                num_layers = self.routing.blocks[block].num_layers
                heads.append(genes[start + 1])
                stack = genes[start + 2 : start + 2 + num_layers]
                stacks.append(tuple(sorted(stack, key=lambda operator: operator == self.routing.skip)))  # skips last
            blocks.append(self.routing.outgoing(block)[genes[start]].target)
        return RoutingPath(tuple(blocks), tuple(heads), tuple(stacks))

    @property
    def _ending(self) -> Ending:
        return Ending.CONV1 if RULES[self._family].has_ending else Ending.NONE

    @cached_property
    def _offsets(self) -> tuple[int, ...]:
        """Position of each block's first gene."""
        offsets = [0]
        for block in self.routing.blocks[:-1]:
            offsets.append(offsets[-1] + sum(1 for _ in self._genes_of(block.index)))
        return tuple(offsets)

    def _genes_of(self, block: int) -> Iterator[Gene]:
        name, routing = f"block{block}", self.routing
        targets = tuple(f"block{edge.target}" for edge in routing.outgoing(block))
        yield Gene(f"{name}.next", targets, name, GeneKind.STRUCTURAL)
        if block:
            yield Gene(f"{name}.head", routing.head_operators, name)
        for layer in range(routing.blocks[block].num_layers):
            yield Gene(f"{name}.layer{layer}", routing.stack_operators, name)

    def _genotype_of_path(self, path: RoutingPath) -> Genotype:
        genes = [0] * len(self.genes)
        for position, (source, target) in enumerate(zip(path.blocks, path.blocks[1:], strict=False)):
            start = self._offsets[source]
            edge = self.routing.edge_between[source, target]
            genes[start] = self.routing.outgoing(source).index(edge)
            if source:
                stack = path.stacks[position - 1]
                genes[start + 1 : start + 2 + len(stack)] = [path.heads[position - 1], *stack]
        return tuple(genes)

    def _architecture(self, network: NetConfig) -> Architecture:
        return Architecture.of(self.space_id, self.parameters, network.as_json())

    def _locate(self, architecture: Architecture) -> RoutingPath | Outside:
        return locate(self._p, self.routing, self.net_config(architecture))
