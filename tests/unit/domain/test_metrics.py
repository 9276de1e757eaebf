"""What the registry of metrics says of each: how it is called where, and on which images it is evaluated."""

from __future__ import annotations

import pytest

from nas_engine.domain.metric import Goal, Metric, MetricDeclaration, MetricSource
from nas_engine.domain.metrics import (
    ACCURACIES,
    BUILT_IN,
    LATENCY_US,
    TEST_TOP1,
    TOP1,
    accuracy_on,
    column_for,
    declared_metric,
    is_cheap,
    is_latency,
    is_measured,
    is_searched,
    latency_on,
    stored_metric,
    words_for,
)


def _declared(**names: str) -> MetricDeclaration:
    return MetricDeclaration(
        name="robustness",
        title="",
        unit="",
        goal=Goal.MAXIMIZE,
        source=MetricSource.EVALUATED,
        implementation="package.module:function",
        **names,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("robustness", "robustness", "robustness")),
        ({"label": "under noise"}, ("under noise", "under noise", "under noise")),
        ({"label": "under noise", "column": "noise"}, ("under noise", "noise", "under noise")),
        ({"words": "accuracy under noise"}, ("robustness", "robustness", "accuracy under noise")),
    ],
)
def test_names_that_are_left_out_follow_from_those_that_are_given(
    given: dict[str, str], expected: tuple[str, str, str]
) -> None:
    one = _declared(**given)
    assert (one.label, one.column, one.words) == expected


def test_each_kind_of_held_out_images_has_one_accuracy() -> None:
    assert ACCURACIES == (TOP1, TEST_TOP1)
    assert (accuracy_on("validation"), accuracy_on("test")) == (TOP1, TEST_TOP1)


def test_what_searches_look_at_is_never_evaluated_on_test_images() -> None:
    assert [one.name for one in BUILT_IN if one.searched and one.split != "validation"] == []


def test_a_metric_of_a_package_that_is_gone_keeps_its_name() -> None:
    gone = Metric("gone", "", Goal.MINIMIZE)
    assert declared_metric("gone") is None
    assert (column_for(gone), words_for(gone), is_measured("gone")) == ("gone", "gone", False)


def test_the_latency_on_a_board_is_declared_as_latency_is() -> None:
    metric = latency_on("rk3588")
    assert stored_metric("latency_us@rk3588") == metric
    assert (metric.name, metric.unit, metric.goal) == ("latency_us@rk3588", LATENCY_US.unit, LATENCY_US.goal)
    assert (column_for(metric), words_for(metric)) == ("latency p50 on rk3588", "latency on rk3588")
    assert is_measured(metric.name)
    assert is_searched(metric)
    assert not is_cheap(metric)
    assert [is_latency(one) for one in (metric, LATENCY_US, stored_metric("macs@rk3588"), TOP1)] == [
        True,
        True,
        False,
        False,
    ]
    assert declared_metric("macs@rk3588") is None, "it is the same on every board"
