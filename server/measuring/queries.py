"""The latency database: what other teams query without starting a search, and measuring a model of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from nas_engine.domain.measurement import Dtype, HardwareKey
from nas_engine.domain.measuring.batch import may_be_batch, own_batch
from nas_engine.domain.measuring.image_set import MAX_IMAGES, ImageSetHeader
from nas_engine.domain.measuring.layer_times import LayerProfile
from nas_engine.settings.base import Identifier, Name, SpecPart
from server.access.principal import Principal
from server.artifacts.artifact import ModelFormat, WeightsOrigin, check_sha256
from server.artifacts.model_check import ModelFacts
from server.artifacts.store import ArtifactStore
from server.candidates.boards import MeasurementSpec
from server.candidates.spec import FinalSpec
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidSpecError, SpecViolation, json_pointer
from server.core.paging import Page, PageRequest
from server.fleet.device import Device, DeviceState, HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.enrolment.trust import TRUST
from server.fleet.selection import converter_labels, format_for, misfit, no_compiler, none_classifies, profile_of
from server.fleet.store import DeviceStore, HardwareStore
from server.fleet.takers import ONLINE_TIMEOUT
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.measuring.canaries.canary import CanaryRecord
from server.measuring.canaries.store import CanaryStore
from server.measuring.classify_orders import queue_classification
from server.measuring.measurement import MeasurementQuery, MeasurementRecord
from server.measuring.payloads import ClassifyPayload, ConvertPayload, MeasurePayload, MeasureTarget
from server.measuring.store import MeasurementStore

Dimension = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ImagesSpec(SpecPart):
    """Which images a model is to classify."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest of the uploaded image set (`hilnas images pack` makes one)."""

    num_images: int | None = Field(default=None, ge=1, le=MAX_IMAGES)
    """Number of images to classify, the first of the set; absent: all."""


class ModelMeasurementSpec(SpecPart):
    """A measurement of a user's own model."""

    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest of the uploaded ONNX model (PUT /api/v1/artifacts/{sha256})."""

    label: Name = "model"
    """Name for people that results carry."""

    device: DeviceSpec
    """Device to measure on, by type, data type and labels; without a batch, in the batch that the model has."""

    measurement: MeasurementSpec = Field(default_factory=MeasurementSpec)
    """Profile, time limits and validity policy of the measurement."""

    calibration_dataset: Identifier | None = None
    """Data set whose images calibrate a w8a8 conversion, normalised as in training; give this or an image set."""

    calibration_images_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest of an uploaded image set that calibrates instead: its preprocessing must be the model's own."""

    input_ranges: dict[str, tuple[int, int]] = Field(default_factory=dict, max_length=64)
    """Lowest and highest number of integer inputs by name; absent: what the model's tables admit, else 0 and 1."""

    input_shapes: dict[Annotated[str, Field(max_length=256)], Annotated[tuple[Dimension, ...], Field(max_length=8)]] = (
        Field(default_factory=dict, max_length=64)
    )
    """Shapes of inputs with open axes by name: the server fixes them, measures that model, and records these shapes
    with the job; absent: the model is measured as it is."""

    images: ImagesSpec | None = None
    """Images that the device also classifies with the model; absent: none."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Jobs with a higher priority are done first."""


