"""Reading the RKNN compiler's table of layers from its log: cycles per layer, where it runs, and memory.

The compiler prints it while it builds (rknn-toolkit2 2.5.0 with verbose output). Cycles are its own
static estimate; what they mean for latency is `nas_engine.domain.measuring.cycle_table`'s part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nas_engine.domain.errors import ExportError
from nas_engine.domain.measuring.cycle_table import CycleTable, LayerCycles, Target

_HEADING = "Network Layer Information Table"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Tables of some chips (rk3576) have a column more, the share of weights that are left out as zeros.
_ROW = re.compile(
    r"\] (?P<position>\d+)\s+(?P<operator>\S+)\s+(?P<dtype>[A-Z]+\d*)\s+(?P<target>NPU|CPU|GPU)\s+"
    r"(?P<input>\S+)\s+(?P<output>\S+)\s+(?P<ddr>\d+)/(?P<npu>\d+)/(?P<total>\d+)\s+(?:\d+%\s+)?(?P<traffic>\d+)\s+(?P<name>\S+)"
)
_MEMORY = re.compile(r"Total (?P<kind>Internal|Weight) Memory Size: (?P<kilobytes>[\d.]+)KB")
_NOT_LAYERS = ("InputOperator", "OutputOperator")


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
