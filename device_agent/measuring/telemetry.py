"""What a board says of itself: clocks, temperatures, load, limits. Reads /proc and /sys below a root that tests choose.

A node that is missing or unreadable gives None, never a zero. Node names and formats: the RK3588 vendor kernel's
drivers/rknpu (debugfs `load`, `version`), Linux cpufreq, devfreq, thermal and cgroup v2 documentation.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Protocol

from nas_engine.domain.measurement import ClockReading

_LOAD = re.compile(r"Core\d+:\s*(\d+)%|NPU load:\s*(\d+)%")
_MAX_PLAUSIBLE_PERCENT = 100  # the driver has shown 429496 %: more than 100 is unknown
_MAX_NODE_BYTES = 65_536
_LIBRARY_VERSION = re.compile(rb"librknnrt version: (\d+(?:\.\d+)+)")  # as `strings librknnrt.so` shows it


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters of the timing thread (or of the process where several threads compute); None where unknown."""

    num_involuntary_switches: int | None
    cpu_time_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """A reading of everything that may disturb a measurement.

    Attributes:
        clocks: with what was requested and what is in force.
        temperatures_c: per thermal zone.
        npu_load_percent: per core; None where it cannot be read.
        load_average_1m: of the host.
        num_throttled: periods in which the cgroup was throttled so far.
    """

    clocks: tuple[ClockReading, ...] = ()
    temperatures_c: tuple[tuple[str, float], ...] = ()
    npu_load_percent: tuple[int, ...] | None = None
    load_average_1m: float | None = None
    num_throttled: int | None = None

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature; None without a zone."""
        return max((t for _, t in self.temperatures_c), default=None)


class Telemetry(Protocol):
    """Readings that the measurement protocol checks its blocks with."""

    def usage(self) -> Usage:
        """Counters so far; cheap enough to call around every block."""
        ...

    def state(self) -> BoardState:
        """Read clocks, temperatures and load as they are now."""
        ...


class SilentTelemetry:
    """Knows nothing: for simulated devices, where the host's state has no influence."""

    def usage(self) -> Usage:
        return Usage(None, None)

    def state(self) -> BoardState:
        return BoardState()


