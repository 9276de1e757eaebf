"""A made /proc and /sys tree, shaped as the RK3588 vendor kernel's, and a kernel that follows what is written to it."""

from __future__ import annotations

from pathlib import Path

NPU = "sys/class/devfreq/fdab0000.npu"
DMC = "sys/class/devfreq/dmc"
POLICY = "sys/devices/system/cpu/cpufreq/policy4"


def make_board(root: Path) -> Path:
    """A board whose NPU stands at a low clock; the memory's and the processor's governors are the vendor's own."""
    write_nodes(
        root,
        {
            "proc/device-tree/model": "Radxa ROCK 5B\0",
            "proc/device-tree/serial-number": "abc123\0",
            "proc/device-tree/compatible": "rockchip,rk3588\0",
            "proc/loadavg": "0.42 0.30 0.20 1/200 999",
            "proc/uptime": "1234.5 5000.0",
            "proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n",
            "proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
            "sys/kernel/debug/rknpu/load": "NPU load:  Core0: 12%, Core1:  0%, Core2:  3%,\n",
            "sys/kernel/debug/rknpu/version": "RKNPU driver: v0.9.6\n",
            f"{NPU}/governor": "userspace\n",
            f"{NPU}/cur_freq": "200000000\n",
            f"{NPU}/available_frequencies": "300000000 1000000000\n",
            "sys/class/devfreq/dmc/governor": "dmc_ondemand\n",
            "sys/class/devfreq/dmc/cur_freq": "2112000000\n",
            "sys/class/devfreq/fb000000.other/governor": "x\n",
            "sys/devices/system/cpu/cpufreq/policy4/scaling_governor": "performance\n",
            "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq": "2256000\n",
            "sys/class/thermal/thermal_zone0/type": "soc-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "41625\n",
            "sys/class/thermal/thermal_zone1/type": "npu-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "broken\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_throttled 17\n",
        },
    )
    return root


def offer_everything(root: Path) -> None:
    """Steps for every clock."""
    write_nodes(
        root,
        {
            f"{DMC}/available_frequencies": "528000000 2112000000",
            f"{POLICY}/scaling_available_frequencies": "408000 2256000",
        },
    )


def make_good_board(root: Path) -> Path:
    """A board that is ready to measure: everything pinned by the system, NPU software in place, idle."""
    make_board(root)
    offer_everything(root)
    write_nodes(
        root,
        {
            f"{NPU}/cur_freq": "1000000000",
            f"{DMC}/governor": "performance",
            f"{POLICY}/scaling_governor": "performance",
            "sys/kernel/debug/rknpu/load": "NPU load:  Core0:  0%, Core1:  0%, Core2:  0%,",
            "usr/lib/librknnrt.so": "\x7fELF...librknnrt version: 2.5.0 (429f97ae6b@2026-04-09T09:09:27)...",
            "dev/dri/renderD129": "",
        },
    )
    return root


def write_nodes(root: Path, nodes: dict[str, str]) -> None:
    """Write files below `root`."""
    for name, text in nodes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Kernel:
    """Does what the kernel does when a node is written: the clock follows, unless the test holds it.

    Args:
        root: of the tree.
        held: the clock that stays as it is.
        without: a governor that this kernel does not have.
    """

    def __init__(self, root: Path, held: str = "", without: str = "") -> None:
        self._root = root
        self._held = held
        self._without = without

    def __call__(self, path: Path, text: str) -> None:
        if path.name in ("governor", "scaling_governor") and text == self._without:
            raise OSError(22, "Invalid argument")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        is_held = self._held == "npu" and "npu" in str(path)
        if path.name == "set_freq" and not is_held:
            (path.parent.parent / "cur_freq").write_text(text)
        if path.name == "scaling_setspeed":
            (path.parent / "scaling_cur_freq").write_text(text)
