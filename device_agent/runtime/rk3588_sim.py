"""The RK3588 as its compiler sees it: latency from the cycle table of a real conversion, simulated and labelled so.

The artifact (format `rknn-cycles`) is the JSON document that nas_engine.export.rknn_table.CycleTable writes:

    {"layers": [{"operator": "Conv", "name": "...", "target": "NPU", "ddr_cycles": 1, "npu_cycles": 2,
                 "total_cycles": 2, ...}], "internal_memory_bytes": 1, "weight_memory_bytes": 1}

A layer costs max(DDR, NPU) cycles, the table's own total. Limits (measured against published figures): activations,
launches and CPU operators cost nothing, so true latency is 1.3 to 1.8 times this; the order of networks is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.failures import JobFailedError
from device_agent.runtime.base import Classifier, Clock, Loaded, RuntimeFacts, SessionSettings, VirtualClock
from device_agent.runtime.simulated import SimulatedSession
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, Dtype

NPU_HZ = 1_000_000_000  # the RK3588's highest operating point
_MAX_TABLE_BYTES = 16 * 2**20
_MODEL_VERSION = "1"


@dataclass(frozen=True, slots=True)
class CycleTable:
    """Totals of a cycle table, and the operators that run on the processor."""

    total_cycles: int
    npu_cycles: int
    cpu_operators: tuple[str, ...]


def parse_cycle_table(data: bytes) -> CycleTable:
    """Read and check a cycle table.

    Raises:
        JobFailedError: MODEL_REJECTED; malformed, or without any cycle.
    """
    if len(data) > _MAX_TABLE_BYTES:
        raise JobFailedError(FailureType.MODEL_REJECTED, f"cycle table of {len(data)} bytes is too large")
    try:
        document = json.loads(data)
        layers: list[Mapping[str, Any]] = list(document["layers"])
        total = sum(_cycles(layer, "total_cycles") for layer in layers)
        npu = sum(_cycles(layer, "npu_cycles") for layer in layers)
        on_cpu = tuple(str(layer["operator"]) for layer in layers if layer["target"] == "CPU")
    except (ValueError, KeyError, TypeError) as error:
        raise JobFailedError(FailureType.MODEL_REJECTED, f"not a cycle table: {error!r}") from error
    if total <= 0:
        raise JobFailedError(FailureType.MODEL_REJECTED, "cycle table has no cycles")
    return CycleTable(total, npu, on_cpu)


def _cycles(layer: Mapping[str, Any], key: str) -> int:
    value = layer[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} of layer {layer.get('name')!r} is {value!r}")
    return value


class Rk3588SimRuntime:
    """Takes cycle tables, gives the same latency for the same table every time."""

    def __init__(self) -> None:
        self._clock = VirtualClock()

    @property
    def facts(self) -> RuntimeFacts:
        """A simulated RK3588 on one NPU core at its highest clock."""
        return RuntimeFacts(
            name="rk3588-sim",
            device_class=DeviceClass.SIMULATED,
            versions=(("cycle-model", _MODEL_VERSION),),
            dtypes=(Dtype.FP16, Dtype.W8A8),
            model_formats=("rknn-cycles",),
            core_masks=("0x1",),
            uses_processor=False,
            has_npu_time=True,
            executes=False,
        )

    @property
    def clock(self) -> Clock:
        """Virtual."""
        return self._clock

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        """Read the table."""
        table = parse_cycle_table(path.read_bytes())
        duration_ns = max(1, round(table.total_cycles * 1e9 / NPU_HZ))
        session = SimulatedSession(
            self._clock,
            duration_ns,
            noise=0.0,
            rng=np.random.default_rng(settings.input_seed),
            output=np.array([float(table.total_cycles)]),
            npu_share=min(1.0, table.npu_cycles / table.total_cycles),
        )
        return Loaded(session, 0, 0)

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        """Refused: a cycle table says how long a model takes, not what it answers."""
        raise JobFailedError(
            FailureType.UNSUPPORTED,
            "rk3588-sim computes latencies from a cycle table and executes nothing: use a board",
        )
