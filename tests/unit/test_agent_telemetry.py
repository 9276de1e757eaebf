"""Readings from a made /proc and /sys tree, shaped as the RK3588 vendor kernel's."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from device_agent.bench import BenchSettings
from device_agent.clocks import ClockPinner
from device_agent.doctor import Verdict, doctor, examine
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.telemetry import BoardTelemetry, devfreq_name

NPU = "sys/class/devfreq/fdab0000.npu"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    nodes = {
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
    }
    for name, text in nodes.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_board_is_read_completely(root: Path) -> None:
    board = BoardTelemetry(root, requested_khz={"npu": 1_000_000})
    state = board.state()
    clocks = {c.name: c for c in state.clocks}
    assert set(clocks) == {"cpu-policy4", "npu", "dmc"}
    assert (clocks["npu"].requested_khz, clocks["npu"].effective_khz) == (1_000_000, 200_000)
    assert clocks["npu"].pinned(0.02) is False
    assert clocks["npu"].available_khz == (300_000, 1_000_000)
    assert clocks["cpu-policy4"].effective_khz == 2_256_000
    assert clocks["dmc"].pinned(0.02) is None
    assert state.temperatures_c == (("soc-thermal", 41.625),)
    assert state.npu_load_percent == (12, 0, 3)
    assert state.load_average_1m == 0.42
    assert state.num_throttled == 17
    assert board.board_model() == "Radxa ROCK 5B"
    assert board.npu_driver_version() == "0.9.6"
    assert board.cpu_limit() == 1.5
    assert board.memory_bytes() == 16_000_000 * 1024
    assert board.uptime_s() == 1234.5
    assert board.serial() == "abc123"


def test_a_machine_without_nodes_gives_none_and_not_zero(tmp_path: Path) -> None:
    board = BoardTelemetry(tmp_path)
    state = board.state()
    assert (state.clocks, state.temperatures_c) == ((), ())
    assert (state.npu_load_percent, state.load_average_1m, state.num_throttled) == (None, None, None)
    assert state.hottest_c is None
    assert (board.npu_driver_version(), board.cpu_limit(), board.memory_bytes()) == (None, None, None)
    assert board.boot_id() == ""


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("NPU load:  Core0:  0%, Core1:  0%, Core2: 429496%,", None),
        ("NPU load: 35%", (35,)),
        ("no such thing", None),
    ],
)
def test_npu_loads_beyond_reason_are_unknown(root: Path, text: str, load: tuple[int, ...] | None) -> None:
    (root / "sys/kernel/debug/rknpu/load").write_text(text)
    assert BoardTelemetry(root).state().npu_load_percent == load


def test_this_machines_own_counters_grow() -> None:
    board = BoardTelemetry()
    before = board.usage()
    sum(range(200_000))
    after = board.usage()
    assert after.cpu_time_ns is not None
    assert before.cpu_time_ns is not None
    assert after.cpu_time_ns > before.cpu_time_ns


def test_devfreq_nodes_are_named() -> None:
    assert [devfreq_name(n) for n in ("fdab0000.npu", "dmc", "fb000000.gpu", "ufs")] == ["npu", "dmc", "gpu", None]


def settings(root: Path, runtime: RuntimeName) -> BenchSettings:
    return BenchSettings(runtime=runtime, options=RuntimeOptions(), lock_path=root / "lock", root=root)


def test_the_doctor_names_what_is_wrong_and_what_to_do(root: Path) -> None:
    findings = {f.what: f for f in examine(settings(root, RuntimeName.RKNNLITE))}
    assert findings["board"].found == "Radxa ROCK 5B"
    assert findings["runtime"].verdict is Verdict.FAIL
    assert "pip install" in findings["runtime"].remedy
    assert findings["NPU library"].verdict is Verdict.FAIL
    assert "librknnrt.so" in findings["NPU library"].remedy
    assert findings["device tree"].verdict is Verdict.OK
    assert findings["NPU driver"].found == "0.9.6"
    assert findings["clocks"].verdict is Verdict.WARN
    assert findings["temperatures"].verdict is Verdict.OK
    assert findings["timing lock"].verdict is Verdict.OK


def test_the_doctor_exits_by_whether_this_device_can_measure(root: Path) -> None:
    out = io.StringIO()
    assert doctor(settings(root, RuntimeName.RKNNLITE), out) == 1
    assert "FAIL" in out.getvalue()
    assert doctor(settings(root, RuntimeName.FAKE), io.StringIO()) == 0


# ---- pinning


class Kernel:
    """Does what the kernel does when a node is written: the clock follows, unless the test holds it."""

    def __init__(self, root: Path, held: str = "") -> None:
        self._root = root
        self._held = held
        self.written: list[tuple[str, str]] = []

    def __call__(self, path: Path, text: str) -> None:
        self.written.append((str(path.relative_to(self._root)), text))
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        if path.name == "set_freq" and self._held not in ("npu",):
            (path.parent.parent / "cur_freq").write_text(text)
        if path.name == "scaling_setspeed":
            (path.parent / "scaling_cur_freq").write_text(text)


def offer_everything(root: Path) -> None:
    (root / "sys/class/devfreq/dmc/available_frequencies").write_text("528000000 2112000000")
    policy = root / "sys/devices/system/cpu/cpufreq/policy4"
    (policy / "scaling_available_frequencies").write_text("408000 2256000")


def test_clocks_are_set_to_what_the_board_offers_read_back_and_put_back(root: Path) -> None:
    offer_everything(root)
    kernel = Kernel(root)
    pinner = ClockPinner(root, kernel)
    pinned = pinner.pin()
    assert pinned.complaints == ()
    assert pinned.profile == "pinned-max"
    assert dict(pinned.requested_khz) == {"cpu-policy4": 2_256_000, "npu": 1_000_000, "dmc": 2_112_000}
    state = BoardTelemetry(root, requested_khz=dict(pinned.requested_khz)).state()
    assert all(clock.pinned(0.02) for clock in state.clocks)
    pinner.restore()
    assert (root / "sys/class/devfreq/dmc/governor").read_text() == "dmc_ondemand"
    assert (root / "sys/devices/system/cpu/cpufreq/policy4/scaling_governor").read_text() == "performance"


def test_a_clock_that_does_not_read_back_makes_the_profile_unpinned(root: Path) -> None:
    offer_everything(root)
    pinned = ClockPinner(root, Kernel(root, held="npu")).pin()
    assert pinned.profile == "unpinned"
    assert any("npu: reads 200000000" in complaint for complaint in pinned.complaints)


def test_clocks_that_cannot_be_written_are_complained_of_and_not_raised(root: Path) -> None:
    def refuse(path: Path, text: str) -> None:
        raise PermissionError("root only")

    pinned = ClockPinner(root, refuse).pin()
    assert (pinned.profile, pinned.requested_khz) == ("unpinned", ())
    assert any("root only" in complaint for complaint in pinned.complaints)


def test_a_machine_without_clocks_is_unpinned(tmp_path: Path) -> None:
    assert ClockPinner(tmp_path).pin().complaints == ("this machine offers no clocks to pin",)
