"""Deployable model files on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from nas_engine.settings.base import DtypeName
from server.core.http.resources import Id, Resource


class DeployableModelResource(Resource):
    """One model file that can be shipped."""

    format: Literal["onnx", "rknn"]
    dtype: DtypeName
    target: str | None
    """Chip an RKNN file is made for; null for ONNX."""

    weights: Literal["inherited", "retrained"]
    """From the search's supernet, or trained alone."""

    state: Literal["ready", "converting", "failed"]
    """`converting` also while it waits for a worker that has the converter."""

    reason: str
    """Why it failed, or what went wrong in the last attempt."""

    sha256: str | None
    """GET /api/v1/artifacts/{sha256} downloads it; null unless ready."""

    cpu_operators: list[str]
    """Operators the converter left on the processor."""

    job_id: Id | None
    """The conversion; null for ONNX, which is made with the training or the final evaluation."""

    created_at: datetime
