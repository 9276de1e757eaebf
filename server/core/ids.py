"""Ids: a type prefix and a ULID, so that ids sort by creation and say what they name."""

from __future__ import annotations

import os
import threading
import time
from enum import Enum

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_NUM_CHARACTERS = 26


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
    STUDY = "study"
    EXPORT = "exp"
    TOKEN = "tok"
    ENROLMENT = "enr"
    CANARY = "can"
    CLASSIFICATION = "cls"
    LATENCY_TABLE = "ltab"
    COST_REPORT = "crep"


class _Ulids:
    """Source of strictly increasing 128-bit ULIDs within one process; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        """Milliseconds since the epoch in the upper 48 bits, randomness below; never repeats or goes back."""
        with self._lock:
            fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | int.from_bytes(os.urandom(_RANDOM_BITS // 8))
            # Within one millisecond (or a clock set back) count on, so that ids keep the order they were made in.
            self._last = fresh if fresh >> _RANDOM_BITS > self._last >> _RANDOM_BITS else self._last + 1
            return self._last


_ulids = _Ulids()


def new_id(prefix: IdPrefix) -> str:
    """A fresh id such as ``srch_01jd3x...``: 26 lower-case Crockford base32 digits after the prefix."""
    value = _ulids.next()
    digits = [_CROCKFORD[(value >> (5 * place)) & 31] for place in reversed(range(_NUM_CHARACTERS))]
    return f"{prefix.value}_{''.join(digits)}"


def has_prefix(id: str, prefix: IdPrefix) -> bool:
    """Whether `id` is shaped like an id of that kind."""
    head, _, tail = id.partition("_")
    return head == prefix.value and len(tail) == _NUM_CHARACTERS and all(c in _CROCKFORD for c in tail)
