"""What enrolment tokens are made with where nobody says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from nas_engine.domain.environment import DeviceClass


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentDefaults:
    """Limits of enrolment tokens; an admin may ask for others.

    Attributes:
        max_uses, lifetime: of a token that an admin makes: a rack of boards, within a week.
        first_class, first_type, first_max_uses, first_lifetime: of the token made at first start.
    """

    max_uses: int = 10
    lifetime: timedelta = timedelta(days=7)
    first_class: DeviceClass = DeviceClass.EMULATED
    first_type: str | None = None
    first_max_uses: int = 100
    first_lifetime: timedelta = timedelta(days=30)
