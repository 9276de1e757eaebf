"""Networks judged on the same images: packed answers, and the paired interval of their difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.paired import CorrectAnswers, PairedDifference
from nas_engine.domain.uncertainty import Interval


def answers(correct: list[bool], labels: list[int] | None = None, batch: int = 5) -> CorrectAnswers:
    labels = labels if labels is not None else list(range(len(correct)))
    cuts = range(0, len(correct), batch)
    packed = CorrectAnswers.of(
        [np.array(correct[at : at + batch], dtype=np.bool_) for at in cuts],
        [np.array(labels[at : at + batch], dtype=np.int64) for at in cuts],
    )
    assert packed is not None
    return packed


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=70), st.integers(1, 9))
def test_packed_answers_count_what_the_images_say(pairs: list[tuple[bool, bool]], batch: int) -> None:
    one, other = answers([a for a, _ in pairs]), answers([b for _, b in pairs], batch=batch)
    assert len(one.bits) == math.ceil(len(pairs) / 8)
    assert one.num_correct == sum(a for a, _ in pairs)
    found = one.minus(other)
    assert (found.num_only_one, found.num_only_other) == (
        sum(a and not b for a, b in pairs),
        sum(b and not a for a, b in pairs),
    )
    assert found.interval.value == pytest.approx((one.num_correct - other.num_correct) / len(pairs))
    assert found.interval.low is not None
    assert found.interval.high is not None
    assert -1 <= found.interval.low <= found.interval.high <= 1
    back = other.minus(one).interval
    assert (back.low, back.high) == pytest.approx((-found.interval.high, -found.interval.low))


def test_the_interval_is_that_of_the_formula() -> None:
    # b = 9, c = 2, n = 61: (b + 1)/63 - (c + 1)/63 = 0.1111, +- 1.96 sqrt((13/63 - 0.1111^2) / 63).
    found = PairedDifference(num_images=61, num_only_one=9, num_only_other=2).interval
    half_width = 1.96 * math.sqrt((13 / 63 - (7 / 63) ** 2) / 63)
    assert found.value == pytest.approx(7 / 61)
    assert found.low == pytest.approx(7 / 63 - half_width)
    assert found.high == pytest.approx(7 / 63 + half_width)


def test_pairing_tells_apart_what_independent_intervals_do_not() -> None:
    """0.2 % apart on 50,000 images that are mostly answered alike."""
    num_images = 50_000
    paired = PairedDifference(num_images=num_images, num_only_one=700, num_only_other=600).interval
    error = math.sqrt(0.75 * 0.25 / num_images)
    independent = Interval.of_error(0.752, error).minus(Interval.of_error(0.750, error))
    assert paired.excludes_zero
    assert not independent.excludes_zero


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    for num_images, only_one, only_other in ((60, 0.02, 0.02), (200, 0.10, 0.05), (1000, 0.03, 0.03)):
        drawn = rng.multinomial(num_images, [only_one, only_other, 1 - only_one - only_other], size=4000)
        covered = 0
        for b, c, _ in drawn:
            found = PairedDifference(num_images=num_images, num_only_one=int(b), num_only_other=int(c)).interval
            assert found.low is not None
            assert found.high is not None
            covered += found.low <= only_one - only_other <= found.high
        # Where a handful of images tell them apart it is rather too wide than too narrow.
        assert 0.94 <= covered / len(drawn) <= (1.0 if num_images < 100 else 0.96), (num_images, covered)


def test_what_answered_other_images_is_not_paired() -> None:
    one, other, fewer = answers([True] * 9), answers([True] * 9, [5] * 9), answers([True] * 8)
    for unpaired in (other, fewer):
        assert not one.is_paired_with(unpaired)
        with pytest.raises(InvalidMeasurementError, match="cannot be paired"):
            one.minus(unpaired)


@pytest.mark.parametrize(
    "changes", [{"bits": b""}, {"bits": b"\xff\xff"}, {"num_images": 0}, {"num_images": 17}, {"labels_sha256": "x"}]
)
def test_malformed_answers_are_refused(changes: dict[str, object]) -> None:
    values: dict[str, object] = {"num_images": 9, "labels_sha256": "a" * 64, "bits": b"\xff\x80"}
    CorrectAnswers(**values)  # type: ignore[arg-type]
    with pytest.raises(InvalidMeasurementError):
        CorrectAnswers(**{**values, **changes})  # type: ignore[arg-type]
