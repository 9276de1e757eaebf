"""View of a layer graph for evaluation: channels are taken from where they were made. No torch.

A block that splits its channels passes one part on untouched, and the next block splits again: what is passed through
a stage is copied by every block of it. Here a slice of joined channels becomes slices of the parts that were joined, so
that channels are copied once, where they are worked on. Outputs are the same numbers in the same order, and all
other nodes keep their names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nas_engine.domain.layer_graph import Concat, LayerGraph, Node, Slice

_CHANNELS = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """Channels `start:stop:step` of a node of the new graph; `count` of them."""

    node: int
    start: int
    step: int
    count: int

    def taken(self, offset: int, wanted: range) -> _Part | None:
        """What `wanted`, of channels that count from `offset` on, takes of this part; None where it takes none."""
        first = wanted.start + max(0, -(-(offset - wanted.start) // wanted.step)) * wanted.step
        last = min(wanted.stop, offset + self.count)
        count = len(range(first, last, wanted.step))
        if not count:
            return None
        return _Part(self.node, self.start + (first - offset) * self.step, self.step * wanted.step, count)


def direct_channels(graph: LayerGraph) -> LayerGraph:
    """An equal graph without joins that are only split again."""
    if not any(isinstance(node, Slice) and node.axis == _CHANNELS for node in graph.nodes):
        return graph
    return _Rewriting(graph).result()


class _Rewriting:
    """The new graph while it is written; a value is the parts that it is made of."""

    def __init__(self, graph: LayerGraph) -> None:
        self._graph = graph
        self._nodes: list[Node] = []
        self._parts: list[tuple[_Part, ...]] = []
        self._made: dict[int, int] = {}  # node of the old graph -> node of the new one that holds its whole value

    def result(self) -> LayerGraph:
        """The whole graph."""
        for index, node in enumerate(self._graph.nodes):
            match node:
                case Concat() if len(node.shape) == 3:
                    parts = tuple(part for source in node.inputs for part in self._parts[source])
                case Slice(axis=0, start=start, stop=stop, step=step):
                    parts = self._sliced(node.inputs[0], range(start, stop, step))
                case _:
                    inputs = tuple(self._whole(source) for source in node.inputs)
                    self._made[index] = self._add(replace(node, inputs=inputs))
                    parts = (_Part(self._made[index], 0, 1, node.shape[0]),)
            self._parts.append(parts)
        return LayerGraph(tuple(self._nodes), self._whole(self._graph.output))

    def _sliced(self, source: int, wanted: range) -> tuple[_Part, ...]:
        found, offset = [], 0
        for part in self._parts[source]:
            taken = part.taken(offset, wanted)
            if taken is not None:
                found.append(taken)
            offset += part.count
        return tuple(found)

    def _whole(self, index: int) -> int:
        """The node of the new graph that holds the value of a node of the old one."""
        if index not in self._made:
            node, parts = self._graph.nodes[index], self._parts[index]
            pieces = tuple(self._piece(part, node, f"{node.name}.part{n}") for n, part in enumerate(parts))
            joined = Concat(name=node.name, inputs=pieces, shape=node.shape, block=node.block, operator=node.operator)
            self._made[index] = pieces[0] if len(pieces) == 1 else self._add(joined)
        return self._made[index]

    def _piece(self, part: _Part, reader: Node, name: str) -> int:
        """The node that holds one part, for whoever reads it."""
        made = self._nodes[part.node]
        if part.count == made.shape[0]:
            return part.node
        stop = part.start + (part.count - 1) * part.step + 1
        return self._add(
            Slice(
                name=name,
                inputs=(part.node,),
                shape=(part.count, *made.shape[1:]),
                block=reader.block,
                operator=reader.operator,
                axis=_CHANNELS,
                start=part.start,
                stop=stop,
                step=part.step,
            )
        )

    def _add(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1
