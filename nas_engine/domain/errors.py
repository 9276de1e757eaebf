"""The engine's one error tree. Every message says what is wrong, which value it is, and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum


class EngineError(Exception):
    """Base of every error the engine raises on purpose."""


class EngineWarning(UserWarning):
    """Something that was read otherwise than it says, and how."""


_collected: ContextVar[list[str] | None] = ContextVar("collected warnings", default=None)


def warn(message: str) -> None:
    """Warn with an `EngineWarning`, or keep the message for whoever collects warnings."""
    found = _collected.get()
    if found is None:
        warnings.warn(message, EngineWarning, stacklevel=3)
    else:
        found.append(message)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect what the engine warns of inside the block, in this thread alone (`warnings.catch_warnings` is not)."""
    found: list[str] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


class InvalidSpaceError(EngineError):
    """A search space is unknown, or its parameters are not ones it takes."""


class InvalidGenotypeError(EngineError):
    """A genotype has the wrong length, or a gene outside its choices."""


class InvalidArchitectureError(EngineError):
    """An architecture document cannot be read, or is not one of this space."""


class InvalidGraphError(EngineError):
    """A layer graph is inconsistent: shapes do not fit, names repeat, edges point forward."""


class FormsDifferError(EngineError):
    """A transform between the SUPERNET and DEPLOYED forms was asked for where it is not exact."""


class InfeasibleError(EngineError):
    """A constraint cannot be met in this space; the message names it and the feasible range."""


class InvalidMeasurementError(EngineError):
    """Samples are empty, non-finite or negative: no statistics are made of them."""


class DatasetError(EngineError):
    """A data set cannot be read, its content is malformed, or it is too small for what is asked of it.

    Attributes:
        problems: each thing that is wrong, the first twenty of them; one that stands by itself is the message.
        num_problems: how many there are.
    """

    def __init__(self, message: str, problems: Sequence[str] = (), num_problems: int | None = None) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)
        self.num_problems = num_problems or len(self.problems)


class WeightsError(EngineError):
    """Weights are missing, of the wrong shape, non-finite, or in a file that cannot be trusted."""


class ExportError(EngineError):
    """A graph cannot be exported, or the exported model disagrees with its source."""


class ConversionFailure(Enum):
    """Why a board's model compiler gave no model."""

    CONVERT_FAILED = "convert_failed"  # it refuses this model with these settings, and always will
    CONVERTER_CRASH = "converter_crash"  # this model makes it die of a fault of its own, reproducibly
    CONVERTER_KILLED = "converter_killed"  # somebody else ended it (out of memory, an operator)
    CONVERTER_TIMEOUT = "converter_timeout"  # it did not answer in time
    CONVERTER_FAULT = "converter_fault"  # it is not installed, or answers what it must not

    @property
    def is_final(self) -> bool:
        """Whether trying the same model again gives the same answer."""
        return self in (ConversionFailure.CONVERT_FAILED, ConversionFailure.CONVERTER_CRASH)


class ConversionError(ExportError):
    """A model could not be converted for a board; `failure` says whose fault it is."""

    def __init__(self, failure: ConversionFailure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class TrainingError(EngineError):
    """Training cannot start or go on: bad settings, a corrupt checkpoint, a diverged loss."""


class DeviceMemoryError(TrainingError):
    """A training does not fit the memory of its device; the message has the numbers, and what would fit."""


class SearchStateError(EngineError):
    """A search checkpoint cannot be restored, or a tell does not match what was asked."""
