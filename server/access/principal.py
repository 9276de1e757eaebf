"""Principals: who owns things, whatever token they came with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

MIN_WEIGHT, MAX_WEIGHT = 0.1, 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A person or a service. It may hold several tokens, and owns what is made with any of them.

    Attributes:
        id: ``prin_...``.
        name: unique, and fixed: what is owned would seem to change hands with it.
        weight: its share of measuring is as this to those of the others whose jobs wait beside its own.
    """

    id: str
    name: str
    created_at: datetime
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Creator:
    """Who makes a thing, as the thing records it.

    Attributes:
        token_id: of the token that was shown; None without authentication.
        owner: whose token that is; None without authentication: the thing is nobody's then, and an admin's to steer.
    """

    token_id: str | None = None
    owner: Principal | None = None


NOBODY = Creator()
"""Who makes things where authentication is switched off."""
