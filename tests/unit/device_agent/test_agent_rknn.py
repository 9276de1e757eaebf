"""The NPU's runtime against a stand-in of its library, and .rknn files that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.failures import JobFailedError
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.rknn_check import check_rknn
from device_agent.runtime.rknn_lite import RknnLiteRuntime
from nas_engine.domain.job_protocol import FailureType
from tests.support.samples.model_files import refused, write
from tests.support.samples.rknn_files import rknn_file


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
        if isinstance(self.behaviour["perf_us"], Exception):
            raise self.behaviour["perf_us"]
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
        if self.behaviour.get("run_raises"):
            raise TypeError("inference() got an unexpected keyword argument 'reuse_outputs'")
        if any(i.dtype == np.float64 for i in inputs) or self.behaviour.get("fail_run"):
            return None
        return [np.array([[1.0, 2.0]], np.float32)]

    def get_sdk_version(self) -> str | None:
        if self.behaviour.get("sdk_raises"):
            raise RuntimeError("Query sdk version failed")
        return self.behaviour.get("sdk")

    def release(self) -> None:
        self.num_released += 1
        if self.behaviour.get("release_raises"):
            raise RuntimeError("already gone")


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


@pytest.mark.parametrize("perf_us", ["Query run perf failed", 0, -1, float("inf"), True, RuntimeError("gone")])
def test_an_npu_time_that_is_none_is_not_asked_for_again(tmp_path: Path, perf_us: Any) -> None:
    lite = LiteStandIn(perf_us=perf_us)
    session = load_rknn(tmp_path, rknn_file(), lite)
    session.run()
    assert session.last_npu_ns() is None
    lite.behaviour["perf_us"] = 2650
    assert session.last_npu_ns() is None


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


def test_a_core_mask_that_the_chip_does_not_have_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(JobFailedError, match="0x9") as caught:
        load_rknn(tmp_path, rknn_file(), LiteStandIn(), core_mask="0x9")
    assert refused(caught) is FailureType.UNSUPPORTED


def test_an_inference_that_raises_is_a_typed_failure(tmp_path: Path) -> None:
    session = load_rknn(tmp_path, rknn_file(), LiteStandIn(run_raises=True))
    with pytest.raises(JobFailedError, match="inference raised TypeError") as caught:
        session.run()
    assert refused(caught) is FailureType.RUN_FAILED


def test_a_library_that_tells_no_version_and_cannot_be_released_spoils_no_result(tmp_path: Path) -> None:
    lite = LiteStandIn(sdk_raises=True, release_raises=True)
    session = load_rknn(tmp_path, rknn_file(), lite)
    session.run()
    session.close()
    assert lite.num_released == 1
    failing = LiteStandIn(init=-1, release_raises=True)
    with pytest.raises(JobFailedError, match="init_runtime returned -1"):
        load_rknn(tmp_path, rknn_file(), failing)


def test_a_failed_start_names_the_versions_that_may_not_fit(tmp_path: Path) -> None:
    runtime = RknnLiteRuntime(make=lambda: LiteStandIn(init=-1), versions=(("librknnrt", "1.4.0"),))
    with pytest.raises(JobFailedError, match=r"made by toolkit 2\.5\.0, librknnrt is 1\.4\.0"):
        runtime.load(write(tmp_path, rknn_file()), SessionSettings(format="rknn"))


def test_versions_found_before_are_completed_by_what_the_library_tells(tmp_path: Path) -> None:
    lite = LiteStandIn(sdk="API: 2.3.2 (429f97ae6b@2025-04-09T09:09:27), DRV: 0.9.8")
    runtime = RknnLiteRuntime(make=lambda: lite, versions=(("librknnrt", "2.3.2"), ("rknnlite", "2.5.0")))
    runtime.load(write(tmp_path, rknn_file()), SessionSettings(format="rknn"))
    assert runtime.facts.versions == (("librknnrt", "2.3.2"), ("rknnlite", "2.5.0"), ("rknpu-driver", "0.9.8"))
