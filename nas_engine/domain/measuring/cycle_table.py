"""What a board's compiler says a model costs: cycles per layer, where each runs, and the latency that follows.

Cycles are the compiler's own static estimate (rknn-toolkit2 2.5.0). A layer costs max(DDR, NPU) cycles; activations,
splits, joins and pooling count nothing, launching an operator and operators on the CPU count nothing, so true latency
is 1.3 to 1.8 times this (against published figures); the order of networks is right. What is computed from it is a
simulation, never a measurement.

The stored form is the artifact of format `rknn-cycles` that simulated devices load:

    {"layers": [{"operator": "Conv", "name": "...", "target": "NPU", "ddr_cycles": 1, "npu_cycles": 2,
                 "total_cycles": 2, ...}], "internal_memory_bytes": 1, "weight_memory_bytes": 1}
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from nas_engine.domain.errors import ExportError
from nas_engine.domain.json_value import canonical_json

RK3588_NPU_CLOCK_HZ = 1_000_000_000
"""The highest operating point of the RK3588's NPU."""


class Target(Enum):
    """Where a layer runs on the board."""

    NPU = "NPU"
    CPU = "CPU"
    GPU = "GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCycles:
    """One fused layer of the compiled model.

    Attributes:
        operator: the compiler's operator, e.g. ``ConvRelu``.
        name: full name; it ends with the node it comes from.
        dtype: number format, e.g. ``INT8``.
        target: where it runs.
        input_shapes, output_shape: as printed.
        ddr_cycles, npu_cycles: memory and arithmetic cycles; the larger one is `total_cycles`.
        traffic_kib: data read and written.
    """

    operator: str
    name: str
    dtype: str
    target: Target
    input_shapes: str
    output_shape: str
    ddr_cycles: int
    npu_cycles: int
    total_cycles: int
    traffic_kib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleTable:
    """The layers of a compiled model, without its input and output, in order of execution.

    Attributes:
        layers: at least one.
        internal_memory_bytes, weight_memory_bytes: what the model needs on the board.
    """

    layers: tuple[LayerCycles, ...]
    internal_memory_bytes: int
    weight_memory_bytes: int

    def __post_init__(self) -> None:
        if not self.layers:
            raise ExportError("a cycle table has no layers: convert the model again")

    @property
    def total_cycles(self) -> int:
        """Cycles of all layers, one after the other."""
        return sum(layer.total_cycles for layer in self.layers)

    @property
    def npu_cycles(self) -> int:
        """Arithmetic cycles of all layers, without waiting for memory."""
        return sum(layer.npu_cycles for layer in self.layers)

    @property
    def cpu_fallbacks(self) -> tuple[LayerCycles, ...]:
        """Layers that leave the NPU. The reshape of the answer at the very end is a copy and is not counted."""
        last = self.layers[-1]
        return tuple(
            layer
            for layer in self.layers
            if layer.target is not Target.NPU and not (layer is last and layer.operator == "Reshape")
        )

    @property
    def npu_only(self) -> bool:
        """Whether every layer runs on the NPU: the search constraint of that name."""
        return not self.cpu_fallbacks

    def to_json(self) -> str:
        """Canonical JSON, the form it is stored in."""
        layers = [{**asdict(layer), "target": layer.target.value} for layer in self.layers]
        return canonical_json(
            {
                "layers": layers,
                "internal_memory_bytes": self.internal_memory_bytes,
                "weight_memory_bytes": self.weight_memory_bytes,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> CycleTable:
        """Read what `to_json` wrote; members of later versions are ignored.

        Raises:
            ExportError: it is something else, or a count is no whole number of at least 0.
        """
        try:
            document = json.loads(text)
            counts = {name: _count(document[name]) for name in ("internal_memory_bytes", "weight_memory_bytes")}
            return cls(layers=tuple(_layer(row) for row in document["layers"]), **counts)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ExportError(f"not a stored cycle table: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLatency:
    """A latency worked out from compiler cycles. Not a measurement, and of another type on purpose.

    Attributes:
        latency_us: cycles over the clock.
        total_cycles: of all layers.
        clock_hz: NPU clock it is worked out for.
        num_layers: layers that are run.
    """

    latency_us: float
    total_cycles: int
    clock_hz: int
    num_layers: int


def simulate_latency(table: CycleTable, *, clock_hz: int = RK3588_NPU_CLOCK_HZ) -> SimulatedLatency:
    """Time of one inference if the compiler's cycle estimate were exact, on one NPU core."""
    cycles = table.total_cycles
    return SimulatedLatency(
        latency_us=1e6 * cycles / clock_hz, total_cycles=cycles, clock_hz=clock_hz, num_layers=len(table.layers)
    )


def _layer(row: dict[str, Any]) -> LayerCycles:
    return LayerCycles(
        operator=str(row["operator"]),
        name=str(row["name"]),
        dtype=str(row["dtype"]),
        target=Target(row["target"]),
        input_shapes=str(row["input_shapes"]),
        output_shape=str(row["output_shape"]),
        ddr_cycles=_count(row["ddr_cycles"]),
        npu_cycles=_count(row["npu_cycles"]),
        total_cycles=_count(row["total_cycles"]),
        traffic_kib=_count(row["traffic_kib"]),
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
