"""Names of the kinds of jobs; what each of them is and does stands in the registry (server/jobs/registry.py)."""

from __future__ import annotations

from enum import Enum


class JobKind(Enum):
    """What a job does. All kinds share one lease mechanism."""

    SEARCH_STEP = "search_step"
    SHIFT = "shift"
    DERIVE = "derive"
    EVALUATE = "evaluate"
    TRAIN = "train"
    RANK = "rank"
    CONVERT = "convert"
    MEASURE = "measure"
    CLASSIFY = "classify"
