"""A network measured again: the same, not the same, or too noisy to be told."""

from __future__ import annotations

import pytest

from hilnas.cli.models.again import Again, Remeasured
from nas_engine.domain.dominance import CONFIDENCE_Z
from nas_engine.domain.uncertainty import Interval


def comparison(difference_us: float, interval_us: float) -> Remeasured:
    return Remeasured(
        before=Interval(900.0, 900.0, 900.0),
        after=Interval.of_error(900.0 + difference_us, interval_us / CONFIDENCE_Z),
        within_us=30.0,
    )


@pytest.mark.parametrize(
    ("difference_us", "interval_us", "verdict"),
    [
        (0.0, 5.0, Again.SAME),
        (-29.0, 5.0, Again.SAME),
        (34.0, 5.0, Again.SAME),
        (36.0, 5.0, Again.NOT_THE_SAME),
        (-36.0, 5.0, Again.NOT_THE_SAME),
        (0.0, 31.0, Again.CANNOT_BE_TOLD),
        (200.0, 180.0, Again.CANNOT_BE_TOLD),
        (200.0, 160.0, Again.NOT_THE_SAME),
        (0.0, 30.0, Again.SAME),
    ],
)
def test_a_noisy_pair_is_not_called_the_same(difference_us: float, interval_us: float, verdict: Again) -> None:
    found = comparison(difference_us, interval_us)
    assert found.verdict is verdict
    assert found.document()["verdict"] == verdict.value
    assert found.document()["same"] == (verdict is Again.SAME)
    assert f"measured again: {'NOT the same' if verdict is Again.NOT_THE_SAME else verdict.value}: " in found.text()


def test_medians_and_difference_are_written_with_their_intervals() -> None:
    found = Remeasured(
        before=Interval(45.448, 45.3, 45.6), after=Interval(45.08, 45.03, 45.13), within_us=1.36344, remarks=("a", "b")
    )
    assert found.text().splitlines() == [
        "measured again: same: 45.08 ± 0.05 us, in the bundle 45.45 ± 0.15 us; "
        "difference -0.37 ± 0.16 us, up to 1.4 us is the same",
        "  ± is half a 95 % interval",
        "  a",
        "  b",
    ]