class Latencies:
    """Use cases of the latency database."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def page_of_measurements(self, query: MeasurementQuery, page: PageRequest) -> Page[MeasurementRecord]:
        """List, newest first. Only measured, authoritative ones unless the query says otherwise."""
        return self._uow.read(lambda tx: MeasurementStore(tx).page_of_listed(query, page))

    def count_measurements(self, query: MeasurementQuery) -> int:
        """Count what `page_of_measurements` would list in all."""
        return self._uow.read(lambda tx: MeasurementStore(tx).count_measurements(query))

    def get_measurement(self, measurement_id: str) -> MeasurementRecord:
        """One measurement. Raises NotFoundError."""
        return self._uow.read(lambda tx: MeasurementStore(tx).get_measurement(measurement_id))

    def packed_samples_of(self, measurement_id: str) -> bytes | None:
        """The raw samples of a measurement, compressed; None for estimates. Raises NotFoundError."""
        return self._uow.read(lambda tx: MeasurementStore(tx).samples_of_measurement(measurement_id))

    def layers_of(self, measurement_id: str) -> LayerProfile | None:
        """How long each layer took, where that is known. Raises NotFoundError: there is no such measurement."""

        def look(tx: Transaction) -> LayerProfile | None:
            MeasurementStore(tx).get_measurement(measurement_id)
            return MeasurementStore(tx).layers_of_measurement(measurement_id)

        return self._uow.read(look)

    def page_of_canaries(self, device_id: str, page: PageRequest) -> Page[CanaryRecord]:
        """Runs of the golden model on a device, newest first. Raises NotFoundError."""

        def look(tx: Transaction) -> Page[CanaryRecord]:
            DeviceStore(tx).get_device(device_id)
            return CanaryStore(tx).page_of_canaries(device_id, page)

        return self._uow.read(look)

    def hardware(self, hardware_key: str) -> HardwareKey:
        """What a hardware key stands for. Raises NotFoundError."""
        return self._uow.read(lambda tx: HardwareStore(tx).get_hardware(hardware_key)).key

    def hardware_keys(self) -> tuple[HardwareProfile, ...]:
        """Every hardware key seen, by digest."""
        return self._uow.read(lambda tx: HardwareStore(tx).all_hardware())

    def measure_model(
        self,
        spec: ModelMeasurementSpec,
        facts: ModelFacts,
        image_sets: Mapping[str, ImageSetHeader] | None = None,
        owner: Principal | None = None,
    ) -> Job:
        """Queue the measurement of a model that was uploaded; the job's result names the measurement.

        For a board that does not run ONNX the job is a conversion, whose result names the jobs that follow. The model's
        latency key is the digest of its bytes: weights and all. With images a classifying job is queued too, which the
        measuring job's payload names.

        Args:
            spec: which model, and where.
            facts: of the model, from a `ModelCheck`.
            image_sets: header of every image set the spec names, by digest.
            owner: of the jobs; None without authentication.

        Raises:
            NotFoundError: the model is no artifact.
            InvalidSpecError: no registered device could ever do this.
        """
        check_sha256(spec.model_sha256)
        spec = _with_batch(spec, facts)
        num_images = _checked_images(spec, facts, image_sets or {})
        ranges = _ranges(spec, facts)

        def work(tx: Transaction) -> Job:
            ArtifactStore(tx).get_artifact(spec.model_sha256)
            profile = self._profile(tx, spec.device, owner)
            classify = None if num_images is None else _classification(spec, profile, num_images)
            if classify is not None:
                devices = DeviceStore(tx).devices_of_type(spec.device.device_type)
                if unable := none_classifies(profile, devices, "/images"):
                    raise InvalidSpecError(unable)
            HardwareStore(tx).put_hardware(profile)
            tx.wake(Topic.DEVICE_JOBS)
            tx.wake(Topic.WORKER_JOBS)
            if format_for(profile.key.identity.runtime) is ModelFormat.ONNX:
                _refuse_relabelled(spec, facts, profile)
                queued = None
                if classify is not None:
                    queued = queue_classification(
                        tx, classify, _target(spec, profile), priority=spec.priority, owner=owner, interactive=True
                    )
                measuring = _measuring(spec, profile, ranges, None if queued is None else queued.id)
                return JobStore(tx).add_job(replace(measuring, owner=owner))
            if facts.rknn_refusal is not None:
                raise InvalidSpecError([SpecViolation("/model_sha256", facts.rknn_refusal)])
            given = [spec.calibration_dataset, spec.calibration_images_sha256]
            if spec.device.dtype == Dtype.W8A8.value and given.count(None) != 1:
                message = "w8a8 needs calibration images, from one place: name a data set or an image set"
                raise InvalidSpecError([SpecViolation("/calibration_dataset", message)])
            return JobStore(tx).add_job(replace(_conversion(spec, profile, classify), owner=owner))

        return self._uow.write(work)

    @staticmethod
    def _profile(tx: Transaction, wanted: DeviceSpec, owner: Principal | None) -> HardwareProfile:
        """The configuration that is measured: one of a device that can take the order now, where there is one.

        Raises:
            InvalidSpecError: no registered device could ever do this, or may do it for the owner.
        """
        now, devices = tx.now(), DeviceStore(tx).devices_of_type(wanted.device_type)
        usable = [device for device in devices if device.may_be_used_by(owner)]
        fitting = [(d, p) for d in usable if (p := profile_of(d, wanted)) is not None]
        if not fitting:
            raise InvalidSpecError([misfit(tx, wanted, owner)])

        def rank(pair: tuple[Device, HardwareProfile]) -> tuple[bool, int, bool, float, str]:
            device, profile = pair
            away = device.reserved(now) or not device.online(now, ONLINE_TIMEOUT)
            # An emulator that is there never stands for a board that is away.
            trust = -TRUST.index(device.device_class)
            absent_s = (now - device.last_seen_at).total_seconds() if away else 0.0  # of boards away, the last to leave
            return device.state is not DeviceState.ACTIVE, trust, away, absent_s, profile.hardware_key

        return min(fitting, key=rank)[1]


def _with_batch(spec: ModelMeasurementSpec, facts: ModelFacts) -> ModelMeasurementSpec:
    """The spec with the batch that the model has: what the spec says of it, else that of its first input.

    Raises:
        InvalidSpecError: no input has the batch that the spec says.
    """
    own = own_batch(facts.input_shapes)
    if "batch" not in spec.device.model_fields_set:
        return spec.model_copy(update={"device": spec.device.model_copy(update={"batch": own})})
    if not may_be_batch(spec.device.batch, facts.input_shapes):
        message = (
            f"the model's first input has batch {own}, the spec asks for {spec.device.batch}, which no input has: "
            "leave it out, or make them equal"
        )
        raise InvalidSpecError([SpecViolation("/device/batch", message)])
    return spec


def _refuse_relabelled(spec: ModelMeasurementSpec, facts: ModelFacts, profile: HardwareProfile) -> None:
    """A device that runs the file as it is computes in what the file says, whatever the spec calls it."""
    runtime, dtype = profile.key.identity.runtime, facts.dtype.value
    found = no_compiler(spec.device, runtime)
    if spec.device.dtype != dtype:
        message = (
            f"runtime {runtime} runs the model as it is, in {dtype}; the spec says {spec.device.dtype}: say {dtype}"
        )
        found.append(SpecViolation("/device/dtype", message))
    if found:
        raise InvalidSpecError(found)


def _checked_images(
    spec: ModelMeasurementSpec, facts: ModelFacts, image_sets: Mapping[str, ImageSetHeader]
) -> int | None:
    """How many images are to be classified; None where none are.

    Raises:
        InvalidSpecError: images are not as the model takes them, or fewer than asked for.
    """
    found: list[SpecViolation] = []
    num_images = None
    if spec.images is not None:
        header = image_sets[spec.images.sha256]
        num_images = spec.images.num_images or header.num_images
        found += _misfit(facts, header, spec.device.batch, "/images/sha256")
        if num_images > header.num_images:
            message = f"the set has {header.num_images} images: {num_images} cannot be taken from it"
            found.append(SpecViolation("/images/num_images", message))
    if spec.calibration_images_sha256 is not None:
        header = image_sets[spec.calibration_images_sha256]
        found += _misfit(facts, header, spec.device.batch, "/calibration_images_sha256")
    if found:
        raise InvalidSpecError(found)
    return num_images


def _misfit(facts: ModelFacts, header: ImageSetHeader, batch: int, pointer: str) -> list[SpecViolation]:
    wanted = header.input_shape(batch)
    if facts.input_shapes == (wanted,):
        return []
    shapes = ", ".join(map(str, facts.input_shapes))
    layout = header.preprocessing.layout.value
    message = f"the model takes {shapes}, the images are {wanted} ({layout}): pack them as the model takes them"
    return [SpecViolation(pointer, message)]


def _classification(spec: ModelMeasurementSpec, profile: HardwareProfile, num_images: int) -> ClassifyPayload:
    assert spec.images is not None
    return ClassifyPayload(
        model_sha256=spec.model_sha256,
        source_sha256=spec.model_sha256,
        model_format=format_for(profile.key.identity.runtime),
        images_sha256=spec.images.sha256,
        num_images=num_images,
        dtype=spec.device.dtype,
        batch=spec.device.batch,
        hardware_key=profile.hardware_key,
        core_mask=profile.key.identity.core_mask,
        timeout_s=max(spec.measurement.timeout_s, FinalSpec().timeout_s),
        label=spec.label,
    )


def _target(spec: ModelMeasurementSpec, profile: HardwareProfile) -> MeasureTarget:
    return MeasureTarget(
        device_type=spec.device.device_type,
        pool_key=profile.pool_key,
        labels=dict(spec.device.labels),
        max_attempts=spec.measurement.max_attempts,
    )


def _payload(spec: ModelMeasurementSpec, profile: HardwareProfile) -> MeasurePayload:
    return MeasurePayload(
        model_sha256=spec.model_sha256,
        model_format=format_for(profile.key.identity.runtime),
        profile=spec.measurement.profile,
        dtype=spec.device.dtype,
        batch=spec.device.batch,
        latency_key=spec.model_sha256,
        hardware_key=profile.hardware_key,
        core_mask=profile.key.identity.core_mask,
        validity_policy=spec.measurement.validity_policy,
        timeout_s=spec.measurement.timeout_s,
        label=spec.label,
        input_shapes=dict(spec.input_shapes),
        layer_times=spec.measurement.layer_times,
    )


def _conversion(spec: ModelMeasurementSpec, profile: HardwareProfile, classify: ClassifyPayload | None) -> NewJob:
    measure = _payload(spec, profile)
    payload = ConvertPayload(
        latency_key=measure.latency_key,
        hardware_key=measure.hardware_key,
        format=measure.model_format,
        dtype=measure.dtype,
        batch=measure.batch,
        weights=WeightsOrigin.INHERITED,
        source_sha256=spec.model_sha256,
        calibration_dataset=spec.calibration_dataset,
        npu_only=spec.device.npu_only,
        calibration_images_sha256=spec.calibration_images_sha256,
        measure=measure,
        classify=classify,
        measure_target=_target(spec, profile),
    )
    return NewJob(
        kind=JobKind.CONVERT,
        payload=payload.to_json(),
        priority=spec.priority,
        interactive=True,
        max_attempts=spec.measurement.max_attempts,
        target=JobTarget(labels=converter_labels(payload.format)),
        latency_key=measure.latency_key,
        hardware_key=measure.hardware_key,
    )


def _ranges(spec: ModelMeasurementSpec, facts: ModelFacts) -> dict[str, tuple[int, int]]:
    """What the model's integer inputs carry: as the spec says, else as its constants admit. Raises InvalidSpecError."""
    for name, (lowest, highest) in spec.input_ranges.items():
        if name not in facts.input_ranges:
            known = ", ".join(facts.input_ranges) or "none"
            message = f"the model has no integer input {name!r} (there is: {known})"
            raise InvalidSpecError([SpecViolation(json_pointer(("input_ranges", name)), message)])
        if not -(2**63) <= lowest <= highest < 2**63:
            message = f"{lowest} to {highest} is no range: the lowest number comes first, 64 bits at most"
            raise InvalidSpecError([SpecViolation(json_pointer(("input_ranges", name)), message)])
    return {**facts.input_ranges, **spec.input_ranges}


def _measuring(
    spec: ModelMeasurementSpec,
    profile: HardwareProfile,
    ranges: Mapping[str, tuple[int, int]],
    classify_job_id: str | None,
) -> NewJob:
    changes = {"classify_job_id": classify_job_id, "input_ranges": dict(ranges)}
    payload = _payload(spec, profile).model_copy(update=changes)
    return NewJob(
        kind=JobKind.MEASURE,
        payload=payload.to_json(),
        priority=spec.priority,
        interactive=True,
        max_attempts=spec.measurement.max_attempts,
        target=JobTarget(
            device_type=spec.device.device_type, pool_key=profile.pool_key, labels=dict(spec.device.labels)
        ),
        latency_key=spec.model_sha256,
        hardware_key=profile.hardware_key,
    )
