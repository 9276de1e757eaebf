"""The public names of `hilnas`: what may be imported from it and stays."""

from __future__ import annotations

from hilnas.client.client import AsyncHilnas, Hilnas, connect, connect_async
from hilnas.client.core.event_source import ReceivedEvent
from hilnas.client.errors import (
    AuthenticationError,
    ConflictError,
    HilnasError,
    InvalidNameError,
    InvalidRequestError,
    MissingPackageError,
    NotFoundError,
    PermissionDeniedError,
    ProblemError,
    ProtocolError,
    ServerAddressError,
    ServerFailedError,
    ServerUnreachableError,
    TooManyRequestsError,
    UnsuccessfulError,
    WaitTimeoutError,
)
from hilnas.client.transport import RetryPolicy
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.candidates.spec import SearchSpec

__all__ = [
    "AsyncHilnas",
    "AuthenticationError",
    "ConflictError",
    "Hilnas",
    "HilnasError",
    "InvalidNameError",
    "InvalidRequestError",
    "MissingPackageError",
    "NetworkSpec",
    "NotFoundError",
    "PermissionDeniedError",
    "ProblemError",
    "ProtocolError",
    "ReceivedEvent",
    "RetryPolicy",
    "SearchSpec",
    "ServerAddressError",
    "ServerFailedError",
    "ServerUnreachableError",
    "TooManyRequestsError",
    "TrainingSpec",
    "UnsuccessfulError",
    "WaitTimeoutError",
    "connect",
    "connect_async",
]
