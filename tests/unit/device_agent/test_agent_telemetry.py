"""Readings from a made /proc and /sys tree, shaped as the RK3588 vendor kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.measuring.telemetry import BoardTelemetry, devfreq_name
from tests.support.fakes.board_tree import make_board, make_good_board, write_nodes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_board(tmp_path)


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


@pytest.mark.parametrize(
    ("content", "version"),
    [("...librknnrt version: 2.0.0b0 (35a69@2024-03-24)...", "2.0.0"), ("no version", None), ("", None)],
)
def test_the_npu_library_tells_its_version_in_its_file(root: Path, content: str, version: str | None) -> None:
    write_nodes(root, {"usr/lib/librknnrt.so": content})
    assert BoardTelemetry(root).npu_library_version() == version


def test_the_versions_of_the_npus_software_are_known_without_a_model(tmp_path: Path) -> None:
    versions = dict(BoardTelemetry(make_good_board(tmp_path)).npu_versions())
    assert versions == {"librknnrt": "2.5.0", "rknpu-driver": "0.9.6"}
    assert BoardTelemetry(tmp_path / "nothing").npu_versions() == ()
