"""How uncertain values are written, and what their intervals say."""

from __future__ import annotations

import pytest

from nas_engine.domain.uncertainty import Interval, number_text, quantity_text, shown_in, unit_text, value_text


@pytest.mark.parametrize(
    ("interval", "unit", "text"),
    [
        (Interval(73.9512, 73.8608, 74.0416), "us", "73.95 ± 0.09 us"),
        (Interval(0.79612, 0.78712, 0.80512), "fraction", "79.6 ± 0.9 %"),
        (Interval(12345.6, 12306.0, 12385.2), "us", "12.35 ± 0.04 ms"),
        (Interval(79.037, 73.3, 84.8), "us", "79 ± 6 us"),
        (Interval(123456.0, 122222.0, 124690.0), "macs", "123,500 ± 1,200"),
        (Interval(93.639, 73.369, 98.886), "us", "94 us (73 to 99, on two levels)"),
        (Interval(8000.0), "us", "8 ms"),
        (Interval(161568.0), "params", "161,568"),
        (Interval(5.0, 5.0, 5.0), "us", "5 ± 0 us"),
        (Interval.of_error(0.5, None), "fraction", "50 %"),
        (Interval(9.96, 9.8605, 10.0595), "us", "9.96 ± 0.10 us"),
        (Interval(512.0), "bytes", "512 bytes"),
        (Interval(150528.0), "bytes", "147 KiB"),
        (Interval(1.5 * 2**20), "bytes", "1.5 MiB"),
        (Interval(2.0**33), "bytes", "8 GiB"),
        (Interval(123456.7), "", "123,457"),
        (Interval(0.5), "us", "0.5 us"),
        (Interval(1e20), "", "1e+20"),
    ],
)
def test_a_value_has_the_digits_that_its_interval_leaves_it(interval: Interval, unit: str, text: str) -> None:
    assert quantity_text(interval, unit) == text


def test_a_difference_has_a_sign_and_both_intervals() -> None:
    difference = Interval.of_error(0.80, 0.01).minus(Interval.of_error(0.82, 0.01))
    assert quantity_text(difference, "fraction", signed=True) == "-2 ± 3 %"
    assert not difference.excludes_zero
    assert Interval.of_error(0.80, 0.001).minus(Interval.of_error(0.82, 0.001)).excludes_zero
    assert number_text(difference.absolute.scaled(100.0)) == "2 ± 3"


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    for value in (-0.3, 0.3):
        assert number_text(Interval(value, value - 2.0, value + 2.0), signed=True) == "0 ± 2"
    assert number_text(Interval(-0.004, -0.154, 0.146)) == "0.00 ± 0.15"


def test_bytes_stand_in_columns_as_kibibytes() -> None:
    assert unit_text("bytes") == "KiB"
    assert number_text(shown_in(Interval(150528.0), "bytes")) == "147"
    assert number_text(shown_in(Interval(300e6), "bytes")) == "292,969"


def test_what_is_not_known_is_a_dash() -> None:
    assert value_text(None, "us") == "-"
    assert value_text(8000.0, "us") == "8 ms"
    assert value_text(0.25, "fraction", signed=True) == "+25 %"


def test_without_intervals_a_difference_is_what_it_is() -> None:
    assert Interval(3.0).minus(Interval(2.0)).excludes_zero
    assert not Interval(3.0).minus(Interval(3.0)).excludes_zero


def test_narrow_intervals_are_not_taken_for_two_levels() -> None:
    assert not Interval(100.0, 99.9, 100.9).is_lopsided
    assert Interval(93.6, 73.4, 98.9).is_lopsided
