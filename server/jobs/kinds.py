"""Kinds of jobs."""

from __future__ import annotations

from enum import Enum


class JobKind(Enum):
    """What a job does. All kinds share one lease mechanism; MEASURE and CLASSIFY run on device agents, the
    rest on workers.
    """

    SEARCH_STEP = "search_step"
    SHIFT = "shift"
    DERIVE = "derive"
    EVALUATE = "evaluate"
    TRAIN = "train"
    RANK = "rank"
    CONVERT = "convert"
    MEASURE = "measure"
    CLASSIFY = "classify"


WORKER_KINDS = (
    JobKind.SEARCH_STEP,
    JobKind.EVALUATE,
    JobKind.CONVERT,
    JobKind.TRAIN,
    JobKind.SHIFT,
    JobKind.DERIVE,
    JobKind.RANK,
)


SEARCH_WORK_KINDS = frozenset({JobKind.SHIFT, JobKind.DERIVE})
"""Heavy work that a search step orders: one job at a time per search, and the next step waits for its end."""


PAUSED_AT_ONCE = frozenset({JobKind.DERIVE})
"""Heavy work that a pause stops: it takes hours, and goes on from a checkpoint of its own."""


WAKES_DEVICES = frozenset({JobKind.MEASURE, JobKind.CLASSIFY})
"""Kinds whose arrival wakes waiting agents; the others wake workers."""
