"""Model files for tests of the runtimes, and what they say of a job they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.failures import JobFailedError
from device_agent.runtime.base import SessionSettings
from nas_engine.domain.job_protocol import FailureType

ONNX = SessionSettings(format="onnx")


def refused(caught: pytest.ExceptionInfo[JobFailedError]) -> FailureType:
    """The type of the failure."""
    return caught.value.type


def write(tmp_path: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path = tmp_path / "model"
    path.write_bytes(data)
    return path
