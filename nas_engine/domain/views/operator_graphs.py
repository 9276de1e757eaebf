"""Operators view: a DEPLOYED graph cut along its block and operator labels into stand-alone graphs.

Each part is a network of its own (same node names and weights), which is exported and measured by
itself; a latency table is filed under each part's latency key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.errors import InvalidGraphError
from nas_engine.domain.layer_graph import Input, LayerGraph


@dataclass(frozen=True, slots=True)
class OperatorGraph:
    """One operator of an architecture as a network of its own.

    Attributes:
        block, operator: the labels it was cut along.
        graph: its input is what the operator reads in the whole network, shape included.
    """

    block: str
    operator: str
    graph: LayerGraph


def cut_operators(graph: LayerGraph) -> tuple[OperatorGraph, ...]:
    """The operators of a graph in order; chained, they compute what the graph computes.

    Raises:
        InvalidGraphError: an operator reads or gives more than one value, so it cannot stand alone.
    """
    return tuple(_stand_alone(graph, run) for run in _runs(graph))


def _runs(graph: LayerGraph) -> list[list[int]]:
    """Indices of consecutive nodes with the same labels; the input belongs to none."""
    runs: list[list[int]] = []
    labels: tuple[str, str] | None = None
    for index, node in enumerate(graph.nodes):
        if isinstance(node, Input):
            continue
        if (node.block, node.operator) != labels:
            runs.append([])
            labels = (node.block, node.operator)
        runs[-1].append(index)
    return runs


def _stand_alone(graph: LayerGraph, run: Sequence[int]) -> OperatorGraph:
    first, inside = graph.nodes[run[0]], set(run)
    label = f"operator {first.operator!r} of block {first.block!r}"
    sources = sorted({source for index in run for source in graph.nodes[index].inputs} - inside)
    # The graph's own output counts as read after its last node.
    results = [index for index in run if graph.last_use[index] > run[-1]]
    if len(sources) != 1 or len(results) != 1:
        raise InvalidGraphError(
            f"{label} reads {len(sources)} and gives {len(results)} values: it can stand alone with one of each"
        )
    new_index = {sources[0]: 0} | {old: new for new, old in enumerate(run, start=1)}
    entry = Input(
        name=graph.nodes[0].name,
        inputs=(),
        shape=graph.nodes[sources[0]].shape,
        block=first.block,
        operator=first.operator,
    )
    nodes = [replace(graph.nodes[old], inputs=tuple(new_index[s] for s in graph.nodes[old].inputs)) for old in run]
    return OperatorGraph(first.block, first.operator, LayerGraph((entry, *nodes), new_index[results[0]]))
