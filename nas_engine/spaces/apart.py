"""A space that a package brings, asked in a process of its own: `SearchSpace` here, the space itself there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, cast

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.plugins.apart import ApartProcess
from nas_engine.domain.plugins.declarations import SpaceDeclaration
from nas_engine.domain.plugins.value_document import from_document, to_document
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture, SearchSpace
from nas_engine.settings.kinds.declared import read_settings
from nas_engine.spaces.brought import check_space

CALL_LIMIT_S = 110.0
"""Longest time of one call; a little less than what the guard around it allows."""

MAX_AT_A_TIME = 64  # graphs of a supernet
_ABOUT = ("space_id", "parameters", "genes", "size", "num_classes", "input_shapes", "named")


class SpaceApart:
    """`SearchSpace`: what is the same for all architectures is asked once, everything else call by call."""

    def __init__(self, process: ApartProcess, parameters: Mapping[str, JsonValue]) -> None:
        self._process = process
        self._given = dict(parameters)
        about = dict(zip(_ABOUT, self._ask("describing itself", "describe"), strict=True))
        self.space_id: str = about["space_id"]
        self.parameters: Mapping[str, JsonValue] = about["parameters"]
        self.genes: tuple[Gene, ...] = about["genes"]
        self.size: int = about["size"]
        self.num_classes: int = about["num_classes"]
        self.input_shapes: tuple[tuple[int, int, int], ...] = about["input_shapes"]
        self.named: Mapping[str, NamedArchitecture] = {one.name: one for one in about["named"]}

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        return cast(Genotype, self._ask("canonical", "canonical", tuple(genotype)))

    def decode(self, genotype: Sequence[int]) -> Architecture:
        return cast(Architecture, self._ask("decode", "decode", tuple(genotype)))

    def parse(self, document: JsonValue) -> Architecture:
        return cast(Architecture, self._ask("parse", "parse", document))

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        return cast("Genotype | None", self._ask("genotype_of", "genotype_of", architecture))

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph | None:
        return cast("LayerGraph | None", self._ask("graph", "graph", architecture, form))

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """Yield them, more and more at a time: the first is often all that is wanted."""
        first, number = 0, 1
        while graphs := self._ask("supernet_graphs", "supernet_graphs", first, number):
            yield from graphs
            if len(graphs) < number:
                return
            first, number = first + number, min(2 * number, MAX_AT_A_TIME)

    def _ask(self, what: str, call: str, *given: object) -> Any:
        argument: JsonValue = {"parameters": self._given, "call": call, "given": [to_document(one) for one in given]}
        return from_document(self._process.ask(what, f"{__name__}:answer", argument, CALL_LIMIT_S))


def answer(declaration: SpaceDeclaration, argument: JsonValue) -> JsonValue:
    """Carry out one call; in the process of the package.

    Raises:
        EngineError: as the space raises it, or it answers nonsense about itself.
    """
    asked = cast("dict[str, Any]", argument)
    space = _space(declaration, canonical_json(asked["parameters"]))
    given = from_document(asked["given"])
    if asked["call"] == "describe":
        check_space(space, declaration.name)
        named = tuple(NamedArchitecture(name, one.document, one.source) for name, one in space.named.items())
        shapes = tuple(tuple(shape) for shape in space.input_shapes)
        about = (space.space_id, dict(space.parameters), tuple(space.genes), space.size, space.num_classes, shapes)
        return to_document((*about, named))
    if asked["call"] == "supernet_graphs":
        first, number = given
        return to_document(tuple(islice(space.supernet_graphs(), first, first + number)))
    found = getattr(space, asked["call"])(*given)
    return to_document(tuple(found) if isinstance(found, list) else found)


@lru_cache(maxsize=64)
def _space(declaration: SpaceDeclaration, parameters: str) -> SearchSpace:
    values = read_settings(declaration, json.loads(parameters))
    make = declaration.resolve()
    return cast(SearchSpace, make() if declaration.settings is None else make(values))
