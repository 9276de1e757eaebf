"""The public names of `hilnas`: what may be imported from it and stays."""

from __future__ import annotations

from hilnas.client.client import Hilnas, connect
from hilnas.client.errors import (
    AuthenticationError,
    ConflictError,
    HilnasError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProblemError,
    ProtocolError,
    ServerFailedError,
    ServerUnreachableError,
    TooManyRequestsError,
)
from hilnas.client.event_source import ReceivedEvent
from hilnas.client.transport import RetryPolicy
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.candidates.spec import SearchSpec

__all__ = [
    "AuthenticationError",
    "ConflictError",
    "Hilnas",
    "HilnasError",
    "InvalidRequestError",
    "NetworkSpec",
    "NotFoundError",
    "PermissionDeniedError",
    "ProblemError",
    "ProtocolError",
    "ReceivedEvent",
    "RetryPolicy",
    "SearchSpec",
    "ServerFailedError",
    "ServerUnreachableError",
    "TooManyRequestsError",
    "TrainingSpec",
    "connect",
]
