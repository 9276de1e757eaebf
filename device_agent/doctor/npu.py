"""What the RK3588's NPU needs on a board; node names and messages are those of the vendor's driver and library."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from device_agent.doctor.finding import Finding, FindingLevel
from device_agent.measuring.telemetry import BoardTelemetry
from device_agent.runtime.rknn_check import CONVERTER_VERSION, is_older

_PLATFORM = "rk3588"
_LIBRARY, _DEVICE, _TREE = "usr/lib/librknnrt.so", "dev/dri/renderD129", "proc/device-tree/compatible"


def examine_npu(root: Path, board: BoardTelemetry, may_use: Callable[[os.PathLike[str], int], bool]) -> list[Finding]:
    """Library, device node, chip, driver and load."""
    return [_library(root, board, may_use), _device(root, may_use), _chip(root), _driver(board), _load(board)]


def _library(root: Path, board: BoardTelemetry, may_use: Callable[[os.PathLike[str], int], bool]) -> Finding:
    path = root / _LIBRARY
    if not path.is_file() or not may_use(path, os.R_OK):
        remedy = "copy librknnrt.so of the vendor's release to /usr/lib; in a container mount it"
        return Finding(FindingLevel.FAIL, "NPU library", f"/{_LIBRARY} is missing or not readable", remedy)
    version = board.npu_library_version()
    if version is None:
        return Finding(FindingLevel.WARN, "NPU library", f"/{_LIBRARY}, version not readable")
    text = f"/{_LIBRARY}, {version}"
    if is_older(version, CONVERTER_VERSION):
        remedy = f"older than the converter ({CONVERTER_VERSION}): models may not load; update it where that happens"
        return Finding(FindingLevel.WARN, "NPU library", text, remedy)
    return Finding(FindingLevel.OK, "NPU library", text)


def _device(root: Path, may_use: Callable[[os.PathLike[str], int], bool]) -> Finding:
    path = root / _DEVICE
    if not path.exists():
        remedy = f"load the rknpu driver; in a container pass --device /{_DEVICE}"
        return Finding(FindingLevel.FAIL, "NPU device", f"/{_DEVICE} is missing", remedy)
    if not may_use(path, os.R_OK | os.W_OK):
        remedy = "put this user into the group of that node (render), or run as root"
        return Finding(FindingLevel.FAIL, "NPU device", f"/{_DEVICE} may not be opened by this user", remedy)
    return Finding(FindingLevel.OK, "NPU device", f"/{_DEVICE}")


def _chip(root: Path) -> Finding:
    try:
        compatible = (root / _TREE).read_bytes().decode(errors="replace")
    except OSError:
        remedy = f"in a container mount /{_TREE}"
        return Finding(FindingLevel.FAIL, "chip", f"/{_TREE} is missing or not readable", remedy)
    names = [name for name in compatible.split("\0") if name]
    if not any(_PLATFORM in name for name in names):
        remedy = f"this agent measures models for {_PLATFORM}"
        return Finding(FindingLevel.FAIL, "chip", ", ".join(names) or "nothing is said", remedy)
    return Finding(FindingLevel.OK, "chip", ", ".join(names))


def _driver(board: BoardTelemetry) -> Finding:
    version = board.npu_driver_version()
    if version is None:
        remedy = "mount debugfs and run as root to read it: results then carry the driver's version"
        return Finding(FindingLevel.WARN, "NPU driver", "version not readable", remedy)
    return Finding(FindingLevel.OK, "NPU driver", version)


def _load(board: BoardTelemetry) -> Finding:
    load = board.state().npu_load_percent
    if load is None:
        remedy = "only root may read /sys/kernel/debug/rknpu/load: other work on the NPU is not seen"
        return Finding(FindingLevel.WARN, "NPU load", "not readable", remedy)
    text = " ".join(f"core {core}: {percent} %" for core, percent in enumerate(load))
    if max(load) > 10:
        return Finding(
            FindingLevel.WARN, "NPU load", text, "other work runs on the NPU: measurements will be INTERFERED"
        )
    return Finding(FindingLevel.OK, "NPU load", text)
