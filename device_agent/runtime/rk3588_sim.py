"""The RK3588 as its compiler sees it: latency from the cycle table of a real conversion, simulated and labelled so.

The model and its limits are those of `nas_engine.domain.measuring.cycle_table`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from device_agent.failures import JobFailedError
from device_agent.runtime.base import Classifier, Clock, Loaded, RuntimeFacts, SessionSettings, VirtualClock
from device_agent.runtime.simulated import SimulatedSession
from nas_engine.domain.errors import ExportError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, Dtype
from nas_engine.domain.measuring.cycle_table import CycleTable, simulate_latency

_MAX_TABLE_BYTES = 16 * 2**20
_MODEL_VERSION = "1"


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
        return self._clock

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        """Read the table; one run takes the time that follows from its cycles.

        Raises:
            JobFailedError: MODEL_REJECTED; it is malformed, too large, or has no cycle.
        """
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_TABLE_BYTES:
            raise JobFailedError(FailureType.MODEL_REJECTED, f"cycle table of {size_bytes} bytes is too large")
        try:
            table = CycleTable.from_json(path.read_bytes())
        except ExportError as error:
            raise JobFailedError(FailureType.MODEL_REJECTED, str(error)) from error
        if table.total_cycles == 0:
            raise JobFailedError(FailureType.MODEL_REJECTED, "cycle table has no cycles")
        duration_ns = max(1, round(simulate_latency(table).latency_us * 1e3))
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
        """Refuse: a cycle table says how long a model takes, not what it predicts."""
        raise JobFailedError(
            FailureType.UNSUPPORTED,
            "rk3588-sim computes latencies from a cycle table and executes nothing: use a board",
        )
