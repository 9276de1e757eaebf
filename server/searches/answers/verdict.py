"""How two candidates compare, noise considered."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """How what is shipped compares with another member."""

    BETTER = "better"  # beyond the interval of the difference
    WORSE = "worse"
    UNDECIDED = "undecided"  # the interval of the difference holds zero
