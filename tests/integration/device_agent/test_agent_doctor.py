"""What the doctor says of boards in every state, and the self-test's answers."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from device_agent.cli import main
from device_agent.doctor.doctor import doctor, examine
from device_agent.doctor.finding import Finding, FindingLevel
from device_agent.doctor.selftest import SelfTest, selftest
from device_agent.measuring.device import MeasuringSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from nas_engine.domain.measurement import Validity, ValidityFlag
from tests.support.fakes.board_tree import DMC, NPU, make_board, make_good_board, write_nodes


def settings(root: Path, runtime: RuntimeName) -> MeasuringSettings:
    return MeasuringSettings(runtime=runtime, options=RuntimeOptions(), lock_path=root / "lock", root=root)


def found(root: Path, **rights: Any) -> dict[str, Finding]:
    return {f.what: f for f in examine(settings(root, RuntimeName.RKNNLITE), **rights)}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return make_good_board(tmp_path)


def test_a_board_in_order_lacks_only_what_this_machine_cannot_have(good: Path) -> None:
    findings = found(good)
    wrong = {what for what, finding in findings.items() if finding.verdict is not FindingLevel.OK}
    assert wrong <= {"runtime", "timer", "disk"}  # there is no wheel of the NPU's library for this machine
    assert findings["board"].found == "Radxa ROCK 5B"
    assert "pip install" in findings["runtime"].remedy
    assert findings["NPU library"].found.endswith("2.5.0")
    assert findings["NPU driver"].found == "0.9.6"
    assert findings["NPU load"].found == "core 0: 0 % core 1: 0 % core 2: 0 %"


def test_a_wandering_governor_is_named_with_the_way_to_pin_it(good: Path) -> None:
    write_nodes(good, {f"{NPU}/governor": "rknpu_ondemand"})
    clocks = found(good)["clocks"]
    assert clocks.verdict is FindingLevel.WARN
    assert clocks.remedy.startswith("start the agent with --pin-clocks")
    assert "npu: governor rknpu_ondemand" in clocks.remedy


def test_a_pinned_clock_that_stands_low_is_no_good_clock(good: Path) -> None:
    write_nodes(good, {f"{DMC}/cur_freq": "528000000"})
    assert "dmc: reads 528000000" in found(good)["clocks"].remedy


def test_without_permission_the_doctor_says_who_may(good: Path) -> None:
    write_nodes(good, {f"{NPU}/governor": "rknpu_ondemand"})

    def may_use(path: os.PathLike[str], mode: int) -> bool:
        return mode == os.R_OK

    findings = found(good, may_use=may_use)
    assert findings["clocks"].remedy.startswith("start the agent as root with --pin-clocks")
    assert findings["NPU device"].verdict is FindingLevel.FAIL
    assert "render" in findings["NPU device"].remedy


@pytest.mark.parametrize(
    ("celsius", "verdict", "words"),
    [
        (59, FindingLevel.OK, ""),
        (71, FindingLevel.WARN, "waits for 60 C"),
        (91, FindingLevel.FAIL, "nothing is measured above 80 C"),
    ],
)
def test_a_hot_board_is_told_what_its_heat_means(good: Path, celsius: int, verdict: FindingLevel, words: str) -> None:
    write_nodes(good, {"sys/class/thermal/thermal_zone0/temp": f"{celsius}000"})
    temperatures = found(good)["temperatures"]
    assert temperatures.verdict is verdict
    assert words in temperatures.remedy


@pytest.mark.parametrize(
    ("node", "content", "what", "verdict", "words"),
    [
        ("usr/lib/librknnrt.so", None, "NPU library", FindingLevel.FAIL, "copy librknnrt.so"),
        (
            "usr/lib/librknnrt.so",
            "librknnrt version: 1.4.0",
            "NPU library",
            FindingLevel.WARN,
            "older than the converter",
        ),
        ("usr/lib/librknnrt.so", "stripped", "NPU library", FindingLevel.WARN, ""),
        ("dev/dri/renderD129", None, "NPU device", FindingLevel.FAIL, "--device /dev/dri/renderD129"),
        ("proc/device-tree/compatible", None, "chip", FindingLevel.FAIL, "mount"),
        ("proc/device-tree/compatible", "radxa,zero3\0rockchip,rk3566\0", "chip", FindingLevel.FAIL, "for rk3588"),
        ("sys/kernel/debug/rknpu/version", None, "NPU driver", FindingLevel.WARN, "debugfs"),
        ("sys/kernel/debug/rknpu/load", None, "NPU load", FindingLevel.WARN, "only root"),
        ("sys/kernel/debug/rknpu/load", "NPU load: Core0: 35%", "NPU load", FindingLevel.WARN, "INTERFERED"),
        ("proc/loadavg", None, "load", FindingLevel.WARN, ""),
        ("proc/loadavg", "999.0 1 1 1/2 3", "load", FindingLevel.WARN, "other work"),
    ],
)
def test_every_fault_of_a_board_has_its_finding(
    good: Path, node: str, content: str | None, what: str, verdict: FindingLevel, words: str
) -> None:
    if content is None:
        (good / node).unlink()
    else:
        write_nodes(good, {node: content})
    finding = found(good)[what]
    assert finding.verdict is verdict
    assert words in finding.remedy


def test_a_machine_that_tells_nothing_is_warned_of_and_not_refused(tmp_path: Path) -> None:
    findings = {f.what: f for f in examine(settings(tmp_path, RuntimeName.ONNXRUNTIME))}
    assert {findings[what].verdict for what in ("clocks", "temperatures", "load")} == {FindingLevel.WARN}
    assert doctor(settings(tmp_path, RuntimeName.ONNXRUNTIME), io.StringIO()) == 0


def test_simulated_devices_are_not_judged_by_the_host(tmp_path: Path) -> None:
    for runtime in (RuntimeName.FAKE, RuntimeName.RK3588_SIM):
        assert {f.what for f in examine(settings(make_board(tmp_path), runtime))} == {"board", "runtime", "disk"}


def test_the_doctor_exits_by_whether_this_device_can_measure_and_answers_in_json(good: Path) -> None:
    out = io.StringIO()
    assert doctor(settings(good, RuntimeName.RKNNLITE), out) == 1
    assert "FAIL  runtime" in out.getvalue()
    out = io.StringIO()
    assert doctor(settings(good, RuntimeName.RKNNLITE), out, as_json=True) == 1
    document = json.loads(out.getvalue())
    assert document["can_measure"] is False
    assert {"verdict": "ok", "what": "NPU driver", "found": "0.9.6", "remedy": ""} in document["findings"]
    assert doctor(settings(good, RuntimeName.FAKE), io.StringIO()) == 0


def test_a_lock_that_cannot_be_made_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = MeasuringSettings(
        runtime=RuntimeName.ONNXRUNTIME, options=RuntimeOptions(), lock_path=tmp_path / "file" / "lock", root=tmp_path
    )
    lock = next(f for f in examine(wrong) if f.what == "timing lock")
    assert lock.verdict is FindingLevel.FAIL
    assert "--host-lock" in lock.remedy


# ---- self-test


NOISY = ValidityFlag(Validity.NOISY, "too few runs")


def test_the_self_test_measures_in_fresh_processes_and_answers_in_json(tmp_path: Path) -> None:
    out = io.StringIO()
    assert selftest(settings(tmp_path, RuntimeName.FAKE), None, out, as_json=True) == 0
    document = json.loads(out.getvalue())
    assert (document["passed"], document["failure"]) == (True, "")
    assert [run["median_us"] for run in document["runs"]] == [pytest.approx(1000.0, rel=0.02)] * 3
    assert document["spread"] < 0.05
    assert document["simulated"] is True


def test_the_self_test_of_a_simulator_says_so() -> None:
    runs = ((100.0, ()),)
    assert "run 1: simulated 100 us, valid" in SelfTest(runs=runs, simulated=True).text()
    assert "run 1: median 100 us, valid" in SelfTest(runs=runs).text()


def test_the_self_test_shows_flags_and_a_spread_that_does_not_replicate() -> None:
    text = SelfTest(runs=((100.0, ()), (110.0, (NOISY,)))).text()
    assert "  ok  run 2: median 110 us, noisy\n      noisy: too few runs" in text
    assert "warn  spread of the medians 10.0%" in text
    assert "FAIL" not in text
    assert "FAIL  run 1: init_failed" in SelfTest(runs=(), failure="run 1: init_failed: no NPU").text()


def test_a_golden_model_that_is_none_fails_the_self_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "golden.onnx"
    wrong.write_bytes(b"not a model")
    assert main(["selftest", "--golden", str(wrong)]) == 1
    assert "FAIL  run 1: model_rejected" in capsys.readouterr().out
    assert main(["selftest", "--golden", str(tmp_path / "missing.onnx")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main(["selftest", "--runtime", "rknnlite"]) == 1
    assert "hilnas models convert" in capsys.readouterr().err
