"""The runtimes: what they take, what they refuse, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agent.bench import BenchSettings, DeviceBench
from device_agent.classify import ClassifyRequest
from device_agent.failures import AgentError, FailureType, JobFailedError, RuntimeUnavailableError
from device_agent.host_lock import HostLock
from device_agent.probe import probe
from device_agent.procedure import MeasureRequest, OnPhase, run_measurement
from device_agent.runtime.base import MonotonicClock, SessionSettings, VirtualClock
from device_agent.runtime.fake import FakeRuntime, behaviour_of
from device_agent.runtime.golden import golden_onnx
from device_agent.runtime.onnx_check import check_onnx
from device_agent.runtime.onnxruntime import OnnxRuntime
from device_agent.runtime.rk3588_sim import Rk3588SimRuntime, parse_cycle_table
from device_agent.runtime.rknn_check import check_rknn
from device_agent.runtime.rknn_lite import RknnLiteRuntime
from device_agent.runtime.select import RuntimeName, RuntimeOptions, create_runtime
from device_agent.stop import StopToken
from nas_engine.domain.classification import Classification
from nas_engine.domain.measurement import Measurement
from nas_engine.export.rknn_table import CycleTable, LayerCycles, Target
from tests.fakes_board import ScriptedRuntime, ScriptedTelemetry, bench_of
from tests.rknn_files import rknn_file

ONNX = SessionSettings(format="onnx")


def refused(caught: pytest.ExceptionInfo[JobFailedError]) -> FailureType:
    return caught.value.type


# ---- onnx


def small_model(*, batch: int | str = 1, external: bool = False, ir_version: int = 8) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    if external:
        onnx.external_data_helper.set_external_data(weight, location="../../etc/passwd")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=ir_version)


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model"
    path.write_bytes(data)
    return path


def test_the_golden_model_is_sound_and_always_the_same() -> None:
    onnx.checker.check_model(onnx.load_from_string(golden_onnx()), full_check=True)
    assert golden_onnx() == golden_onnx()


def test_versions_are_read_without_an_engine() -> None:
    facts = check_onnx(small_model().SerializeToString())
    assert (facts.ir_version, facts.opset) == (8, 17)


def test_external_data_is_refused_wherever_it_hides() -> None:
    plain = small_model(external=True)
    with pytest.raises(JobFailedError, match="external data") as caught:
        check_onnx(plain.SerializeToString())
    assert refused(caught) is FailureType.MODEL_REJECTED
    hidden = small_model()
    tensor = plain.graph.initializer[0]
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [], [])
    hidden.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    with pytest.raises(JobFailedError, match="external data"):
        check_onnx(hidden.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"not a model at all", b"\xff" * 40, golden_onnx()[:-10]])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(JobFailedError) as caught:
        check_onnx(data)
    assert refused(caught) is FailureType.MODEL_REJECTED


def test_too_new_or_bottomless_models_are_refused() -> None:
    with pytest.raises(JobFailedError, match="newer"):
        check_onnx(small_model(ir_version=99).SerializeToString())
    data = b""
    for _ in range(60):  # a graph in an attribute in a node in a graph ...
        attribute = b"\x32" + _length(data) + data
        node = b"\x2a" + _length(attribute) + attribute
        data = b"\x0a" + _length(node) + node
    with pytest.raises(JobFailedError, match="nested"):
        check_onnx(b"\x3a" + _length(data) + data)


def _length(data: bytes) -> bytes:
    out, size = bytearray(), len(data)
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


def test_onnx_runtime_gives_the_same_outputs_for_the_same_seed(tmp_path: Path) -> None:
    runtime = OnnxRuntime()
    path = write(tmp_path, small_model().SerializeToString())
    outputs = []
    for seed in (1, 1, 2):
        loaded = runtime.load(path, SessionSettings(format="onnx", input_seed=seed))
        loaded.session.run()
        outputs.append(loaded.session.outputs()[0])
        loaded.session.close()
        assert loaded.init_ns > 0
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (small_model(batch="n"), "dynamic shape"),
        (small_model(batch=2), "batch 2"),
    ],
)
def test_onnx_runtime_refuses_models_it_cannot_feed(tmp_path: Path, model: onnx.ModelProto, words: str) -> None:
    with pytest.raises(JobFailedError, match=words) as caught:
        OnnxRuntime().load(write(tmp_path, model.SerializeToString()), ONNX)
    assert refused(caught) is FailureType.MODEL_REJECTED


def test_a_graph_that_the_engine_does_not_know_fails_to_initialise(tmp_path: Path) -> None:
    model = small_model()
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(JobFailedError) as caught:
        OnnxRuntime().load(write(tmp_path, model.SerializeToString()), ONNX)
    assert refused(caught) is FailureType.INIT_FAILED


# ---- fake


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


# ---- cycle tables


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
    parsed = parse_cycle_table(table())
    assert (parsed.total_cycles, parsed.npu_cycles, parsed.cpu_operators) == (2900, 1000, ("TopK",))
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
        table(layers=[{"name": "a", "operator": "x", "target": "NPU", "npu_cycles": 1, "total_cycles": -1}]),
        table(layers=[{"name": "a"}]),
    ],
)
def test_malformed_cycle_tables_are_rejected(data: bytes) -> None:
    with pytest.raises(JobFailedError) as caught:
        parse_cycle_table(data)
    assert refused(caught) is FailureType.MODEL_REJECTED


# ---- rknn


class LiteStandIn:
    """rknnlite's API as its source has it: codes instead of exceptions, anything accepted by load_rknn."""

    def __init__(self, **behaviour: Any) -> None:
        self.behaviour = behaviour
        self.inputs: Sequence[Any] = []
        self.core_mask = -1
        self.num_released = 0
        if behaviour.get("perf_us") is not None:
            self.rknn_runtime = self

    def get_run_perf(self) -> Any:
        return self.behaviour["perf_us"]

    def load_rknn(self, path: str) -> int:
        return int(self.behaviour.get("load", 0))

    def init_runtime(self, target: str | None = None, core_mask: int = 0) -> int:
        self.core_mask = core_mask
        if self.behaviour.get("init_raises"):
            raise AttributeError("'NoneType' object has no attribute 'format'")
        return int(self.behaviour.get("init", 0))

    def inference(self, inputs: Sequence[Any], reuse_outputs: bool = False) -> list[Any] | None:
        self.inputs = inputs
        if any(i.dtype == np.float64 for i in inputs) or self.behaviour.get("fail_run"):
            return None
        return [np.array([[1.0, 2.0]], np.float32)]

    def get_sdk_version(self) -> str | None:
        return self.behaviour.get("sdk")

    def release(self) -> None:
        self.num_released += 1


