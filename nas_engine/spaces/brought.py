"""A space that a package brings, held to the protocol: what it answers is checked before anything rests on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.plugins.doors import PluginError
from nas_engine.domain.plugins.guard import Guard
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture, SearchSpace
from nas_engine.domain.views.complexity import complexity

T = TypeVar("T")
MAX_SUPERNET_GRAPHS = 10_000
_END = object()


class BroughtSpace:
    """`SearchSpace`: hands each call on under a guard, and refuses nonsense by the name of its package.

    What is the same for all of its architectures is asked once, when it is made.
    """

    def __init__(self, space: SearchSpace, space_id: str, guard: Guard) -> None:
        self._space = space
        self._guard = guard
        self.space_id = space_id
        guard.call("describing itself", lambda: check_space(space, space_id))
        self.parameters: Mapping[str, JsonValue] = guard.call("parameters", lambda: dict(space.parameters))
        self.genes: tuple[Gene, ...] = guard.call("genes", lambda: tuple(space.genes))
        self.size: int = guard.call("size", lambda: space.size)
        self.num_classes: int = guard.call("num_classes", lambda: space.num_classes)
        self.input_shapes: tuple[tuple[int, int, int], ...] = guard.call(
            "input_shapes", lambda: tuple(space.input_shapes)
        )
        self.named: Mapping[str, NamedArchitecture] = guard.call("named", lambda: dict(space.named))

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        found = self._guard.call("canonical", lambda: tuple(self._space.canonical(genotype)))
        in_range = len(found) == len(self.genes) and all(
            isinstance(choice, int) and 0 <= choice < gene.num_choices
            for choice, gene in zip(found, self.genes, strict=True)
        )
        if not in_range:
            raise self._guard.fault(f"canonical({list(genotype)}) returned {found!r}, which is no genotype of it")
        return found

    def decode(self, genotype: Sequence[int]) -> Architecture:
        return self._own("decode", self._guard.call("decode", lambda: self._space.decode(genotype)))

    def parse(self, document: JsonValue) -> Architecture:
        return self._own("parse", self._guard.call("parse", lambda: self._space.parse(document)))

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        found = self._guard.call("genotype_of", lambda: self._space.genotype_of(architecture))
        return None if found is None else tuple(found)

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph | None:
        found = self._guard.call("graph", lambda: self._space.graph(architecture, form))
        return found if found is None else self._typed("graph", found, LayerGraph)

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        graphs = self._guard.call("supernet_graphs", lambda: iter(self._space.supernet_graphs()))
        for _ in range(MAX_SUPERNET_GRAPHS):
            graph = self._guard.call("supernet_graphs", lambda: next(graphs, _END))
            if graph is _END:
                return
            yield self._typed("supernet_graphs", graph, LayerGraph)
        raise self._guard.fault(f"supernet_graphs gives more than {MAX_SUPERNET_GRAPHS} graphs")

    def _own(self, what: str, found: Architecture) -> Architecture:
        architecture = self._typed(what, found, Architecture)
        if architecture.space_id != self.space_id:
            raise self._guard.fault(f"{what} returned an architecture of space {architecture.space_id!r}")
        return architecture

    def _typed(self, what: str, value: object, kind: type[T]) -> T:
        if not isinstance(value, kind):
            raise self._guard.fault(f"{what} returned a {type(value).__name__}: it must be a {kind.__name__}")
        return value


def probe(space: SearchSpace, space_id: str) -> None:
    """Try a space out: its first and its last genotype, in both forms, and everything that it publishes.

    Raises:
        PluginError: it answers nonsense.
        EngineError: it refuses what is its own.
    """
    check_space(space, space_id)
    for genotype in (tuple(0 for _ in space.genes), tuple(gene.num_choices - 1 for gene in space.genes)):
        canonical = tuple(space.canonical(genotype))
        if tuple(space.canonical(canonical)) != canonical:
            raise PluginError(f"canonical({list(canonical)}) is not itself: what is canonical must stay so")
        architecture = space.decode(genotype)
        if not isinstance(architecture, Architecture):
            raise PluginError(f"decode returned a {type(architecture).__name__}: it must be an Architecture")
        if space.genotype_of(architecture) != canonical:
            raise PluginError(f"genotype_of(decode({list(genotype)})) is not canonical({list(genotype)})")
        graphs = [space.graph(architecture, form) for form in Form]
        for graph in graphs:
            if graph is not None and complexity(graph).macs < 0:
                raise PluginError(f"the graph of {list(genotype)} costs a negative number of MACs")
    for name in space.named:
        try:
            space.parse(name)
        except EngineError as error:
            raise PluginError(f"it does not read the architecture that it publishes as {name!r}: {error}") from error


def check_space(space: SearchSpace, space_id: str) -> None:
    """Check what is the same for all architectures of a space; raise PluginError for nonsense."""
    if space.space_id != space_id:
        raise PluginError(f"its space_id is {space.space_id!r}: it is declared as {space_id!r}")
    genes = tuple(space.genes)
    if not genes or not all(isinstance(gene, Gene) and gene.num_choices >= 1 for gene in genes):
        raise PluginError("its genes are no non-empty list of Gene with one choice or more")
    if len({gene.name for gene in genes}) != len(genes):
        raise PluginError("two of its genes have the same name")
    for name, number, least in (("size", space.size, 1), ("num_classes", space.num_classes, 2)):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise PluginError(f"its {name} is {number!r}: it must be an integer of {least} or more")
    shapes = [tuple(shape) for shape in space.input_shapes]
    if not shapes or not all(len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape) for shape in shapes):
        raise PluginError(f"its input_shapes are {shapes}: they must be (channels, height, width), each above 0")
    try:
        canonical_json(dict(space.parameters))
    except (TypeError, ValueError) as error:
        raise PluginError(f"its parameters are no JSON document of finite numbers: {error}") from error
