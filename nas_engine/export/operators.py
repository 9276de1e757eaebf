"""Which nodes of a graph the RKNN converter would put on the CPU, known before any conversion.

Found by converting one graph per node type and setting with rknn-toolkit2 2.5.0 for RK3588 and
reading the compiler's table: of everything a layer graph can hold, as the exporter writes it, only
the cases below leave the NPU. The converter's own table (`rknn.cycle_table`) has the last word.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.layer_graph import (
    TRAINING_ONLY,
    LayerGraph,
    Node,
    Pool,
    PoolKind,
    Slice,
)

CHANNELS = 0


@dataclass(frozen=True, slots=True)
class CpuFallback:
    """A node that does not run on the NPU.

    Attributes:
        node: its name.
        reason: what about it, and what to use instead.
    """

    node: str
    reason: str


def npu_fallbacks(graph: LayerGraph) -> tuple[CpuFallback, ...]:
    """Nodes that keep an architecture from running on the NPU alone; empty where it can."""
    fallbacks = []
    for node in graph.nodes:
        reason = _reason(node)
        if reason is not None:
            fallbacks.append(CpuFallback(node.name, reason))
    return tuple(fallbacks)


def _reason(node: Node) -> str | None:
    match node:
        case Pool(kind=PoolKind.AVG, padding=padding, count_include_pad=False) if padding > 0:
            return "average pooling that leaves the padding out runs on the CPU: use count_include_pad"
        case Slice(axis=axis, step=step) if axis != CHANNELS and step > 1:
            return f"a slice with step {step} along axis {axis} runs on the CPU: use a strided pool or convolution"
        case _ if isinstance(node, TRAINING_ONLY):
            return f"{type(node).__name__} belongs to the SUPERNET form: check the DEPLOYED form"
        case _:
            return None
