"""Supernets on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.settings.base import one_of
from nas_engine.settings.presets import TrainingPreset
from nas_engine.settings.training import AnyTrainingSpec, NetworkSpec, TrainingSpec
from server.access.schemas import Owner, OwnerName
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.candidates.states import DesiredState
from server.core.http.resources import Body, CountedQuery, Id, Json, LabelText, Resource, Sha256, Text
from server.jobs.spent.schemas import TimeResource
from server.training.training import DeployableState, TrainingState


class SupernetListQuery(CountedQuery):
    """Filters of a list of supernets."""

    state: list[TrainingState] = Field(default_factory=list)
    """Supernets in any of these states."""

    space: Text | None = None
    """Supernets of this search space, by its id."""

    dataset: Text | None = None
    """Supernets trained on this data set, by its name."""

    owner: OwnerName = None
    """Name or id of a principal; only what it owns is listed."""

    label: list[LabelText] = Field(default_factory=list, max_length=16)
    """Supernets that carry all of these labels, each as `name:value`."""

    find: Text | None = None
    """Words that all stand, whatever their case, in a supernet's name, labels, id, space, data set, strategy, owner or
    state."""


class TrainingProgressResource(Resource):
    """How far a training is."""

    step: int
    """Number of optimizer steps done."""

    num_steps: int
    """Number of optimizer steps in all."""

    loss: float | None
    """Training loss over the last steps; null before the first."""

    metrics: dict[str, float]
    """Further figures that the training strategy reports, by name."""


class SupernetResource(Resource):
    """A weight-sharing network with its training."""

    id: Id
    """Identifier of the supernet, `sup_...`, given by the server."""

    name: str
    """Name for people, from the spec."""

    state: TrainingState
    """State of its training as the server sees it."""

    desired_state: DesiredState
    """State its owner asked for; `state` follows it."""

    reason: str
    """Why it is in this state; empty where there is nothing to say."""

    spec: TrainingSpec
    """Training spec as it was posted, with defaults filled in."""

    progress: TrainingProgressResource
    """Progress of its training, as the worker last reported it."""

    latest_version_id: Id | None
    """Newest published version of its weights; null before there is one."""

    created_by: Id | None
    """Token that created it; null without authentication."""

    owner: Owner = None
    """Principal that owns it: whose token that was; null without authentication."""

    created_at: datetime
    """Time at which it was created, RFC 3339."""

    finished_at: datetime | None
    """Time at which its training ended, RFC 3339; null before."""

    version: int
    """Number that grows with every change of this document (not the version of its weights)."""

    time: TimeResource | None = None
    """How long its training takes and where the time goes; null where the answer is to a change, and from servers that
    do not tell."""


class SupernetVersionResource(Resource):
    """Weights of a supernet at one moment."""

    id: Id
    """Identifier of the version, `supv_...`, given by the server."""

    supernet_id: Id
    """Supernet that the weights belong to."""

    number: int
    """Number of the version, 1 for the first of its supernet."""

    weights_sha256: str
    """SHA-256 of the weights, a safetensors file: GET /api/v1/artifacts/{sha256}."""

    statistics: Json
    """Figures of the training that made it, as the worker reported them; `provenance` where it was imported."""

    search_id: Id | None
    """The search that shifted it; null for a training's result."""

    parent_id: Id | None
    """Version it was shifted from; null for a training's result."""

    created_at: datetime
    """Time at which it was published, RFC 3339."""


class TrainingPresetResource(Resource):
    """A recipe that can be launched unchanged: POST its spec to /api/v1/supernets, or /api/v1/networks."""

    name: str
    """Name of the preset in paths and commands."""

    summary: str
    """What the recipe trains, in a sentence."""

    source: str = ""
    """The paper and the code that its numbers come from."""

    deviations: list[str] = Field(default_factory=list)
    """What differs from the published recipe, each with the reason."""

    spec: AnyTrainingSpec
    """The complete spec: of a supernet, or of a network where its strategy is `retrain`, as clients of the first
    release read it; the path of networks takes it so."""

    @classmethod
    def of_preset(cls, preset: TrainingPreset) -> TrainingPresetResource:
        """The resource of a recipe."""
        spec = preset.spec.as_first_written if isinstance(preset.spec, NetworkSpec) else preset.spec
        return cls.of(preset, spec=spec)


class RegistrationBody(Body):
    """A supernet that was trained elsewhere."""

    spec: TrainingSpec
    """Spec it was trained with; its space and data set must be known here."""

    weights_sha256: Sha256
    """SHA-256 of its weights, uploaded before with PUT /api/v1/artifacts/{sha256}."""

    statistics: dict[str, float] = Field(default_factory=dict, max_length=100)
    """Losses and further figures of the training, by name, for people."""

    provenance: dict[Text, Text] = Field(default_factory=dict, max_length=20)
    """Where the weights come from, by name: layout, source, licence, file; kept with the version's statistics."""

    def recorded_statistics(self) -> JsonValue:
        """Return what is kept with the version: the figures, and the provenance under its name."""
        return {**self.statistics, **({"provenance": dict(self.provenance)} if self.provenance else {})}


if TYPE_CHECKING:
    DeployedFormat = str
    DeployedWeights = str
else:
    DeployedFormat = one_of(format.value for format in (ModelFormat.ONNX, ModelFormat.RKNN))
    DeployedWeights = one_of(origin.value for origin in (WeightsOrigin.INHERITED, WeightsOrigin.RETRAINED))


class DeployableModelResource(Resource):
    """One model file that can be shipped."""

    format: DeployedFormat
    """File format of the model."""

    dtype: Dtype
    """Data type that the model computes in."""

    target: str | None
    """Chip an RKNN file is made for; null for ONNX."""

    weights: DeployedWeights
    """Where its weights come from: inherited from the search's supernet, or trained stand-alone."""

    state: DeployableState
    """Whether the file is there; `converting` also while it waits for a worker that has the converter."""

    reason: str
    """Why it failed, or what went wrong in the last attempt."""

    sha256: str | None
    """SHA-256 of the file, null unless ready: GET /api/v1/artifacts/{sha256} downloads it."""

    cpu_operators: list[str]
    """Operators the converter left on the processor."""

    job_id: Id | None
    """Job of the conversion; null for ONNX, which is made with the training or the final evaluation."""

    created_at: datetime
    """Time at which the file was made, or else its conversion was ordered, RFC 3339."""

    file_name: str = ""
    """Name for the file, such as spos-29520446bbb1-fp32.onnx: space, architecture, data type, chip; empty from servers
    of the first release."""

    download_path: str | None = None
    """Path on this server that downloads the file under its name; null unless ready."""
