"""The token that lets devices in, and its limits where nobody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nas_engine.domain.measuring.environment import DeviceClass
from server.access.principal import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentToken:
    """Lets devices of one class enrol.

    Attributes:
        secret_sha256: hex digest; the secret itself is shown once.
        device_class: the most that devices let in with it may count as. Tokens of the first release: emulated.
        device_type: the only type it lets in; None: any that holds no device of a more trusted class.
        max_uses: None: any number (tokens of the first release).
        labels: put on every device that enrols with it.
        owner: whose it is, and whose the devices are that enrol with it; None without authentication.
    """

    id: str
    name: str
    secret_sha256: str
    device_class: DeviceClass = DeviceClass.EMULATED
    device_type: str | None = None
    max_uses: int | None = None
    num_uses: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    owner: Principal | None = None


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
