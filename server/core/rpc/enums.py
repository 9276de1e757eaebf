"""Enums of the wire to enums of ours."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from server.core.errors import InvalidValueError

MAX_MESSAGE_CHARACTERS = 1000


E = TypeVar("E", bound=Enum)


def known(table: Mapping[int, E], value: int, what: str) -> E:
    try:
        return table[value]
    except KeyError as error:
        raise InvalidValueError(f"{what} {value} is not known to this server: upgrade it first") from error
