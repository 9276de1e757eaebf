"""What each kind of job is given. Stored as JSON in the job's row; versions only add optional fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import ConfigDict, ValidationError

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.json_value import JsonValue
from server.service.errors import InvalidValueError
from server.service.spec_parts import DtypeName, SpecPart
from server.service.values.artifact import ModelFormat


class Payload(SpecPart):
    """Base of the payloads: frozen; fields that a newer server added are ignored by an older worker."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())

    def to_json(self) -> dict[str, JsonValue]:
        """As stored."""
        return self.model_dump(mode="json")


class ArchitectureDocument(Payload):
    """An architecture as a document."""

    space_id: str
    parameters: str
    choices: str

    @classmethod
    def of(cls, architecture: Architecture) -> ArchitectureDocument:
        """From the value."""
        return cls(space_id=architecture.space_id, parameters=architecture.parameters, choices=architecture.choices)

    def architecture(self) -> Architecture:
        """As the value."""
        return Architecture(self.space_id, self.parameters, self.choices)


class SearchStepPayload(Payload):
    """Tell what is finished, ask for more. `seq` is the checkpoint this step will write."""

    search_id: str
    seq: int


class SearchWorkPayload(Payload):
    """Base of heavy work that a step ordered. `seq` is the checkpoint written with the order."""

    search_id: str
    seq: int


class ShiftPayload(SearchWorkPayload):
    """Shift a supernet towards a generation's candidates, in the order asked.

    `state_sha256` is what the last shift ended with (weights, optimiser, version number); absent before the first.
    `survivors` are compared with the candidates, and scored again with the version that comes of it.
    """

    candidate_ids: tuple[str, ...]
    survivors: tuple[str, ...] = ()
    supernet_version_id: str
    state_sha256: str | None = None


class DerivePayload(SearchWorkPayload):
    """Train a supernet with architecture parameters and derive a network; settings are in the search's spec.

    `number` counts the spec's cost factors from 0.
    """

    number: int


class EvaluatePayload(Payload):
    """Evaluate the accuracy of one candidate with one version of a supernet; settings are in the search's spec.

    `split` test is the final report: the worker then also exports the network with inherited weights.
    """

    search_id: str
    candidate_id: str
    architecture: ArchitectureDocument
    supernet_version_id: str
    attempt: int = 1
    split: Literal["validation", "test"] = "validation"


class MeasurePayload(Payload):
    """Measure the latency of one model file."""

    model_sha256: str
    model_format: ModelFormat
    profile: Literal["quick", "standard", "audit"]
    dtype: DtypeName
    batch: int
    latency_key: str
    hardware_key: str
    core_mask: str
    validity_policy: Literal["require", "accept_flagged"]
    timeout_s: float
    arch_id: str | None = None
    num_threads: int = 0
    input_seed: int = 0
    cpu_operators: tuple[str, ...] = ()
    label: str = ""
    classify_job_id: str | None = None


class ClassifyPayload(Payload):
    """Classify the first images of an image set with one model file.

    `source_sha256` is the ONNX the file was made of; the same where no converter lies between.
    """

    model_sha256: str
    source_sha256: str
    model_format: ModelFormat
    images_sha256: str
    num_images: int
    dtype: DtypeName
    batch: int
    hardware_key: str
    core_mask: str
    timeout_s: float
    num_threads: int = 0
    arch_id: str | None = None
    attempt: int = 1
    label: str = ""


class MeasureTarget(Payload):
    """Who may do a measuring or classifying job that follows a conversion, and how often it may be tried."""

    device_type: str
    pool_key: str
    labels: dict[str, str]
    max_attempts: int


class ConvertPayload(Payload):
    """Make a model file; the measuring job follows by itself.

    It is made of an architecture, or of an ONNX file (`source_sha256`, then `measure`, `classify` and `measure_target`
    say what follows). A w8a8 conversion is calibrated with images of a data set, or of an image set.

    `weights` is random where only latency is wanted of it, else inherited from `supernet_version_id`, or retrained.
    `deploys`: the file itself is what is wanted; nothing follows.
    """

    architecture: ArchitectureDocument | None = None
    arch_id: str | None = None
    latency_key: str
    hardware_key: str
    format: ModelFormat
    dtype: DtypeName
    batch: int
    weights: Literal["inherited", "random", "retrained"]
    supernet_version_id: str | None = None
    search_id: str | None = None
    candidate_id: str | None = None
    source_sha256: str | None = None
    calibration_dataset: str | None = None
    npu_only: bool = False
    calibration_images_sha256: str | None = None
    measure: MeasurePayload | None = None
    classify: ClassifyPayload | None = None
    measure_target: MeasureTarget | None = None
    target_platform: str = "rk3588"
    deploys: bool = False


class TrainPayload(Payload):
    """Train a supernet; its spec and its last resumable checkpoint are in its row."""

    supernet_id: str


class RankPayload(Payload):
    """Judge one architecture of a ranking study both ways; everything about it is in its row."""

    study_id: str
    number: int


P = TypeVar("P", bound=Payload)


def read_payload(kind: type[P], document: Mapping[str, JsonValue]) -> P:
    """The typed payload of a job.

    Raises:
        InvalidValueError: the document is not such a payload.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InvalidValueError(f"payload of the job is not a {kind.__name__}: {error}") from error
