"""What a kind of job needs to be done, and what an error of it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nas_engine.domain.errors import (
    ConversionError,
    ConversionFailure,
    DatasetError,
    DeviceMemoryError,
    EngineError,
    ExportError,
    InfeasibleError,
    InvalidArchitectureError,
    InvalidGenotypeError,
    InvalidSpaceError,
)
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.plugins.doors import PluginError, VersionsDifferError
from nas_engine.settings.kinds.declared import SettingsError
from server.core.errors import NotFoundError, ServiceError
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef


class Handler(Protocol):
    """Does jobs of one kind. It commits its result itself, under the lease; what it raises is reported."""

    def __call__(self, job: Job, lease: LeaseRef, stopped: Callable[[], bool]) -> None:
        """Do one job; return early and silently once `stopped()`."""


def failure_of(error: Exception) -> Failure:
    """What an error of a handler is reported as."""
    match error:
        case InvalidSpaceError() | InvalidArchitectureError() | InvalidGenotypeError() | InfeasibleError():
            kind = FailureType.INVALID_INPUT
        case DatasetError() | DeviceMemoryError() | NotFoundError() | PluginError() | SettingsError():
            kind = FailureType.INVALID_INPUT
        case ConversionError(failure=ConversionFailure.CONVERTER_CRASH):
            kind = FailureType.CONVERTER_CRASH
        case ConversionError(failure=failure) if not failure.is_final:
            kind = FailureType.WORKER_ERROR
        case ExportError():
            kind = FailureType.CONVERT_FAILED
        case _:
            kind = FailureType.WORKER_ERROR
    expected = isinstance(error, EngineError | ServiceError)
    message = str(error) if expected else f"{type(error).__name__}: {error}"
    return Failure(kind, message, blames_brought=isinstance(error, VersionsDifferError))
