"""`hilnas agent doctor`: what this device can and cannot do, with remedies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import TextIO

from device_agent.doctor.finding import Finding, FindingLevel, can_measure, findings_to_json
from device_agent.doctor.npu import examine_npu
from device_agent.failures import RuntimeUnavailableError
from device_agent.measuring.clocks import PINNED, ClockPinner
from device_agent.measuring.device import MeasuringDevice, MeasuringSettings
from device_agent.measuring.telemetry import BoardTelemetry
from device_agent.runtime.select import RuntimeName
from nas_engine.domain.host.host_lock import HostBusyError, HostLock
from nas_engine.domain.measurement import DeviceClass, MeasurementProfile

_MIN_FREE_BYTES = 2 * 2**30
_MAX_TIMER_NS = 1000
_BUSY_SHARE = 0.5
_PROFILE = MeasurementProfile.named("standard")

MayUse = Callable[[os.PathLike[str], int], bool]
"""(path, mode) -> whether this user may; `os.access` but in tests, which run as root."""


def doctor(settings: MeasuringSettings, out: TextIO, *, as_json: bool = False) -> int:
    """Write what this device can do; returns 1 when it cannot measure."""
    findings = examine(settings)
    out.write(findings_to_json(findings) if as_json else "".join(f.text() for f in findings))
    return 0 if can_measure(findings) else 1


def examine(settings: MeasuringSettings, may_use: MayUse = os.access) -> list[Finding]:
    """Everything the doctor looks at. The host's state has no influence on simulated devices: it is left out there."""
    board = BoardTelemetry(settings.root)
    try:
        device: MeasuringDevice | RuntimeUnavailableError = MeasuringDevice(settings)
    except RuntimeUnavailableError as error:
        device = error
    findings = [
        Finding(FindingLevel.OK, "board", settings.board_model or board.board_model()),
        _runtime(settings, device),
    ]
    if not (isinstance(device, MeasuringDevice) and device.runtime.facts.device_class is DeviceClass.SIMULATED):
        findings += [
            _timer(device),
            _lock(settings),
            _clocks(settings, may_use),
            _temperatures(board),
            _load(board),
        ]
    findings.append(_disk())
    if settings.runtime == RuntimeName.RKNNLITE:
        findings += examine_npu(settings.root, board, may_use)
    return findings


def _runtime(settings: MeasuringSettings, device: MeasuringDevice | RuntimeUnavailableError) -> Finding:
    if isinstance(device, RuntimeUnavailableError):
        return Finding(FindingLevel.FAIL, "runtime", settings.runtime, str(device))
    facts = device.runtime.facts
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions) or "version not known"
    return Finding(FindingLevel.OK, "runtime", f"{facts.name} ({versions}), {facts.device_class.value}")


def _timer(device: MeasuringDevice | RuntimeUnavailableError) -> Finding:
    if isinstance(device, RuntimeUnavailableError):
        return Finding(FindingLevel.WARN, "timer", "not looked at: the runtime does not load")
    resolution_ns = device.environment().timer_resolution_ns or 0
    if resolution_ns > _MAX_TIMER_NS:
        remedy = "choose a better clocksource: /sys/devices/system/clocksource/clocksource0/available_clocksource"
        return Finding(FindingLevel.WARN, "timer", f"resolution {resolution_ns} ns", remedy)
    return Finding(FindingLevel.OK, "timer", f"resolution {resolution_ns} ns")


def _lock(settings: MeasuringSettings) -> Finding:
    try:
        with HostLock(settings.lock_path).timing(timeout_s=5.0):
            return Finding(FindingLevel.OK, "timing lock", str(settings.lock_path))
    except HostBusyError as error:
        return Finding(FindingLevel.WARN, "timing lock", "held by another process", str(error))
    except OSError as error:
        return Finding(FindingLevel.FAIL, "timing lock", str(error), "pass a path this user may write: --host-lock")


def _clocks(settings: MeasuringSettings, may_use: MayUse) -> Finding:
    clocks = BoardTelemetry(settings.root).state().clocks
    if not clocks:
        return Finding(
            FindingLevel.WARN, "clocks", "cannot be read here", "results carry no proof of the clock they ran at"
        )
    text = ", ".join(f"{c.name} {c.effective_khz} kHz ({c.governor})" for c in clocks)
    pinner = ClockPinner(settings.root)
    standing = pinner.standing()
    if standing.profile == PINNED:
        return Finding(FindingLevel.OK, "clocks", text)
    who = (
        "start the agent with --pin-clocks" if pinner.may_pin(may_use) else "start the agent as root with --pin-clocks"
    )
    return Finding(FindingLevel.WARN, "clocks", text, f"{who} ({'; '.join(standing.complaints)})")


def _temperatures(board: BoardTelemetry) -> Finding:
    hottest = board.state().hottest_c
    if hottest is None:
        return Finding(
            FindingLevel.WARN, "temperatures", "cannot be read here", "throttling cannot be seen, only its effect"
        )
    text = f"hottest zone {hottest:.1f} C"
    start_c, max_c = _PROFILE.temperature_start_c, _PROFILE.temperature_max_c
    if hottest > max_c:
        remedy = f"nothing is measured above {max_c:.0f} C: cool the board"
        return Finding(FindingLevel.FAIL, "temperatures", text, remedy)
    if hottest > start_c:
        remedy = f"each measurement waits for {start_c:.0f} C, or until it cools no more: a fan saves that time"
        return Finding(FindingLevel.WARN, "temperatures", text, remedy)
    return Finding(FindingLevel.OK, "temperatures", text)


def _load(board: BoardTelemetry) -> Finding:
    load = board.state().load_average_1m
    if load is None:
        return Finding(FindingLevel.WARN, "load", "cannot be read here")
    num_cpus = len(os.sched_getaffinity(0))
    text = f"{load:.2f} over {num_cpus} processors"
    if load / num_cpus > _BUSY_SHARE:
        return Finding(
            FindingLevel.WARN, "load", text, "other work runs here: expect INTERFERED and NOISY measurements"
        )
    return Finding(FindingLevel.OK, "load", text)


def _disk() -> Finding:
    stat = os.statvfs(tempfile.gettempdir())
    free_bytes = stat.f_bavail * stat.f_frsize
    text = f"{free_bytes / 2**30:.1f} GiB free"
    if free_bytes < _MIN_FREE_BYTES:
        return Finding(
            FindingLevel.WARN, "disk", text, "models and results need room: free some, or lower --cache-bytes"
        )
    return Finding(FindingLevel.OK, "disk", text)
