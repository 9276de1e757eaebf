"""What conversion, measuring and classifying jobs are given."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from nas_engine.domain.measurement import ValidityPolicy
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.measuring.profile import ProfileName
from nas_engine.settings.base import later
from nas_engine.settings.images import AS_IT_IS, ImageForm
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.jobs.payloads import Payload
from server.spaces.architecture import ArchitectureDocument


class MeasurePayload(Payload):
    """Measure the latency of one model file; with `layer_times` also each layer's, in runs of their own."""

    model_sha256: str
    model_format: ModelFormat
    profile: ProfileName
    dtype: Dtype
    batch: int
    latency_key: str
    hardware_key: str
    core_mask: str
    validity_policy: ValidityPolicy
    timeout_s: float
    arch_id: str | None = None
    num_threads: int = 0
    input_seed: int = 0
    input_ranges: dict[str, tuple[int, int]] = Field(default_factory=dict)
    input_shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    cpu_operators: tuple[str, ...] = ()
    label: str = ""
    classify_job_id: str | None = None
    layer_times: bool = False


class ClassifyPayload(Payload):
    """Classify the first images of an image set with one model file.

    `source_sha256` is the ONNX the file was made of; the same where no converter lies between.
    """

    model_sha256: str
    source_sha256: str
    model_format: ModelFormat
    images_sha256: str
    num_images: int
    dtype: Dtype
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


class OperatorDocument(Payload):
    """One operator of a search space as a network of its own: the one with this latency key."""

    space_id: str
    parameters: dict[str, Any]
    latency_key: str


class ConvertPayload(Payload):
    """Make a model file; the measuring job follows by itself.

    It is made of an architecture or of an operator (`measure` and `measure_target` say what follows, where no candidate
    waits for it), or of an ONNX file (`source_sha256`, then `measure`, `classify` and `measure_target`
    say what follows). A w8a8 conversion is calibrated with images of a data set, in the form that
    the network was trained on, or of an image set.

    `weights` is random where only latency is wanted of it, else inherited from `supernet_version_id`, or
    retrained: then that names the network's weights.
    `deploys`: the file itself is what is wanted; nothing follows.
    """

    architecture: ArchitectureDocument | None = None
    operator: OperatorDocument | None = None
    arch_id: str | None = None
    latency_key: str
    hardware_key: str
    format: ModelFormat
    dtype: Dtype
    batch: int
    weights: WeightsOrigin
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
    calibration_form: ImageForm = later(AS_IT_IS)
