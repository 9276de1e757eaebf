"""The check that every state machine makes before a step."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from server.core.errors import InvalidStateTransitionError

S = TypeVar("S", bound=Enum)


def check_transition(kind: str, id: str, table: Mapping[S, frozenset[S]], current: S, wanted: S) -> None:
    """Refuse a step that a state machine does not have; staying where one is is always allowed.

    Raises:
        InvalidStateTransitionError: names the states that are allowed.
    """
    if wanted is not current and wanted not in table[current]:
        allowed = sorted(str(state.value) for state in table[current])
        raise InvalidStateTransitionError(kind, id, str(current.value), str(wanted.value), allowed)
