"""From settings to a measuring setup: runtimes by name, jobs that do not fit, the core probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.child.probe import probe
from device_agent.failures import AgentError, JobFailedError, RuntimeUnavailableError
from device_agent.measuring.classify import ClassifyRequest
from device_agent.measuring.device import MeasuringDevice, MeasuringSettings
from device_agent.measuring.procedure import MeasureRequest, OnPhase, run_measurement
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions, check_runtime, create_runtime
from device_agent.stop import StopToken
from nas_engine.domain.host.host_lock import HostLock
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Measurement
from nas_engine.domain.measuring.classification import Classification
from tests.support.fakes.board import ScriptedRuntime, ScriptedTelemetry, setup_of
from tests.support.samples.model_files import ONNX, refused, write


def test_runtimes_are_made_by_name_and_missing_libraries_are_named() -> None:
    for name in (RuntimeName.FAKE, RuntimeName.RK3588_SIM, RuntimeName.ONNXRUNTIME):
        assert create_runtime(name, RuntimeOptions()).facts.name == name.value
    with pytest.raises(RuntimeUnavailableError, match="rknn-toolkit-lite2"):
        create_runtime(RuntimeName.RKNNLITE, RuntimeOptions())
    with pytest.raises(RuntimeUnavailableError, match="use one of"):
        check_runtime("tensorrt")


def test_settings_cross_to_a_child_unchanged(tmp_path: Path) -> None:
    settings = MeasuringSettings(
        runtime=RuntimeName.FAKE,
        options=RuntimeOptions(cpus=(1, 2), core_masks=("0x1",), versions=(("a", "1"),), slowdown=1.5),
        num_threads=2,
        requested_khz=(("npu", 1_000_000),),
        lock_path=tmp_path / "lock",
    )
    assert MeasuringSettings.from_json(settings.to_json()) == settings


def test_jobs_for_other_cores_or_formats_are_unsupported(tmp_path: Path) -> None:
    device = MeasuringDevice(
        MeasuringSettings(runtime=RuntimeName.ONNXRUNTIME, options=RuntimeOptions(), lock_path=tmp_path / "lock")
    )
    assert device.core_labels() == ("anyx1",)
    setup, settings = device.prepare_job(SessionSettings(format="onnx", core_mask="anyx1", num_threads=7))
    assert setup.identity.core_mask == "anyx1"
    assert settings.num_threads == 1
    for wrong in (SessionSettings(format="rknn"), SessionSettings(format="onnx", core_mask="0x7")):
        with pytest.raises(JobFailedError) as caught:
            device.prepare_job(wrong)
        assert refused(caught) is FailureType.UNSUPPORTED


def test_a_host_that_somebody_else_times_on_for_too_long_gives_the_job_back(tmp_path: Path) -> None:
    settings = MeasuringSettings(
        runtime=RuntimeName.ONNXRUNTIME, options=RuntimeOptions(), lock_path=tmp_path / "lock", lock_wait_s=0.01
    )
    setup, _ = MeasuringDevice(settings).prepare_job(ONNX)
    with (
        HostLock(tmp_path / "lock").timing(),
        pytest.raises(JobFailedError, match="held by another") as caught,
        setup.lock(),
    ):
        pass
    assert refused(caught) is FailureType.DEVICE_BUSY
    with setup.lock():
        pass


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
        return run_measurement(request, setup_of(runtime, ScriptedTelemetry()), on_phase)

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
