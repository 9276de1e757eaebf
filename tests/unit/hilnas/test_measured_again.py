"""A network measured again: the same, not the same, or too noisy to be told."""

from __future__ import annotations

import pytest

from hilnas.cli.models.again import Again, Remeasured


def comparison(difference_us: float, interval_us: float) -> Remeasured:
    return Remeasured(
        before_us=1000.0,
        after_us=1000.0 + difference_us,
        difference_us=difference_us,
        interval_us=interval_us,
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
