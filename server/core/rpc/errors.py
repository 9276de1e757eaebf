"""How the service's errors answer a call. Every class of server/core/errors.py is mapped, and a test sees to it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import NoReturn

import grpc

from nas_engine.domain.errors import EngineError
from server.core import errors

_log = logging.getLogger(__name__)

STATUS: Mapping[type[Exception], grpc.StatusCode] = {
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    # Agents send no specs: it is a stored one that this version cannot read. INTERNAL lets an agent keep its result.
    errors.InvalidSpecError: grpc.StatusCode.INTERNAL,
    errors.InvalidValueError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.AmbiguousReferenceError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidModelError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidStateTransitionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConflictError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PreconditionFailedError: grpc.StatusCode.ABORTED,
    errors.LeaseLostError: grpc.StatusCode.ABORTED,
    errors.NotAuthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotPermittedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.IdempotencyKeyReusedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RangeNotSatisfiableError: grpc.StatusCode.OUT_OF_RANGE,
    errors.DigestMismatchError: grpc.StatusCode.DATA_LOSS,
    errors.ArtifactDamagedError: grpc.StatusCode.DATA_LOSS,
    errors.ArtifactTooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ArtifactError: grpc.StatusCode.INTERNAL,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    # Agents of every release keep what they have and try again.
    errors.QuotaExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.StorageFullError: grpc.StatusCode.UNAVAILABLE,
    errors.ServiceError: grpc.StatusCode.INTERNAL,
    EngineError: grpc.StatusCode.INVALID_ARGUMENT,
}


def status_of(error: Exception) -> grpc.StatusCode:
    """The code for an error: that of its class, or of the nearest base that has one."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return grpc.StatusCode.INTERNAL


@contextlib.contextmanager
def answering(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn errors of the service into the call's status; anything else is logged and answered as INTERNAL."""
    try:
        yield
    except (errors.ServiceError, EngineError) as error:
        refuse(context, status_of(error), str(error))
    except grpc.RpcError:
        raise
    except Exception as error:
        code = getattr(context, "code", None)
        if type(error) is Exception and callable(code) and code() is not None:
            raise  # the bare exception with which gRPC ends a call that was aborted inside
        _log.exception("call failed")
        refuse(context, grpc.StatusCode.INTERNAL, "internal error: see the server's log")


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    """End the call with a status."""
    context.abort(code, message)
    raise AssertionError("abort raises")
