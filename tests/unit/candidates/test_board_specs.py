"""Specs with several boards: what their names mean, and what is refused where."""

from __future__ import annotations

from typing import Any

import pytest

from nas_engine.domain.metrics import LATENCY_US, is_latency, latency_on
from server.candidates.spec import SearchSpec, parse_search_spec, stored_search_spec
from server.core.errors import InvalidSpecError, InvalidValueError

BASE: dict[str, Any] = {
    "space": {"id": "spos"},
    "budget": {"num_candidates": 4},
    "device": {"device_type": "rk3588"},
    "boards": {
        "emulator": {"device": {"device_type": "cpu-emulator"}, "measurement": {"profile": "quick"}},
        "spare": {"device": {"device_type": "rk3566"}},
    },
    "objectives": [{"metric": "macs"}, {"metric": "latency_us"}],
    "constraints": [{"metric": "latency_us@emulator", "maximum": 20_000}],
    "measurement": {"profile": "audit"},
}


def spec(**changes: Any) -> SearchSpec:
    return parse_search_spec({**BASE, **changes})


def faults(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidSpecError) as refused:
        spec(**changes)
    return {one.pointer: one.message for one in refused.value.violations}


def test_each_board_has_a_metric_and_settings() -> None:
    boards = {one.name: (one.metric, one.device.device_type, one.measurement.profile) for one in spec().all_boards()}
    assert boards == {
        "device": (LATENCY_US, "rk3588", "audit"),
        "emulator": (latency_on("emulator"), "cpu-emulator", "quick"),
        "spare": (latency_on("spare"), "rk3566", "audit"),
    }
    assert [one.name for one in spec().needed_boards()] == ["device", "emulator"]
    assert [one.name for one in spec().measured_boards()] == ["device", "emulator", "spare"]
    assert all(is_latency(one.metric) for one in spec().all_boards())


def test_a_device_that_no_latency_is_wanted_of_is_not_measured_on() -> None:
    found = spec(objectives=[{"metric": "macs"}, {"metric": "latency_us@emulator"}])
    assert [one.name for one in found.measured_boards()] == ["emulator", "spare"]


def test_specs_without_boards_are_written_as_they_were() -> None:
    document = {name: value for name, value in BASE.items() if name not in ("boards", "constraints")}
    assert "boards" not in parse_search_spec(document).model_dump(mode="json")


def test_a_spec_with_boards_is_read_again_as_it_was_written() -> None:
    written = spec().model_dump(mode="json")
    assert parse_search_spec(written) == stored_search_spec(written) == spec()


def test_candidates_are_filtered_by_the_latency_on_any_board_of_the_spec() -> None:
    assert spec().searched_metric("latency_us@spare") == latency_on("spare")
    with pytest.raises(InvalidValueError, match="unknown metric 'latency_us@other'"):
        spec().searched_metric("latency_us@other")


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        (
            {"objectives": [{"metric": "latency_us@rk3566"}]},
            "/objectives/0/metric",
            "latency_us@rk3566 is of a board 'rk3566', which `boards` does not name; it names: emulator, spare",
        ),
        (
            {"stop": {"target": [{"metric": "latency_us@x", "maximum": 1}]}},
            "/stop/target/0/metric",
            "it names: emulator",
        ),
        ({"boards": {}}, "/constraints/0/metric", "it names: none"),
        ({"objectives": [{"metric": "macs@emulator"}]}, "/objectives/0/metric", "unknown name 'macs@emulator'"),
        ({"boards": {**BASE["boards"], "a b": BASE["boards"]["spare"]}}, "/boards/a b", "pattern"),
        ({"boards": {**BASE["boards"], "device": BASE["boards"]["spare"]}}, "/boards/device", "the spec's own device"),
        (
            {"boards": {**BASE["boards"], "again": {"device": {"device_type": "rk3588", "npu_only": True}}}},
            "/boards/again/device",
            "is the spec's device once more, of the same type and labels: leave it out",
        ),
        (
            {"boards": {**BASE["boards"], "again": BASE["boards"]["spare"]}},
            "/boards/again/device",
            "is board spare once more, of the same type and labels: leave it out",
        ),
        (
            {"boards": {"emulator": {"device": {"device_type": "x"}, "measurement": {"confirm": "front"}}}},
            "/boards/emulator/measurement/confirm",
            "measurement.confirm of the search says what is measured once more",
        ),
    ],
)
def test_what_is_wrong_with_boards_is_said_where_it_is(changes: dict[str, Any], place: str, said: str) -> None:
    assert said in faults(**changes)[place]
