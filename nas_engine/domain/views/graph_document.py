"""A layer graph as a JSON document that people and programs outside can read: nodes with shapes and attributes."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph, Node, WeightRef

_OF_EVERY_NODE = tuple(field.name for field in fields(Node))


def graph_document(graph: LayerGraph) -> dict[str, JsonValue]:
    """Write a graph: `output` is the index of its last node, `nodes` are in an order in which inputs come first.

    Of each node the document has its `type`, `name`, `inputs` (indices of earlier nodes), `shape` without the batch,
    `block`, `operator`, and the attributes of its type by name; weights by name and the shape that is used.
    """
    return {"output": graph.output, "nodes": [_node(node) for node in graph.nodes]}


def _node(node: Node) -> dict[str, JsonValue]:
    names = (*_OF_EVERY_NODE, *(field.name for field in fields(node) if field.name not in _OF_EVERY_NODE))
    return {"type": type(node).__name__, **{name: _value(getattr(node, name)) for name in names}}


def _value(value: object) -> JsonValue:
    match value:
        case WeightRef():
            return {"name": value.name, "shape": list(value.shape)}
        case Enum():
            return str(value.value)
        case tuple():
            return [_value(one) for one in value]
        case bool() | int() | float() | str() | None:
            return value
        case _:
            return str(value)
