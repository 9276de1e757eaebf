"""Pinning clocks on a made /sys tree: set, read back, put back, and what stands already."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device_agent.measuring.clocks import PINNED, UNPINNED, ClockPinner
from device_agent.measuring.telemetry import BoardTelemetry
from tests.support.fakes.board_tree import (
    DMC,
    NPU,
    POLICY,
    Kernel,
    make_board,
    make_good_board,
    offer_everything,
    write_nodes,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_board(tmp_path)


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
    write_nodes(root, {f"{NPU}/cur_freq": "300000000"})
    pinned = ClockPinner(root, Kernel(root, held="npu")).pin()
    assert pinned.profile == "unpinned"
    assert any("npu: reads 300000000" in complaint for complaint in pinned.complaints)


def test_clocks_that_cannot_be_written_are_complained_of_and_not_raised(root: Path) -> None:
    def refuse(path: Path, text: str) -> None:
        raise PermissionError("root only")

    pinned = ClockPinner(root, refuse).pin()
    assert (pinned.profile, pinned.requested_khz) == ("unpinned", ())
    assert any("root only" in complaint for complaint in pinned.complaints)


def test_a_machine_without_clocks_is_unpinned(tmp_path: Path) -> None:
    assert ClockPinner(tmp_path).pin().complaints == ("this machine offers no clocks to pin",)


def test_a_sleeping_npu_does_not_count_as_unpinned_at_idle(root: Path) -> None:
    offer_everything(root)
    write_nodes(root, {f"{NPU}/cur_freq": "200000000"})
    assert ClockPinner(root, Kernel(root, held="npu")).pin().profile == PINNED


def test_a_kernel_without_the_userspace_governor_is_pinned_by_performance(root: Path) -> None:
    offer_everything(root)
    pinner = ClockPinner(root, Kernel(root, without="userspace"))
    pinned = pinner.pin()
    assert (pinned.profile, pinned.complaints) == (PINNED, ())
    assert dict(pinned.requested_khz)["dmc"] == 2_112_000
    assert (root / DMC / "governor").read_text() == "performance"
    pinner.restore()
    assert (root / DMC / "governor").read_text() == "dmc_ondemand"


def test_a_setting_that_somebody_made_by_hand_is_put_back(root: Path) -> None:
    offer_everything(root)
    write_nodes(root, {f"{NPU}/userspace/set_freq": "300000000"})
    pinner = ClockPinner(root, Kernel(root))
    pinner.pin()
    assert (root / NPU / "cur_freq").read_text() == "1000000000"
    pinner.restore()
    assert (root / NPU / "userspace/set_freq").read_text() == "300000000"


def test_clocks_that_the_system_has_pinned_count(tmp_path: Path) -> None:
    standing = ClockPinner(make_good_board(tmp_path)).standing()
    assert (standing.profile, standing.complaints) == (PINNED, ())
    assert dict(standing.requested_khz) == {"cpu-policy4": 2_256_000, "npu": 1_000_000, "dmc": 2_112_000}


def test_clocks_that_wander_or_stand_low_do_not_count(tmp_path: Path) -> None:
    root = make_good_board(tmp_path)
    write_nodes(root, {f"{DMC}/governor": "dmc_ondemand", f"{POLICY}/scaling_cur_freq": "408000"})
    standing = ClockPinner(root).standing()
    assert standing.profile == UNPINNED
    assert [c.split(":")[0] for c in standing.complaints] == ["dmc", "cpu-policy4"]
    assert "governor dmc_ondemand" in standing.complaints[0]
    assert "reads 408000, 2256000 kHz asked for" in standing.complaints[1]
    (root / NPU / "governor").unlink()
    assert any("npu" in complaint for complaint in ClockPinner(root).standing().complaints)


def test_who_may_pin_is_who_may_write_every_governor(root: Path) -> None:
    asked: list[tuple[str, int]] = []

    def may_use(path: Path, mode: int) -> bool:
        asked.append((path.name, mode))
        return path.name != "governor"

    assert not ClockPinner(root).may_pin(may_use)
    assert ClockPinner(root).may_pin(lambda *_: True)
    assert ("scaling_governor", os.W_OK) in asked
