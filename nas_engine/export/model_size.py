"""How much of a model there is to look at: a small file can hold, or unfold to, far more than its bytes let expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import onnx

from nas_engine.domain.errors import ExportError
from nas_engine.export.model_nodes import inner_graphs, nodes_of

MAX_PARTS = 250_000
"""Nodes, weights and stated shapes of one model, its functions unfolded. Large language models have some ten thousand
nodes; of so many a check takes some twelve seconds (onnx 1.23, one core of a server)."""
FunctionKey = tuple[str, str, str]


def check_num_parts(model: onnx.ModelProto) -> None:
    """Refuse a model of more parts than anybody's network has, before it is gone through by what takes long for each.

    Functions count as often as they are called, since shape inference and runtimes unfold them.

    Raises:
        ExportError: it has more than `MAX_PARTS`.
    """
    functions = {(one.domain, one.name, one.overload): one for one in model.functions}
    own = {key: _parts(one.node) for key, one in functions.items()}
    calls = {key: _calls(one.node, functions) for key, one in functions.items()}
    num_parts = len(model.graph.initializer) + len(model.graph.value_info) + _parts(model.graph.node)
    if num_parts <= MAX_PARTS:
        num_parts += _unfolded(_calls(model.graph.node, functions), own, calls)
    if num_parts > MAX_PARTS:
        raise ExportError(
            f"the model has more than {MAX_PARTS:,} nodes, weights and stated shapes, functions counted at each of "
            "their calls: simplify it, or cut it"
        )


def _parts(nodes: Iterable[onnx.NodeProto]) -> int:
    num = 0
    for node in nodes_of(nodes):
        num += 1 + sum(len(graph.initializer) + len(graph.value_info) for graph in inner_graphs(node))
    return num


def _calls(nodes: Iterable[onnx.NodeProto], functions: Mapping[FunctionKey, object]) -> Counter[FunctionKey]:
    """How often each function is called by nodes, not by other functions."""
    keys = ((node.domain, node.op_type, node.overload) for node in nodes_of(nodes))
    return Counter(key for key in keys if key in functions)


def _unfolded(
    called: Counter[FunctionKey], own: Mapping[FunctionKey, int], calls: Mapping[FunctionKey, Counter[FunctionKey]]
) -> int:
    """Parts that these calls come to. A call within a ring of functions, which the checker refuses, counts as none."""
    sizes: dict[FunctionKey, int] = {}
    waiting, begun = [*called], set[FunctionKey]()
    while waiting:  # ends: every function is begun once, and finished once
        key = waiting[-1]
        if key not in begun:
            begun.add(key)
            waiting += (inner for inner in calls[key] if inner not in begun)
            continue
        waiting.pop()
        if key not in sizes:
            inner = sum(num * sizes.get(one, 0) for one, num in calls[key].items())
            sizes[key] = min(own[key] + inner, MAX_PARTS + 1)
    return sum(num * sizes[key] for key, num in called.items())
