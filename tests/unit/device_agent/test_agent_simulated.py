"""The simulated runtimes: the fake device and the RK3588 of the cycle tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from device_agent.failures import JobFailedError
from device_agent.runtime.base import MonotonicClock, SessionSettings, VirtualClock
from device_agent.runtime.fake import FakeRuntime, behaviour_of
from device_agent.runtime.rk3588_sim import Rk3588SimRuntime
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measuring.cycle_table import CycleTable, LayerCycles, Target
from tests.support.samples.model_files import refused, write


def test_fake_latency_follows_size_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    small, large = behaviour_of(b"a" * 1024), behaviour_of(b"a" * 1024 * 1024)
    assert large.latency_us > 3 * small.latency_us
    assert behaviour_of(b"a" * 1024) == small
    assert behaviour_of(b"b" * 1024) != small
    slow, usual = FakeRuntime(slowdown=2.0), FakeRuntime()
    durations = []
    for runtime in (slow, usual, FakeRuntime()):
        loaded = runtime.load(write(tmp_path, b"model"), SessionSettings(format="fake"))
        before_ns = runtime.clock.now_ns()
        loaded.session.run()
        durations.append(runtime.clock.now_ns() - before_ns)
    assert durations[1] == durations[2]
    assert durations[0] == pytest.approx(2 * durations[1], abs=2)


def test_fake_runs_take_real_time_only_when_asked() -> None:
    assert isinstance(FakeRuntime().clock, VirtualClock)
    assert isinstance(FakeRuntime(real_time=True).clock, MonotonicClock)


@pytest.mark.parametrize("script", [{"latency_us": 0}, {"latency_us": "NaN"}, {"fault": "unheard of"}, {"noise": 9}])
def test_malformed_fake_models_are_rejected(script: dict[str, Any]) -> None:
    with pytest.raises(JobFailedError) as caught:
        behaviour_of(json.dumps({"hilnas_fake": 1, **script}).encode())
    assert refused(caught) is FailureType.MODEL_REJECTED


LAYERS = tuple(
    LayerCycles(
        operator=operator,
        name=f"layer-{position}",
        dtype="INT8",
        target=Target(target),
        input_shapes="(1,8,8,8)",
        output_shape="(1,8,8,8)",
        ddr_cycles=ddr_cycles,
        npu_cycles=npu_cycles,
        total_cycles=max(ddr_cycles, npu_cycles),
        traffic_kib=1,
    )
    for position, (operator, target, ddr_cycles, npu_cycles) in enumerate(
        [("Conv", "NPU", 500, 900), ("TopK", "CPU", 0, 0), ("Add", "NPU", 2000, 100)]
    )
)


def table(**changes: Any) -> bytes:
    """As the converter writes it, with some keys changed."""
    written = CycleTable(layers=LAYERS, internal_memory_bytes=1, weight_memory_bytes=1).to_json()
    return json.dumps(json.loads(written) | changes).encode()


def test_a_cycle_table_gives_the_same_simulated_latency_every_time(tmp_path: Path) -> None:
    parsed = CycleTable.from_json(table())
    assert (parsed.total_cycles, parsed.npu_cycles) == (2900, 1000)
    assert [layer.operator for layer in parsed.cpu_fallbacks] == ["TopK"]
    runtime = Rk3588SimRuntime()
    loaded = runtime.load(write(tmp_path, table()), SessionSettings(format="rknn-cycles"))
    for _ in range(3):
        before_ns = runtime.clock.now_ns()
        loaded.session.run()
        assert runtime.clock.now_ns() - before_ns == 2900  # 2900 cycles at 1 GHz
    assert loaded.session.last_npu_ns() == 1000
    assert runtime.facts.device_class.value == "simulated"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        table(layers=[]),
        table(layers=[{**json.loads(table())["layers"][0], "total_cycles": -1}]),
        table(layers=[{**json.loads(table())["layers"][0], "npu_cycles": True}]),
        table(layers=[json.loads(table())["layers"][1]]),  # on the processor only: no cycle is known
        table(layers=[{"name": "a"}]),
    ],
)
def test_malformed_cycle_tables_are_rejected(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(JobFailedError) as caught:
        Rk3588SimRuntime().load(write(tmp_path, data), SessionSettings(format="rknn-cycles"))
    assert refused(caught) is FailureType.MODEL_REJECTED
