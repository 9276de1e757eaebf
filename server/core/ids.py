"""Ids: a type prefix and a ULID, so that ids sort by creation and say what they name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ulid import ULIDGenerator

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_NUM_CHARACTERS = 26
SHORT_CHARACTERS = 8
"""Of a short id: the end of an id, random where its beginning is the time, so that it differs from others' at once."""


class IdPrefix(Enum):
    """What an id names."""

    SEARCH = "srch"
    CANDIDATE = "cand"
    EVALUATION = "eval"
    JOB = "job"
    LEASE = "lease"
    MEASUREMENT = "meas"
    DEVICE = "dev"
    SUPERNET = "sup"
    SUPERNET_VERSION = "supv"
    NETWORK = "network"
    WEIGHTS = "wts"
    STUDY = "study"
    EXPORT = "exp"
    TOKEN = "tok"
    PRINCIPAL = "prin"
    ENROLMENT = "enr"
    CANARY = "can"
    CLASSIFICATION = "cls"
    LATENCY_TABLE = "ltab"
    COST_REPORT = "crep"
    LATENCY_PREDICTOR = "lpre"
    CHANGE = "chg"
    WHAT_IF = "wif"


class Ulids:
    """Strictly increasing ULIDs of one process, also from several threads and when the clock is set back.

    Args:
        clock_ms: milliseconds since the epoch.
    """

    def __init__(self, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._clock_ms = clock_ms
        self._generator: ULIDGenerator | None = None
        self._lock = threading.Lock()
        self._newest_ms = 0

    def next(self) -> str:
        """26 lower-case Crockford base32 digits."""
        from ulid import ULIDGenerator  # clients read ids and make none: they have no such package

        with self._lock:
            if self._generator is None:
                self._generator = (
                    ULIDGenerator()
                )  # counts on within one millisecond, but takes an older time as it comes
            self._newest_ms = max(self._newest_ms, self._clock_ms())
            return str(self._generator.generate(self._newest_ms)).lower()


_ulids = Ulids()


def new_id(prefix: IdPrefix) -> str:
    """A fresh id such as ``srch_01jd3x...``: a ULID after the prefix."""
    return f"{prefix.value}_{_ulids.next()}"


def has_prefix(id: str, prefix: IdPrefix) -> bool:
    """Whether `id` is shaped like an id of that kind."""
    head, _, tail = id.partition("_")
    return head == prefix.value and len(tail) == _NUM_CHARACTERS and all(c in _CROCKFORD for c in tail)


def is_id(text: str) -> bool:
    """Whether `text` is shaped like a whole id of any kind."""
    return any(has_prefix(text, prefix) for prefix in IdPrefix)


def short_id(id: str) -> str:
    """The end of an id: short to type, and taken wherever the id is."""
    return id[-SHORT_CHARACTERS:]
