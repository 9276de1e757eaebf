"""The RKNN compiler's table of layers: cycles per layer, where it runs, and memory; read from its log.

The compiler prints it while it builds (rknn-toolkit2 2.5.0 with verbose output). Cycles are its own
static estimate: activations, splits, joins and pooling count nothing, launching an operator counts
nothing, operators on the CPU count nothing. What is made of them here is a simulation, never a
measurement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum

from nas_engine.domain.errors import ExportError
from nas_engine.domain.json_value import canonical_json

RK3588_NPU_CLOCK_HZ = 1_000_000_000  # the highest NPU clock of RK3588

_HEADING = "Network Layer Information Table"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Tables of some chips (rk3576) have a column more, the share of weights that are left out as zeros.
_ROW = re.compile(
    r"\] (?P<position>\d+)\s+(?P<operator>\S+)\s+(?P<dtype>[A-Z]+\d*)\s+(?P<target>NPU|CPU|GPU)\s+"
    r"(?P<input>\S+)\s+(?P<output>\S+)\s+(?P<ddr>\d+)/(?P<npu>\d+)/(?P<total>\d+)\s+(?:\d+%\s+)?(?P<traffic>\d+)\s+(?P<name>\S+)"
)
_MEMORY = re.compile(r"Total (?P<kind>Internal|Weight) Memory Size: (?P<kilobytes>[\d.]+)KB")
_NOT_LAYERS = ("InputOperator", "OutputOperator")


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

    @property
    def total_cycles(self) -> int:
        """Cycles of all layers, one after the other."""
        return sum(layer.total_cycles for layer in self.layers)

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
    def from_json(cls, text: str) -> CycleTable:
        """Read what `to_json` wrote.

        Raises:
            ExportError: it is something else.
        """
        try:
            document = json.loads(text)
            layers = tuple(LayerCycles(**{**row, "target": Target(row["target"])}) for row in document["layers"])
            return cls(**{**document, "layers": layers})
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(f"not a stored cycle table: {error}") from error


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


def parse_cycle_table(log: str) -> CycleTable:
    """Find and read the table in the compiler's output; the last one where it was built twice.

    Raises:
        ExportError: there is none, or it has another form than this toolkit version prints.
    """
    start = log.rfind(_HEADING)
    if start < 0:
        raise ExportError("the converter's output holds no layer table: it must run with verbose output")
    lines = [_ANSI.sub("", line) for line in log[start:].splitlines()]
    rows = [match for line in lines if (match := _ROW.search(line))]
    positions = [int(row["position"]) for row in rows]
    if positions != list(range(len(rows))):
        raise ExportError(f"the converter's layer table has rows {positions}: some could not be read")
    layers = tuple(_layer(row) for row in rows if row["operator"] not in _NOT_LAYERS)
    if not layers:
        raise ExportError("the converter's layer table is empty")
    return CycleTable(
        layers=layers,
        internal_memory_bytes=_memory(lines, "Internal"),
        weight_memory_bytes=_memory(lines, "Weight"),
    )


def _layer(row: re.Match[str]) -> LayerCycles:
    return LayerCycles(
        operator=row["operator"],
        name=row["name"],
        dtype=row["dtype"],
        target=Target(row["target"]),
        input_shapes=row["input"],
        output_shape=row["output"],
        ddr_cycles=int(row["ddr"]),
        npu_cycles=int(row["npu"]),
        total_cycles=int(row["total"]),
        traffic_kib=int(row["traffic"]),
    )


def _memory(lines: Sequence[str], kind: str) -> int:
    for line in lines:
        match = _MEMORY.search(line)
        if match and match["kind"] == kind:
            return round(float(match["kilobytes"]) * 1024)
    raise ExportError(f"the converter's output does not tell the size of its {kind.lower()} memory")
