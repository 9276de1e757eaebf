"""Clocks pinned to their highest setting, read back, and put back as they were. Needs root on the board.

Source of the settings: Rockchip's rknn_model_zoo scaling_frequency.sh for rk3588 (CPU, NPU and memory by the userspace
governor). Unlike that script, settings are taken from what the board offers (speed grades differ), and whatever does
not read back as asked is reported: the profile is then "unpinned".
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agent.measuring.telemetry import devfreq_name
from nas_engine.domain.measuring.environment import PINNED_CLOCKS

_log = logging.getLogger(__name__)
PINNED, UNPINNED = PINNED_CLOCKS, "unpinned"
READ_BACK_TOLERANCE = 0.02
FIXED_GOVERNORS = ("performance", "userspace")
# An NPU that has been idle for 3 s is powered off and parked at this clock (vendor kernel, rknpu_devfreq.c,
# POWER_DOWN_FREQ): it says nothing about the clock it runs at, which is looked at after every block of runs.
SLEEPING_NPU_KHZ = 200_000


@dataclass(frozen=True, slots=True)
class ClockNode:
    """One clock domain and its files.

    Attributes:
        name: as ClockReading names it.
        governor, setting, current, available: files; `per_khz` units of theirs are one kHz.
    """

    name: str
    governor: Path
    setting: Path
    current: Path
    available: Path
    per_khz: int


@dataclass(frozen=True, slots=True)
class Pinned:
    """What came of pinning.

    Attributes:
        requested_khz: clock -> what was asked for.
        profile: "pinned-max" when every clock reads back as asked, else "unpinned".
        complaints: clocks that do not, and why.
    """

    requested_khz: tuple[tuple[str, int], ...]
    profile: str
    complaints: tuple[str, ...]


def write_node(path: Path, text: str) -> None:
    """Write `text` to a node of sysfs, as the kernel takes it."""
    path.write_text(text)


class ClockPinner:
    """Pins every clock below a root that tests choose.

    Args:
        root: where /sys is.
        write: writes a node.
    """

    def __init__(self, root: Path = Path("/"), write: Callable[[Path, str], None] = write_node) -> None:
        self._root = root
        self._write = write
        self._before: list[tuple[Path, str]] = []

    def pin(self) -> Pinned:
        """Set every clock to its highest step. What cannot be set is complained of, not raised."""
        requested: list[tuple[str, int]] = []
        complaints: list[str] = []
        for node in self._nodes():
            try:
                requested.append((node.name, self._pin(node)))
            except (OSError, ValueError) as error:
                complaints.append(f"{node.name}: {error}")
        return self._read_back(requested, complaints)

    def standing(self) -> Pinned:
        """What stands at its highest step already, held there by a fixed governor that somebody else has set."""
        requested: list[tuple[str, int]] = []
        complaints: list[str] = []
        for node in self._nodes():
            try:
                governor, highest_khz = _text(node.governor), _highest(node) // node.per_khz
            except (OSError, ValueError) as error:
                complaints.append(f"{node.name}: {error}")
                continue
            if governor in FIXED_GOVERNORS:
                requested.append((node.name, highest_khz))
            else:
                complaints.append(f"{node.name}: governor {governor} changes it with load")
        return self._read_back(requested, complaints)

    def may_pin(self, may_use: Callable[[Path, int], bool] = os.access) -> bool:
        """Whether this user may write every governor; `may_use` is asked with os.W_OK."""
        return all(may_use(node.governor, os.W_OK) for node in self._nodes())

    def restore(self) -> None:
        """Put everything that was written back."""
        for path, text in reversed(self._before):
            try:
                self._write(path, text)
            except OSError as error:
                _log.warning("%s not restored to %s: %s", path, text, error)
        self._before.clear()

    def _read_back(self, requested: list[tuple[str, int]], complaints: list[str]) -> Pinned:
        for node in self._nodes():
            requested_khz = dict(requested).get(node.name)
            if requested_khz is not None and not _reads_back(node, requested_khz):
                complaints.append(f"{node.name}: reads {_text(node.current)}, {requested_khz} kHz asked for")
        if not requested and not complaints:
            complaints.append("this machine offers no clocks to pin")
        profile = UNPINNED if complaints else PINNED
        return Pinned(tuple(sorted(requested)), profile, tuple(complaints))

    def _pin(self, node: ClockNode) -> int:
        """Returns what was asked for, in kHz."""
        highest, governor = _highest(node), _text(node.governor)
        if governor == "userspace":
            if node.setting.is_file():
                self._before.append((node.setting, _text(node.setting)))
        else:
            self._before.append((node.governor, governor))
            try:
                self._write(node.governor, "userspace")
            except OSError:  # a kernel without that governor: this one holds the highest step too
                self._write(node.governor, "performance")
                return highest // node.per_khz
        self._write(node.setting, str(highest))
        return highest // node.per_khz

    def _nodes(self) -> list[ClockNode]:
        nodes = [
            ClockNode(
                f"cpu-{policy.name}",
                policy / "scaling_governor",
                policy / "scaling_setspeed",
                policy / "scaling_cur_freq",
                policy / "scaling_available_frequencies",
                1,
            )
            for policy in sorted(self._root.glob("sys/devices/system/cpu/cpufreq/policy*"))
        ]
        for device in sorted(self._root.glob("sys/class/devfreq/*")):
            name = devfreq_name(device.name)
            if name in ("npu", "dmc"):
                setting = device / "userspace" / "set_freq"
                nodes.append(
                    ClockNode(
                        name, device / "governor", setting, device / "cur_freq", device / "available_frequencies", 1000
                    )
                )
        return nodes


def _highest(node: ClockNode) -> int:
    """The highest step a clock offers, in its own unit."""
    steps = [int(step) for step in _text(node.available).split()]
    if not steps:
        raise ValueError("offers no steps")
    return max(steps)


def _reads_back(node: ClockNode, wanted_khz: int) -> bool:
    try:
        read_khz = int(_text(node.current)) // node.per_khz
    except (OSError, ValueError):
        return False
    is_asleep = node.name == "npu" and read_khz == SLEEPING_NPU_KHZ
    return is_asleep or read_khz >= wanted_khz * (1.0 - READ_BACK_TOLERANCE)


def _text(path: Path) -> str:
    return path.read_text().strip()
