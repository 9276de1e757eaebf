"""`hilnas agent doctor` and `selftest`: what this board can and cannot do, with remedies, and whether it measures."""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TextIO

from device_agent.bench import BenchSettings, DeviceBench
from device_agent.child import ChildMeasurer
from device_agent.failures import FailureType, JobFailedError, RuntimeUnavailableError
from device_agent.host_lock import HostBusyError, HostLock
from device_agent.procedure import MeasureRequest, Phase
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.golden import golden_model
from device_agent.runtime.select import RuntimeName
from device_agent.stop import StopToken
from device_agent.telemetry import BoardTelemetry
from nas_engine.domain.measurement import Dtype, MeasurementProfile

_MIN_FREE_BYTES = 2 * 2**30
_MAX_TIMER_NS = 1000
_WARM_C = 60.0
_BUSY_SHARE = 0.5
SELFTEST_TIMEOUT_S = 120.0


class Verdict(Enum):
    """How one finding stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what it is, what was found, and what to do about it (empty when nothing)."""

    verdict: Verdict
    what: str
    found: str
    remedy: str = ""


def doctor(settings: BenchSettings, out: TextIO) -> int:
    """Write what this device can do; returns 1 when it cannot measure at all."""
    findings = examine(settings)
    for finding in findings:
        out.write(f"{finding.verdict.value:>4}  {finding.what:<18} {finding.found}\n")
        if finding.remedy:
            out.write(f"      {'':<18} -> {finding.remedy}\n")
    return 1 if any(f.verdict is Verdict.FAIL for f in findings) else 0


def examine(settings: BenchSettings) -> list[Finding]:
    """Everything the doctor looks at."""
    board = BoardTelemetry(settings.root)
    findings = [
        Finding(Verdict.OK, "board", settings.board_model or board.board_model()),
        _runtime(settings),
        _timer(settings),
        _lock(settings),
        _clocks(settings, board),
        _temperatures(board),
        _load(board),
        _disk(),
    ]
    if settings.runtime is RuntimeName.RKNNLITE:
        findings += _npu(settings, board)
    return findings


def _runtime(settings: BenchSettings) -> Finding:
    try:
        facts = DeviceBench(settings).runtime.facts
    except RuntimeUnavailableError as error:
        return Finding(Verdict.FAIL, "runtime", settings.runtime.value, str(error))
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions) or "version not known"
    return Finding(Verdict.OK, "runtime", f"{facts.name} ({versions}), {facts.device_class.value}")


def _timer(settings: BenchSettings) -> Finding:
    try:
        resolution_ns = DeviceBench(settings).environment().timer_resolution_ns or 0
    except RuntimeUnavailableError:
        return Finding(Verdict.WARN, "timer", "not looked at: the runtime does not load")
    if resolution_ns > _MAX_TIMER_NS:
        remedy = "choose a better clocksource: /sys/devices/system/clocksource/clocksource0/available_clocksource"
        return Finding(Verdict.WARN, "timer", f"resolution {resolution_ns} ns", remedy)
    return Finding(Verdict.OK, "timer", f"resolution {resolution_ns} ns")


def _lock(settings: BenchSettings) -> Finding:
    try:
        with HostLock(settings.lock_path).timing(timeout_s=5.0):
            return Finding(Verdict.OK, "timing lock", str(settings.lock_path))
    except HostBusyError as error:
        return Finding(Verdict.WARN, "timing lock", "held by another process", str(error))
    except OSError as error:
        return Finding(Verdict.FAIL, "timing lock", str(error), "pass a path this user may write: --host-lock")


def _clocks(settings: BenchSettings, board: BoardTelemetry) -> Finding:
    clocks = board.state().clocks
    if not clocks:
        return Finding(Verdict.WARN, "clocks", "cannot be read here", "results carry no proof of the clock they ran at")
    loose = [c for c in clocks if c.governor not in ("performance", "userspace")]
    text = ", ".join(f"{c.name} {c.effective_khz} kHz ({c.governor})" for c in clocks)
    if loose and settings.runtime is not RuntimeName.FAKE:
        return Finding(Verdict.WARN, "clocks", text, "pin them as root before measuring: they wander with load")
    return Finding(Verdict.OK, "clocks", text)


def _temperatures(board: BoardTelemetry) -> Finding:
    hottest = board.state().hottest_c
    if hottest is None:
        return Finding(
            Verdict.WARN, "temperatures", "cannot be read here", "throttling cannot be seen, only its effect"
        )
    if hottest > _WARM_C:
        return Finding(
            Verdict.WARN, "temperatures", f"hottest zone {hottest:.1f} C", "measuring waits until 60 C: cool it"
        )
    return Finding(Verdict.OK, "temperatures", f"hottest zone {hottest:.1f} C")


