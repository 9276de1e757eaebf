"""The environment record of a measurement: what stays the same for an agent, and what is read around each job."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import time
from dataclasses import replace

from device_agent.measuring.telemetry import BoardState, BoardTelemetry
from device_agent.runtime.base import RuntimeFacts
from device_agent.version import PROTOCOL_MAX
from nas_engine.domain.measurement import DeviceIdentity, EnvironmentRecord, ThermalReading


def core_label(facts: RuntimeFacts, core_mask: str, num_threads: int) -> str:
    """The `core_mask` of a hardware key: the mask and, for processors, how many threads use it, e.g. "4-7x2"."""
    mask = core_mask or (facts.core_masks[0] if facts.core_masks else "any")
    return f"{mask}x{num_threads}" if facts.uses_processor else mask


def device_identity(
    facts: RuntimeFacts, *, board_model: str, clocks_profile: str, core_mask: str, num_threads: int
) -> DeviceIdentity:
    """The device's part of the hardware key."""
    return DeviceIdentity(
        board_model=board_model,
        device_class=facts.device_class,
        runtime=facts.name,
        runtime_versions=facts.versions,
        clocks_profile=clocks_profile,
        core_mask=core_label(facts, core_mask, num_threads),
    )


def base_environment(
    board: BoardTelemetry, facts: RuntimeFacts, *, agent_version: str, ambient_label: str | None
) -> EnvironmentRecord:
    """Read what does not change between the jobs of one agent. The serial number is hashed, so that records can be
    told apart by board and do not carry it."""
    serial = board.serial()
    return EnvironmentRecord(
        agent_version=agent_version,
        protocol_version=PROTOCOL_MAX,
        board_model=board.board_model(),
        serial_hash=hashlib.sha256(serial.encode()).hexdigest()[:16] if serial else None,
        kernel=platform.release(),
        python=platform.python_version(),
        runtime_versions=facts.versions,
        uptime_s=board.uptime_s(),
        memory_available_bytes=board.memory_bytes("MemAvailable"),
        container=board.in_container(),
        cgroup_cpu_limit=board.cpu_limit(),
        cpu_affinity=tuple(sorted(os.sched_getaffinity(0))),
        timer_resolution_ns=max(1, round(time.get_clock_info("perf_counter").resolution * 1e9)),
        ambient_label=ambient_label,
        boot_id=board.boot_id() or None,
    )


def complete_environment(
    base: EnvironmentRecord,
    before: BoardState,
    after: BoardState,
    hottest: dict[str, float],
    *,
    core_mask: str,
    monotonic_ns: tuple[int, int],
) -> EnvironmentRecord:
    """`base` with the readings around one job; clocks are those found afterwards.

    Args:
        base: from `base_environment`.
        before, after: the board's state at both ends.
        hottest: highest temperature per zone seen meanwhile.
        core_mask: what the model ran on.
        monotonic_ns: the device's clock at both ends.
    """
    end = dict(after.temperatures_c)
    thermal = tuple(
        ThermalReading(zone=zone, start_c=start, max_c=max(start, hottest.get(zone, start)), end_c=end.get(zone))
        for zone, start in before.temperatures_c
    )
    throttled = None
    if before.num_throttled is not None and after.num_throttled is not None:
        throttled = after.num_throttled - before.num_throttled
    return replace(
        base,
        clocks=after.clocks,
        thermal=thermal,
        npu_load_percent=before.npu_load_percent,
        load_average_1m=before.load_average_1m,
        cgroup_num_throttled=throttled,
        core_mask=core_mask,
        wall_clock_start=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        monotonic_start_ns=monotonic_ns[0],
        monotonic_end_ns=monotonic_ns[1],
    )
