"""Supernets on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from nas_engine.settings.base import DtypeName
from nas_engine.settings.training import TrainingSpec
from server.candidates.states import DesiredState
from server.core.http.resources import Body, CountedQuery, Id, Json, Resource, Sha256, Text
from server.training.supernet import SupernetState


class SupernetListQuery(CountedQuery):
    """Which supernets."""

    state: list[SupernetState] = Field(default_factory=list)
    """Any of these."""

    space: Text | None = None
    """Of this search space."""

    dataset: Text | None = None
    """Trained on this data set."""


class TrainingProgressResource(Resource):
    """How far a training is."""

    step: int
    num_steps: int
    loss: float | None
    """Of the last steps; null before the first."""

    metrics: dict[str, float]


class SupernetResource(Resource):
    """One weight-sharing network."""

    id: Id
    name: str
    state: SupernetState
    desired_state: DesiredState
    reason: str
    spec: TrainingSpec
    progress: TrainingProgressResource
    latest_version_id: Id | None
    """Newest published weights; null before there are any."""

    created_by: Id | None
    created_at: datetime
    finished_at: datetime | None
    version: int
    """Grows with every change of this document (not the version of its weights)."""


class SupernetVersionResource(Resource):
    """Weights of a supernet at one moment."""

    id: Id
    supernet_id: Id
    number: int
    weights_sha256: str
    """safetensors: GET /api/v1/artifacts/{sha256}."""

    statistics: Json
    search_id: Id | None
    """The search that shifted it; null for a training's result."""

    parent_id: Id | None
    created_at: datetime


class TrainingPresetResource(Resource):
    """A recipe that can be launched unchanged: POST its spec to /api/v1/supernets."""

    name: str
    summary: str
    spec: TrainingSpec


class RegistrationBody(Body):
    """A supernet that was trained elsewhere."""

    spec: TrainingSpec
    """How it was trained; its space and data set must be known here."""

    weights_sha256: Sha256
    """Its weights, uploaded before with PUT /api/v1/artifacts/{sha256}."""

    statistics: dict[str, float] = Field(default_factory=dict, max_length=100)
    """Losses and the like, for people."""


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