def load_rknn(tmp_path: Path, data: bytes, lite: LiteStandIn, core_mask: str = "") -> Any:
    runtime = RknnLiteRuntime(make=lambda: lite, core_masks=("0x1", "0x2"))
    return runtime.load(write(tmp_path, data), SessionSettings(format="rknn", core_mask=core_mask)).session


def test_the_npu_is_fed_nhwc_float32_on_the_core_asked_for(tmp_path: Path) -> None:
    lite = LiteStandIn()
    session = load_rknn(tmp_path, rknn_file(), lite, core_mask="0x2")
    session.run()
    (image,) = lite.inputs
    assert (image.shape, image.dtype) == ((1, 8, 6, 3), np.float32)
    assert lite.core_mask == 2
    assert session.last_npu_ns() is None
    assert session.outputs()[0].tolist() == [[1.0, 2.0]]
    session.close()
    assert lite.num_released == 1


def test_the_npus_own_time_is_taken_where_the_library_gives_it(tmp_path: Path) -> None:
    session = load_rknn(tmp_path, rknn_file(), LiteStandIn(perf_us=2650))
    session.run()
    assert session.last_npu_ns() == 2_650_000
    odd = load_rknn(tmp_path, rknn_file(), LiteStandIn(perf_us="Query run perf failed"))
    odd.run()
    assert odd.last_npu_ns() is None


@pytest.mark.parametrize(
    ("lite", "failure"),
    [
        (LiteStandIn(load=-1), FailureType.MODEL_REJECTED),
        (LiteStandIn(init=-1), FailureType.INIT_FAILED),
        (LiteStandIn(init_raises=True), FailureType.INIT_FAILED),
    ],
)
def test_every_way_the_library_fails_is_a_typed_failure(
    tmp_path: Path, lite: LiteStandIn, failure: FailureType
) -> None:
    with pytest.raises(JobFailedError) as caught:
        load_rknn(tmp_path, rknn_file(), lite)
    assert refused(caught) is failure
    assert lite.num_released == 1


def test_an_inference_that_returns_none_is_a_failure(tmp_path: Path) -> None:
    session = load_rknn(tmp_path, rknn_file(), LiteStandIn(fail_run=True))
    with pytest.raises(JobFailedError, match="None") as caught:
        session.run()
    assert refused(caught) is FailureType.RUN_FAILED


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "RKNN"),
        (rknn_file(magic=b"ONNX"), "RKNN"),
        (rknn_file(version=7), "format version 7"),
        (rknn_file(target_platform=["rk3566"]), "rk3566"),
        (rknn_file()[:-200], "cut|read"),
        (rknn_file(norm_tensor=[]), "inputs"),
        (rknn_file(graph=[]), "inputs of shape"),
    ],
)
def test_rknn_files_are_judged_before_the_npu_sees_them(data: bytes, words: str) -> None:
    with pytest.raises(JobFailedError, match=words) as caught:
        check_rknn(data, "rk3588")
    assert refused(caught) is FailureType.MODEL_REJECTED


