"""Model files for tests of the runtimes, and what they say of a job they refuse."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest

from device_agent.failures import JobFailedError
from device_agent.runtime.base import SessionSettings
from nas_engine.domain.job_protocol import FailureType
from server.artifacts.model_check import ModelCheck, ModelFacts

ONNX = SessionSettings(format="onnx")


def refused(caught: pytest.ExceptionInfo[JobFailedError]) -> FailureType:
    """The type of the failure."""
    return caught.value.type


def write(tmp_path: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path = tmp_path / "model"
    path.write_bytes(data)
    return path


def check_model(content: bytes, check: ModelCheck | None = None) -> ModelFacts:
    """What a check finds in these bytes, as if they had been uploaded."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        return (check or ModelCheck()).check(file, hashlib.sha256(content).hexdigest())
