"""Enrolment tokens as an admin makes them for a bench."""

from __future__ import annotations

from nas_engine.domain.measurement import DeviceClass
from server.access.principal import NOBODY, Creator
from server.access.tokens import EnrolmentTokens
from server.core.database.transaction import UnitOfWork


def token_for(
    uow: UnitOfWork, device_class: DeviceClass, device_type: str, *, max_uses: int = 1000, creator: Creator = NOBODY
) -> str:
    """The secret of a token for devices of one class and type, which become its creator's."""
    name = f"{device_class.value} of type {device_type}"
    tokens = EnrolmentTokens(uow)
    return tokens.create(name, device_class=device_class, device_type=device_type, max_uses=max_uses, creator=creator)[
        1
    ]
