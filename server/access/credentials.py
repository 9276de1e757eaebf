"""Who calls: the bearer credential in a call's metadata, and that it is that of the agent the message names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import grpc

from server.core.errors import NotAuthenticatedError, NotPermittedError

_SCHEME = "bearer "


class Authenticated(Protocol):
    """Who has a credential."""

    @property
    def id(self) -> str:
        """As messages name it."""


A = TypeVar("A", bound=Authenticated)


def bearer(context: grpc.ServicerContext) -> str:
    """The credential.

    Raises:
        NotAuthenticatedError: the call carries none.
    """
    found = offered(context)
    if found is None:
        raise NotAuthenticatedError("no credential: send the metadata `authorization: Bearer <credential>`")
    return found


def offered(context: grpc.ServicerContext) -> str | None:
    """The credential a call carries; None for none. One that enrols carries the one it wants to have."""
    for key, value in context.invocation_metadata():
        text = value if isinstance(value, str) else value.decode(errors="replace")
        if key == "authorization" and text[: len(_SCHEME)].lower() == _SCHEME:
            return text[len(_SCHEME) :].strip()
    return None


def authenticated(authenticate: Callable[[str], A], agent_id: str | None, context: grpc.ServicerContext) -> A:
    """The device that calls.

    Args:
        authenticate: gives the device with a credential, or raises NotAuthenticatedError.
        agent_id: whom the message claims to come from; None where messages do not say.

    Raises:
        NotAuthenticatedError: no credential, or an unknown one.
        NotPermittedError: the credential is another agent's.
    """
    device = authenticate(bearer(context))
    if agent_id is not None and agent_id != device.id:
        raise NotPermittedError(f"the credential is not that of {agent_id!r}")
    return device
