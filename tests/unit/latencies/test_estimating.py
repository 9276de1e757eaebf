"""Which predictor estimates, and what is said where none does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nas_engine.domain.measuring.environment import DeviceClass, DeviceIdentity, Dtype, HardwareKey
from server.latencies.estimating import estimate_of, ranked, wanting
from server.latencies.predictors.predictor import FitQuality, LatencyPredictor, TableStanding, space_key
from server.latencies.question import AskedDevice

ASKED = AskedDevice(device_type="rk3588")
KEY = HardwareKey(
    identity=DeviceIdentity(
        board_model="board",
        device_class=DeviceClass.BOARD,
        runtime="onnxruntime",
        runtime_versions={"onnxruntime": "1.0"},
        clocks_profile="default",
        core_mask="all",
    ),
    dtype=Dtype.FP32,
    batch=1,
)
HARDWARE = {"new": KEY, "old": KEY, "batched": replace(KEY, batch=4)}


def predictor(name: str, hardware_key: str = "new", **changes: Any) -> LatencyPredictor:
    return LatencyPredictor(
        id=f"lpre_{name}",
        device_type="rk3588",
        hardware_key=hardware_key,
        space_id="spos",
        parameters="{}",
        space_key=space_key("spos", "{}"),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **changes,
    )


def fitted(name: str, error: float = 0.05, hardware_key: str = "new", **changes: Any) -> LatencyPredictor:
    quality = FitQuality(
        nominal=0.9,
        coverage=0.92,
        num_left_out=25,
        num_folds=10,
        mean_relative_error=error,
        median_relative_width=0.1,
        kendall_tau=0.9,
    )
    return predictor(
        name, hardware_key, **{"num_fitted": 30, "artifact_sha256": "a" * 64, "quality": quality, **changes}
    )


def of_table(name: str, error: float = 0.05, hardware_key: str = "new", **changes: Any) -> LatencyPredictor:
    standing = TableStanding(basis="b", fitted_basis="b", num_operators=35, report_ids=("crep_1", "crep_2"))
    return fitted(name, error, hardware_key, **{"table_id": f"ltab_{name}", "standing": standing, **changes})


def names(*predictors: LatencyPredictor) -> list[str]:
    return [one.id.removeprefix("lpre_") for one in ranked(predictors, ASKED, HARDWARE, {"new": 0})]


def test_what_erred_least_on_networks_left_out_comes_first_and_is_never_what_is_not_fitted() -> None:
    worse, better, own = of_table("worse", 0.04), of_table("better", 0.01), fitted("own", 0.03)
    assert names(worse, own, better) == ["better", "own", "worse"]
    assert names(of_table("table", 0.03), own) == ["own", "table"]
    assert names(predictor("counted"), worse, better) == ["better", "worse", "counted"]


def test_hardware_that_is_offered_now_comes_before_what_was_fitted_to() -> None:
    assert names(fitted("own", hardware_key="old"), of_table("table")) == ["table", "own"]
    assert names(fitted("own", hardware_key="batched")) == []  # architectures are asked for in batches of one


def test_an_estimate_of_a_table_says_what_it_stands_on() -> None:
    said = estimate_of(of_table("one"), 100.0, 90.0, 110.0)
    assert (said.method, said.source_id, said.predictor_id) == ("table", "ltab_one", "lpre_one")
    assert (said.num_operators, said.num_networks, said.num_measurements) == (35, 30, 65)
    assert "a table of 35 operators, calibrated by 30 measured networks of crep_1, crep_2" in said.validation
    assert "fitted" not in said.validation
    assert (
        "operators, fitted to sampled networks"
        in estimate_of(of_table("one", model="table_fitted"), 1.0, 1.0, 1.0).validation
    )
    own = estimate_of(fitted("own"), 100.0, 90.0, 110.0)
    assert (own.method, own.source_id, own.num_measurements, own.num_operators) == ("predictor", "lpre_own", 30, 0)


def test_an_estimate_is_stale_once_table_or_reports_changed_or_making_it_anew_failed() -> None:
    def stale(one: LatencyPredictor) -> bool:
        return estimate_of(one, 1.0, 1.0, 1.0).is_stale

    one = of_table("one", num_seen=30, num_seen_at_fit=30)
    changed = replace(one, standing=TableStanding(basis="c", fitted_basis="b"))
    assert (stale(one), one.is_due, stale(changed), changed.is_due) == (False, False, True, True)
    failed = replace(changed.tried(changed), trouble="the worker died")
    assert (stale(failed), failed.is_due) == (True, False)


def test_what_is_wanting_names_the_order_that_helps() -> None:
    assert wanting([]) == ""
    bare = predictor("t", table_id="ltab_t", standing=TableStanding(basis="b"))
    assert wanting([bare]) == (
        "; a latency table of this hardware is there; a report of 20 networks makes it an estimate: "
        "hilnas tables report ltab_t --networks 20"
    )
    both = wanting([predictor("own", num_seen=7), replace(bare, num_seen=7)])
    assert "7 of the 30 measurements that an estimate needs" in both
    assert "its reports compare 7 of the 20 networks" in both
    assert "are being made" in wanting([replace(bare, num_seen=20)])
    assert "ltab_t estimates nothing: it lacks all" in wanting([replace(bare, num_seen=20, trouble="it lacks all")])
