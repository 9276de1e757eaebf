"""Models too slow for a profile: how the protocol must end with them, however quiet the board is."""

from __future__ import annotations

import math

from nas_engine.domain.measurement import ValidityPolicy
from nas_engine.domain.measuring.profile import PROFILE_NAMES, MeasurementProfile
from nas_engine.domain.measuring.validity import HARD_CAP_FACTOR, SLOW_BLOCK_FACTOR, SLOW_BLOCK_MIN_RUNS


def too_slow(run_s: float, profile: MeasurementProfile, policy: ValidityPolicy) -> str:
    """Say why a model cannot get a usable measurement with a profile, and which profile fits; empty where it can.

    Args:
        run_s: the model's fastest run.
        profile: what was asked for.
        policy: which measurements are used.
    """
    lack = _lack(run_s, profile, policy)
    if not lack:
        return ""
    return f"one run takes {run_s:.3g} s, and {lack}: {_advice(run_s, policy)}"


def _lack(run_s: float, profile: MeasurementProfile, policy: ValidityPolicy) -> str:
    # A block ends after enough runs and time, or after a few slow ones.
    slow = max(SLOW_BLOCK_MIN_RUNS, math.ceil(profile.block_min_s * SLOW_BLOCK_FACTOR / run_s))
    runs = min(slow, max(profile.block_min_runs, math.ceil(profile.block_min_s / run_s)))
    block_s = runs * run_s
    most_blocks = math.ceil(profile.cap_s * HARD_CAP_FACTOR / block_s)
    if most_blocks < profile.min_clean_blocks:
        limit_s = profile.cap_s * HARD_CAP_FACTOR
        return (
            f"profile {profile.name} ends after {limit_s:g} s with {most_blocks} of the {profile.min_clean_blocks} "
            f"blocks of {runs} runs that it needs"
        )
    num_runs = runs * max(profile.min_clean_blocks, math.ceil(profile.cap_s / block_s))
    if policy is ValidityPolicy.REQUIRE and num_runs < profile.min_runs:
        return (
            f"profile {profile.name} ends after {num_runs} runs, of which a valid measurement has at least "
            f"{profile.min_runs}"
        )
    return ""


def _advice(run_s: float, policy: ValidityPolicy) -> str:
    for wanted in dict.fromkeys((policy, ValidityPolicy.ACCEPT_FLAGGED)):
        for name in PROFILE_NAMES:
            if not _lack(run_s, MeasurementProfile.named(name), wanted):
                flagged = "" if wanted is policy else " and accept flagged results (--accept-flagged)"
                return f"take profile {name}{flagged}"
    return "no profile fits a model this slow"
