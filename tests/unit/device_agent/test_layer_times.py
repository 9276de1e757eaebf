"""How long layers take: what ONNX Runtime's profiler writes, and when it is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from device_agent.child.process import ChildMeasurer
from device_agent.failures import JobFailedError
from device_agent.measuring.device import MeasuringSettings
from device_agent.measuring.procedure import MeasureRequest, run_measurement
from device_agent.runtime.base import LayerTimer, SessionSettings
from device_agent.runtime.golden import golden_onnx
from device_agent.runtime.onnx_profile import read_profile
from device_agent.runtime.onnxruntime import OnnxRuntime
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.stop import StopToken
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, Measurement, MeasurementProfile
from nas_engine.domain.measuring.layer_times import LayerProfile, ProfiledLayer
from tests.support.fakes.board import COOL, STANDARD, CountingLock, ScriptedRuntime, ScriptedTelemetry, setup_of
from tests.support.samples.model_files import ONNX, write

PROFILE = LayerProfile(
    source="scripted profiler", layers=(ProfiledLayer(name="conv", operator="Conv"),), times_ns=((700,), (900,))
)


def kernel(name: str, ts: int, dur: int, index: int) -> dict[str, Any]:
    args = {"op_name": name.title(), "node_index": str(index)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def test_kernels_are_read_run_by_run_without_the_first() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 99, "args": {}},
        *(kernel(*one) for one in (("conv", 0, 50, 1), ("relu", 50, 3, 2))),
        *(kernel(*one) for one in (("conv", 100, 20, 1), ("relu", 120, 0, 2))),
        *(kernel(*one) for one in (("conv", 200, 22, 1), ("relu", 222, 1, 2))),
    ]
    found = read_profile(json.dumps(events).encode(), 3, "profiler")
    assert found is not None
    assert [(one.name, one.operator) for one in found.layers] == [("conv", "Conv"), ("relu", "Relu")]
    assert found.times_ns == ((20_000, 0), (22_000, 1_000))


def test_kernels_of_a_branch_are_not_counted_beside_the_kernel_that_took_it() -> None:
    events = [kernel(*one) for start in (0, 100) for one in (("if", start, 50, 1), ("add", start + 10, 30, 0))]
    found = read_profile(json.dumps(events).encode(), 2, "profiler")
    assert found is not None
    assert [one.name for one in found.layers] == ["if"]


@pytest.mark.parametrize("data", [b"", b"[", b"3", b'[{"cat": "Node", "name": "a_kernel_time"}]', b'["x"]'])
def test_what_is_no_profile_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMeasurementError, match="cannot be read"):
        read_profile(data, 2, "profiler")


def test_onnx_runtime_times_every_layer_of_the_golden_model(tmp_path: Path) -> None:
    runtime = OnnxRuntime()
    assert isinstance(runtime, LayerTimer)
    found = runtime.layer_times(write(tmp_path, golden_onnx()), ONNX, 0.05)
    assert found is not None
    assert found.source.startswith("onnxruntime ")
    assert found.num_runs >= 5
    assert len(found.layers) >= 2
    assert sum(map(sum, found.times_ns)) > 0


class ProfilingRuntime(ScriptedRuntime):
    """Scripted, with a profiler that says when it ran."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.runs_before_profiling = -1
        self._broken = broken

    def layer_times(self, path: Path, settings: SessionSettings, clock_budget_s: float) -> LayerProfile | None:
        assert all(session.closed for session in self.sessions)
        self.runs_before_profiling = sum(session.num_runs for session in self.sessions)
        if self._broken:
            raise JobFailedError(FailureType.RUN_FAILED, "the profiler broke")
        return PROFILE


def measured(runtime: ScriptedRuntime, *, layer_times: bool, lock: CountingLock | None = None) -> Measurement:
    request = MeasureRequest(
        model=Path("model"),
        settings=SessionSettings(format="onnx"),
        profile=STANDARD,
        dtype=Dtype.FP32,
        layer_times=layer_times,
    )
    return run_measurement(request, setup_of(runtime, ScriptedTelemetry(COOL), lock), lambda _: None)


def test_layers_are_timed_after_everything_else_and_change_no_sample() -> None:
    plain, profiling, lock = ScriptedRuntime(), ProfilingRuntime(), CountingLock()
    without, with_layers = measured(plain, layer_times=False), measured(profiling, layer_times=True, lock=lock)
    assert with_layers.layers == PROFILE
    assert without.layers is None
    assert with_layers.blocks == without.blocks
    assert profiling.runs_before_profiling == sum(session.num_runs for session in plain.sessions)
    assert lock.num_taken > 1


def test_they_are_not_timed_unasked_nor_by_a_runtime_without_a_profiler() -> None:
    profiling = ProfilingRuntime()
    assert measured(profiling, layer_times=False).layers is None
    assert profiling.runs_before_profiling == -1
    assert measured(ScriptedRuntime(), layer_times=True).layers is None


def test_a_profiler_that_breaks_costs_no_measurement() -> None:
    found = measured(ProfilingRuntime(broken=True), layer_times=True)
    assert found.layers is None
    assert found.blocks
    assert found.environment.layers_trouble == "JobFailedError: the profiler broke"


def test_nor_does_one_that_takes_the_process_with_it(tmp_path: Path) -> None:
    # The engine of the child is as it is, but for its profiler, which ends the process where it should write its file.
    broken = "import os, onnxruntime; onnxruntime.InferenceSession.end_profiling = lambda self: os.abort()"
    code = f"{broken}; from device_agent.child.main import main; raise SystemExit(main())"
    settings = MeasuringSettings(runtime=RuntimeName.ONNXRUNTIME, options=RuntimeOptions(), lock_path=tmp_path / "lock")
    request = MeasureRequest(
        model=write(tmp_path, golden_onnx()),
        settings=SessionSettings(format="onnx"),
        profile=MeasurementProfile.named("quick"),
        dtype=Dtype.FP32,
        layer_times=True,
    )
    measurer = ChildMeasurer(settings, (sys.executable, "-c", code))
    try:
        found = measurer.measure(request, StopToken(), lambda _: None, 60.0)
    finally:
        measurer.close()
    assert found.layers is None
    assert found.blocks
    assert "SIGABRT" in (found.environment.layers_trouble or "")
