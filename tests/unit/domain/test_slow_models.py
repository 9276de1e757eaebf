"""Models too slow for a profile are told apart from boards that were disturbed, and told what fits."""

from __future__ import annotations

import pytest

from nas_engine.domain.measurement import ValidityPolicy
from nas_engine.domain.measuring.profile import PROFILE_NAMES, MeasurementProfile
from nas_engine.domain.measuring.slow_models import too_slow

REQUIRE, FLAGGED = ValidityPolicy.REQUIRE, ValidityPolicy.ACCEPT_FLAGGED


@pytest.mark.parametrize(
    ("run_s", "profile", "policy", "said"),
    [
        (
            3.6,
            "quick",
            FLAGGED,
            "one run takes 3.6 s, and profile quick ends after 6 s with 1 of the 3 blocks of 3 runs that it needs: "
            "take profile standard",
        ),
        (
            3.6,
            "standard",
            REQUIRE,
            "one run takes 3.6 s, and profile standard ends after 15 runs, of which a valid measurement has at least "
            "100: take profile standard and accept flagged results (--accept-flagged)",
        ),
        (
            60.0,
            "quick",
            FLAGGED,
            "one run takes 60 s, and profile quick ends after 6 s with 1 of the 3 blocks of 3 runs that it needs: "
            "no profile fits a model this slow",
        ),
    ],
)
def test_what_cannot_be_measured_says_how_long_a_run_takes_and_which_profile_fits(
    run_s: float, profile: str, policy: ValidityPolicy, said: str
) -> None:
    assert too_slow(run_s, MeasurementProfile.named(profile), policy) == said


@pytest.mark.parametrize("profile", PROFILE_NAMES)
@pytest.mark.parametrize("run_s", [5e-6, 1e-3, 0.02])
def test_whatever_a_quiet_board_could_measure_is_not_too_slow(run_s: float, profile: str) -> None:
    assert too_slow(run_s, MeasurementProfile.named(profile), REQUIRE) == ""
    assert too_slow(3.6, MeasurementProfile.named("standard"), FLAGGED) == ""