def _load(board: BoardTelemetry) -> Finding:
    load = board.state().load_average_1m
    if load is None:
        return Finding(Verdict.WARN, "load", "cannot be read here")
    share = load / len(os.sched_getaffinity(0))
    text = f"{load:.2f} over {len(os.sched_getaffinity(0))} processors"
    if share > _BUSY_SHARE:
        return Finding(Verdict.WARN, "load", text, "other work runs here: expect INTERFERED and NOISY measurements")
    return Finding(Verdict.OK, "load", text)


def _disk() -> Finding:
    stat = os.statvfs(tempfile.gettempdir())
    free_bytes = stat.f_bavail * stat.f_frsize
    text = f"{free_bytes / 2**30:.1f} GiB free"
    if free_bytes < _MIN_FREE_BYTES:
        return Finding(Verdict.WARN, "disk", text, "models and results need room: free some, or lower --cache-bytes")
    return Finding(Verdict.OK, "disk", text)


def _npu(settings: BenchSettings, board: BoardTelemetry) -> list[Finding]:
    """What the RK3588's NPU needs; node names and messages of the vendor's driver and library."""
    findings: list[Finding] = []
    for what, node, remedy in (
        ("NPU library", "usr/lib/librknnrt.so", "copy librknnrt.so of the vendor's release to /usr/lib"),
        ("NPU device", "dev/dri/renderD129", "load the rknpu driver; in a container pass --device /dev/dri/renderD129"),
        ("device tree", "proc/device-tree/compatible", "in a container mount /proc/device-tree/compatible"),
    ):
        path = settings.root / node
        found = path.exists() and os.access(path, os.R_OK)
        text = f"/{node}" if found else f"/{node} is missing or not readable"
        findings.append(Finding(Verdict.OK if found else Verdict.FAIL, what, text, "" if found else remedy))
    driver = board.npu_driver_version()
    remedy = "" if driver else "mount debugfs and run as root to read it: results then carry the driver's version"
    findings.append(
        Finding(Verdict.OK if driver else Verdict.WARN, "NPU driver", driver or "version not readable", remedy)
    )
    load = board.state().npu_load_percent
    if load is None:
        findings.append(Finding(Verdict.WARN, "NPU load", "not readable", "root may read /sys/kernel/debug/rknpu/load"))
    else:
        findings.append(Finding(Verdict.OK, "NPU load", f"{load} %"))
    return findings


def selftest(settings: BenchSettings, golden: Path | None, out: TextIO) -> int:
    """Measure the golden model three times in fresh processes; returns 1 when that fails.

    Args:
        golden: an .rknn file for the NPU, which has no golden model of its own; None for the built-in one.
    """
    data, model_format = golden_model(settings.runtime) if golden is None else (golden.read_bytes(), "rknn")
    with tempfile.TemporaryDirectory(prefix="hilnas-selftest-") as folder:
        model = Path(folder) / "golden"
        model.write_bytes(data)
        request = MeasureRequest(
            model=model,
            settings=SessionSettings(format=model_format),
            profile=MeasurementProfile.named("quick"),
            dtype=Dtype.FP32,
        )
        measurer = ChildMeasurer(settings)
        try:
            return _selftest(measurer, request, out)
        finally:
            measurer.close()


def _selftest(measurer: ChildMeasurer, request: MeasureRequest, out: TextIO) -> int:
    medians_us: list[float] = []
    digests: set[str | None] = set()
    for number in range(3):
        try:
            measurement = measurer.measure(request, StopToken(), _ignore, SELFTEST_TIMEOUT_S)
        except (JobFailedError, RuntimeUnavailableError) as error:
            kind = error.type if isinstance(error, JobFailedError) else FailureType.INIT_FAILED
            out.write(f"FAIL  run {number + 1}: {kind.value}: {error}\n")
            return 1
        samples = [ns for block in measurement.blocks for ns in block.e2e_ns]
        medians_us.append(statistics.median(samples) / 1e3)
        digests.add(measurement.output_digest)
        out.write(f"  ok  run {number + 1}: median {medians_us[-1]:.1f} us, {measurement.validity.value}\n")
        for flag in measurement.flags:
            out.write(f"      {flag.validity.value}: {flag.reason}\n")
    spread = max(medians_us) / min(medians_us) - 1.0
    out.write(f"      spread of the medians {spread:.1%}; 5 % or less replicates (MLPerf Mobile 2.9)\n")
    if len(digests) > 1:
        out.write("FAIL  the golden model gave different outputs in different processes\n")
        return 1
    return 0


def _ignore(_: Phase) -> None:
    return