class BoardTelemetry:
    """Reads this machine.

    Args:
        root: where /proc and /sys are.
        requested_khz: clock name -> what the agent pinned it to.
        whole_process: count all threads, for runtimes that compute on several.
    """

    def __init__(
        self, root: Path = Path("/"), *, requested_khz: dict[str, int] | None = None, whole_process: bool = False
    ) -> None:
        self._root = root
        self._requested_khz = dict(requested_khz or {})
        self._who = resource.RUSAGE_SELF if whole_process else resource.RUSAGE_THREAD
        self._whole_process = whole_process

    def usage(self) -> Usage:
        """Involuntary context switches and processor time, from getrusage and the thread's clock."""
        cpu_ns = time.process_time_ns() if self._whole_process else time.thread_time_ns()
        return Usage(resource.getrusage(self._who).ru_nivcsw, cpu_ns)

    def state(self) -> BoardState:
        """Clocks, temperatures, loads and throttling now."""
        load = self._text("proc/loadavg")
        throttled = re.search(r"^nr_throttled (\d+)", self._text("sys/fs/cgroup/cpu.stat") or "", re.MULTILINE)
        return BoardState(
            clocks=self._clocks(),
            temperatures_c=self._temperatures(),
            npu_load_percent=self._npu_load(),
            load_average_1m=float(load.split()[0]) if load else None,
            num_throttled=int(throttled[1]) if throttled else None,
        )

    def board_model(self) -> str:
        """The device tree's model, else the processor's name."""
        model = self._text("proc/device-tree/model")
        if model:
            return model.rstrip("\0").strip()
        for line in (self._text("proc/cpuinfo") or "").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
        return f"{platform.machine()} processor"

    def boot_id(self) -> str:
        """Changes with every boot; empty where there is none."""
        return self._text("proc/sys/kernel/random/boot_id") or ""

    def serial(self) -> str | None:
        """The board's serial number; None where it has none."""
        serial = self._text("proc/device-tree/serial-number")
        return serial.rstrip("\0") if serial else None

    def npu_driver_version(self) -> str | None:
        """The rknpu driver's version, e.g. 0.9.6; None where it cannot be read."""
        for node in ("sys/kernel/debug/rknpu/version", "proc/rknpu/version"):
            match = re.search(r"v?(\d+\.\d+\.\d+)", self._text(node) or "")
            if match:
                return match[1]
        return None

    def npu_versions(self) -> tuple[tuple[str, str], ...]:
        """What can be known of the NPU's software without a model: library, Python package and driver."""
        versions = {
            "librknnrt": self.npu_library_version(),
            "rknnlite": _package_version("rknn-toolkit-lite2"),
            "rknpu-driver": self.npu_driver_version(),
        }
        return tuple((name, version) for name, version in versions.items() if version is not None)

    def npu_library_version(self) -> str | None:
        """The version of librknnrt that stands in the file itself, e.g. 2.3.2; None without the file."""
        try:
            with (
                (self._root / "usr/lib/librknnrt.so").open("rb") as file,
                mmap(file.fileno(), 0, access=ACCESS_READ) as m,
            ):
                match = _LIBRARY_VERSION.search(m)
                return match[1].decode() if match else None
        except (OSError, ValueError):  # ValueError: an empty file
            return None

    def memory_bytes(self, field: str = "MemTotal") -> int | None:
        """A line of /proc/meminfo in bytes."""
        match = re.search(rf"^{field}:\s+(\d+) kB", self._text("proc/meminfo") or "", re.MULTILINE)
        return int(match[1]) * 1024 if match else None

    def uptime_s(self) -> float | None:
        text = self._text("proc/uptime")
        return float(text.split()[0]) if text else None

    def cpu_limit(self) -> float | None:
        """Processors the cgroup may use; None where it is not limited."""
        text = self._text("sys/fs/cgroup/cpu.max")
        if not text or text.startswith("max"):
            return None
        quota, period = text.split()[:2]
        return int(quota) / int(period)

    def in_container(self) -> bool:
        """Whether this looks like a container."""
        marks = (self._root / ".dockerenv").exists() or (self._root / "run/.containerenv").exists()
        return marks or "container" in os.environ

    def _npu_load(self) -> tuple[int, ...] | None:
        for node in ("sys/kernel/debug/rknpu/load", "proc/rknpu/load"):
            text = self._text(node)
            if text:
                percents = [int(core or whole) for core, whole in _LOAD.findall(text)]
                plausible = percents and max(percents) <= _MAX_PLAUSIBLE_PERCENT
                return tuple(percents) if plausible else None
        return None

    def _temperatures(self) -> tuple[tuple[str, float], ...]:
        zones: list[tuple[str, float]] = []
        for zone in sorted(self._glob("sys/class/thermal/thermal_zone*")):
            name, value = _read(zone / "type"), _read(zone / "temp")
            if name and value and value.lstrip("-").isdigit():
                zones.append((name, int(value) / 1000.0))
        return tuple(zones)

    def _clocks(self) -> tuple[ClockReading, ...]:
        readings = [
            self._clock(
                f"cpu-{policy.name}", policy, "scaling_governor", "scaling_cur_freq", "scaling_available_frequencies", 1
            )
            for policy in sorted(self._glob("sys/devices/system/cpu/cpufreq/policy*"))
        ]
        for device in sorted(self._glob("sys/class/devfreq/*")):
            name = devfreq_name(device.name)
            if name:
                readings.append(self._clock(name, device, "governor", "cur_freq", "available_frequencies", 1000))
        return tuple(readings)

    def _clock(self, name: str, at: Path, governor: str, now: str, available: str, per_khz: int) -> ClockReading:
        current = _read(at / now)
        steps = (_read(at / available) or "").split()
        return ClockReading(
            name=name,
            governor=_read(at / governor),
            requested_khz=self._requested_khz.get(name),
            effective_khz=int(current) // per_khz if current and current.isdigit() else None,
            available_khz=tuple(sorted(int(s) // per_khz for s in steps if s.isdigit())),
        )

    def _glob(self, pattern: str) -> Sequence[Path]:
        return list(self._root.glob(pattern))

    def _text(self, relative: str) -> str | None:
        return _read(self._root / relative)


def devfreq_name(node: str) -> str | None:
    """Our name of a devfreq device: `npu`, `dmc` or `gpu`; None for any other."""
    if node.endswith(".npu") or node == "npu":
        return "npu"
    if node.endswith(".gpu") or node == "gpu":
        return "gpu"
    return "dmc" if node == "dmc" else None


def _package_version(package: str) -> str | None:
    import importlib.metadata  # takes part of a process's start, and few runtimes ask

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_NODE_BYTES).decode(errors="replace").strip()
    except OSError:
        return None