def test_a_model_with_another_batch_than_the_job_says_is_refused(tmp_path: Path) -> None:
    lite = LiteStandIn()
    four = rknn_file(norm_tensor=[{"size": [4, 3, 8, 6], "tensor_id": 0}, {"size": [4, 10], "tensor_id": 1}])
    with pytest.raises(JobFailedError, match="batch 4"):
        load_rknn(tmp_path, four, lite)


# ---- choosing


def test_runtimes_are_made_by_name_and_missing_libraries_are_named() -> None:
    for name in (RuntimeName.FAKE, RuntimeName.RK3588_SIM, RuntimeName.ONNXRUNTIME):
        assert create_runtime(name, RuntimeOptions()).facts.name == name.value
    with pytest.raises(RuntimeUnavailableError, match="rknn-toolkit-lite2"):
        create_runtime(RuntimeName.RKNNLITE, RuntimeOptions())
    with pytest.raises(RuntimeUnavailableError, match="use one of"):
        RuntimeName.parse("tensorrt")


def test_bench_settings_cross_to_a_child_unchanged(tmp_path: Path) -> None:
    settings = BenchSettings(
        runtime=RuntimeName.FAKE,
        options=RuntimeOptions(cpus=(1, 2), core_masks=("0x1",), versions=(("a", "1"),), slowdown=1.5),
        num_threads=2,
        requested_khz=(("npu", 1_000_000),),
        lock_path=tmp_path / "lock",
    )
    assert BenchSettings.from_json(settings.to_json()) == settings


def test_jobs_for_other_cores_or_formats_are_unsupported(tmp_path: Path) -> None:
    device = DeviceBench(
        BenchSettings(runtime=RuntimeName.ONNXRUNTIME, options=RuntimeOptions(), lock_path=tmp_path / "lock")
    )
    assert device.core_labels() == ("anyx1",)
    bench, settings = device.for_job(SessionSettings(format="onnx", core_mask="anyx1", num_threads=7))
    assert bench.identity.core_mask == "anyx1"
    assert settings.num_threads == 1
    for wrong in (SessionSettings(format="rknn"), SessionSettings(format="onnx", core_mask="0x7")):
        with pytest.raises(JobFailedError) as caught:
            device.for_job(wrong)
        assert refused(caught) is FailureType.UNSUPPORTED


def test_a_host_that_somebody_else_times_on_for_too_long_gives_the_job_back(tmp_path: Path) -> None:
    settings = BenchSettings(
        runtime=RuntimeName.ONNXRUNTIME, options=RuntimeOptions(), lock_path=tmp_path / "lock", lock_wait_s=0.01
    )
    bench, _ = DeviceBench(settings).for_job(ONNX)
    with (
        HostLock(tmp_path / "lock").timing(),
        pytest.raises(JobFailedError, match="held by another") as caught,
        bench.lock(),
    ):
        pass
    assert refused(caught) is FailureType.DEVICE_BUSY
    with bench.lock():
        pass


def test_versions_are_told_once_a_model_is_loaded(tmp_path: Path) -> None:
    lite = LiteStandIn(sdk="API: 2.3.2 (429f97ae6b@2025-04-09T09:09:27), DRV: 0.9.8")
    runtime = RknnLiteRuntime(make=lambda: lite)
    before = runtime.facts
    assert before.versions == ()
    runtime.load(write(tmp_path, rknn_file()), SessionSettings(format="rknn"))
    assert runtime.facts.versions == (("librknnrt", "2.3.2"), ("rknpu-driver", "0.9.8"))
    silent = RknnLiteRuntime(make=LiteStandIn)
    silent.load(write(tmp_path, rknn_file()), SessionSettings(format="rknn"))
    assert silent.facts.versions == ()


class ProbedBoard:
    """A measurer of a board on which some cores do not work."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken

    def prepare(self) -> None:
        return

    def measure(self, request: MeasureRequest, token: StopToken, on_phase: OnPhase, timeout_s: float) -> Measurement:
        if request.settings.core_mask in self.broken:
            raise JobFailedError(FailureType.RUN_FAILED, "failed to submit!")
        runtime = ScriptedRuntime()
        return run_measurement(request, bench_of(runtime, ScriptedTelemetry()), on_phase)

    def classify(
        self, request: ClassifyRequest, token: StopToken, on_phase: OnPhase, timeout_s: float
    ) -> Classification:
        raise JobFailedError(FailureType.UNSUPPORTED, "a probe classifies nothing")

    def close(self) -> None:
        return


def test_only_cores_that_run_the_golden_model_are_offered(tmp_path: Path) -> None:
    golden = write(tmp_path, b"golden")
    found = probe(ProbedBoard("0x2"), golden, "rknn", ("0x1", "0x2", "0x4"))
    assert found.core_masks == ("0x1", "0x4")
    assert found.versions == (("scripted", "1"),)
    with pytest.raises(AgentError, match="no core"):
        probe(ProbedBoard("0x1", "0x2"), golden, "rknn", ("0x1", "0x2"))
