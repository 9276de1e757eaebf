"""The nodes of an ONNX model: those in it, those that are used, and those on the way to a tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import onnx

DATA_DEPENDENT = frozenset(("NonZero", "NonMaxSuppression", "Unique", "Compress", "StringSplit"))
"""Operators whose output has as many elements as the numbers in their input say."""
SHAPES_ALONE = frozenset(("Shape", "Size"))
"""Operators that read no numbers of their input."""


def nodes_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Every node and those of the graphs inside it."""
    for node in nodes:
        yield node
        for graph in inner_graphs(node):
            yield from nodes_of(graph.node)


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs among a node's attributes: branches and bodies."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def used_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Every node of the graph, of the graphs inside it, and of the functions that are called from there."""
    functions = {(one.domain, one.name, one.overload): one for one in model.functions}
    nodes = [*nodes_of(model.graph.node)]
    for node in nodes:  # grows as it goes, by each function once
        called = functions.pop((node.domain, node.op_type, node.overload), None)
        if called is not None:
            nodes += nodes_of(called.node)
    return nodes


def data_dependent(model: onnx.ModelProto, output: str) -> str | None:
    """The operator on the way to an output whose own output's size depends on the data, if there is one."""
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in _upstream([output], makers):
        for inner in nodes_of([node]):
            if inner.op_type in DATA_DEPENDENT and _reads_data(inner, makers, constants):
                return str(inner.op_type)
    return None


def _reads_data(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], constants: Collection[str]) -> bool:
    """Whether what a node reads comes from the model's inputs, and not from constants and shapes alone."""
    names = [name for name in node.input if name]
    if any(name not in makers and name not in constants for name in names):
        return True
    return any(
        name not in makers and name not in constants
        for maker in _upstream(names, makers, stop_at=SHAPES_ALONE)
        for name in _read_by(maker)
        if maker.op_type not in SHAPES_ALONE
    )


def _upstream(
    names: Iterable[str], makers: Mapping[str, onnx.NodeProto], stop_at: Collection[str] = ()
) -> Iterator[onnx.NodeProto]:
    """The nodes that make tensors, and what these read in turn; not beyond operators of `stop_at`."""
    waiting = list(names)
    seen = set(waiting)
    while waiting:  # ends: every name is looked at once
        node = makers.get(waiting.pop())
        if node is None:
            continue
        yield node
        if node.op_type in stop_at:
            continue
        new = [name for name in _read_by(node) if name not in seen]
        seen.update(new)
        waiting += new


def _read_by(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads: its inputs, and what graphs inside it take from outside themselves."""
    inner = [*nodes_of([node])]
    made = {name for one in inner[1:] for name in one.output}
    for one in inner:
        for graph in inner_graphs(one):
            made.update(value.name for value in graph.input)
            made.update(tensor.name for tensor in graph.initializer)
    return [name for one in inner for name in one.input if name and name not in made]
