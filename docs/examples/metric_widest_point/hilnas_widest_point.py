"""A metric from the layer graph: bytes at the widest point, the inputs and the output of one operator together.

Where that does not fit the fast memory beside a processor, each run spills to the slow one. It differs from
`peak_activation_bytes`, which also counts tensors that wait for a later operator.
"""

from __future__ import annotations

from dataclasses import dataclass

from hilnas import Goal, MetricDeclaration, MetricSource
from nas_engine.domain.layer_graph import Activation, BatchNorm, Dropout, Flatten, LayerGraph, num_elements

IN_PLACE = (Activation, BatchNorm, Dropout, Flatten)  # their output lies where their input lay


@dataclass(frozen=True, slots=True, kw_only=True)
class WidestSettings:
    """What a specification may say beside the metric's name; absent fields take these values.

    Attributes:
        bytes_per_number: 4 for float32, 2 for float16, 1 for int8.
    """

    bytes_per_number: int = 4

    def __post_init__(self) -> None:
        if self.bytes_per_number not in (1, 2, 4):
            raise ValueError(f"bytes_per_number is {self.bytes_per_number}: it must be 1, 2 or 4")


def widest_point(graph: LayerGraph, settings: WidestSettings) -> int:
    """Bytes of the operator with the most; for one image. Servers call this as well as workers: numpy, no torch."""
    numbers = (
        num_elements(node.shape) + sum(num_elements(graph.nodes[source].shape) for source in set(node.inputs))
        for node in graph.nodes
        if not isinstance(node, IN_PLACE)
    )
    return max(numbers) * settings.bytes_per_number


METRIC = MetricDeclaration(
    name="widest_point_bytes",
    title="Bytes of one operator's inputs and output, where they are most.",
    unit="bytes",
    goal=Goal.MINIMIZE,
    source=MetricSource.GRAPH,
    settings=WidestSettings,
    implementation="hilnas_widest_point:widest_point",
    minimum=0.0,
)
