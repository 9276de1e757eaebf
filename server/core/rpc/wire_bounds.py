"""Every bound of every field that an agent can send, declared here and nowhere else.

A new field of `proto/` needs a line here: a test walks the descriptors, and the check refuses to guess. The bounds
leave room for any board that there is; what a text means (a name, a digest) is checked where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping

from nas_engine.domain.measuring.image_set import MAX_IMAGES
from nas_engine.domain.measuring.layer_times import MAX_LAYERS, MAX_NAME_CHARACTERS, MAX_PROFILED_RUNS
from nas_engine.domain.plugins.declarations import MAX_SCHEMA_CHARACTERS
from server.core.rpc.bounds import Bound, Bounds

MAX_CONTROL_BYTES = 1 << 20
"""Of a message that carries no result: the largest honest Sync has 64 labels of 200 characters, under 200 KiB."""

MAX_ENVELOPE_BYTES = 16 * 2**20
"""Of a result: 8 million samples, which is all that are taken, in two bytes each once they are compressed."""

MAX_MESSAGE_BYTES = 32 * 2**20
"""Of anything: a result that is too large still reaches the service, and is rejected with a reason."""

MAX_MESSAGE_BYTES_BY_METHOD: Mapping[str, int] = {"/hilnas.v1.AgentControl/PutResult": MAX_MESSAGE_BYTES}
"""Where it is not `MAX_CONTROL_BYTES`."""

_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_YEAR_US = 3.2e13


def _line(characters: int = 200) -> Bound:
    return Bound(characters=characters)


def _lines(items: int, characters: int = 200) -> Bound:
    return Bound(items=items, characters=characters)


def _whole(maximum: int = _INT64, minimum: int = 0) -> Bound:
    return Bound(minimum=minimum, maximum=maximum)


def _real(maximum: float) -> Bound:
    return Bound(minimum=0.0, maximum=maximum)


_PROSE = Bound(characters=1 << 16, one_line=False)  # cut to a line of 1000 characters where it is stored
_ENVIRONMENT = Bound(
    characters=1 << 18, one_line=False
)  # read as JSON by nas_engine.domain.json_value, which bounds its depth
_DIGEST = _line(64)

WIRE_BOUNDS: Bounds = {
    "EnrollRequest.enrolment_token": _line(500),
    "EnrollRequest.name": _line(),
    "EnrollRequest.device_type": _line(),
    "EnrollRequest.labels": Bound(items=64),
    "EnrollRequest.LabelsEntry.key": _line(),
    "EnrollRequest.LabelsEntry.value": _line(),
    "AgentIdentity.agent_id": _line(100),
    "AgentIdentity.boot_id": _line(),
    "AgentIdentity.instance_epoch": _whole(),
    "AgentIdentity.protocol_min": _whole(_INT32),
    "AgentIdentity.protocol_max": _whole(_INT32),
    "AgentIdentity.agent_version": _line(),
    "Capabilities.dtypes": Bound(items=64),
    "Capabilities.model_formats": _lines(64, 100),
    "Capabilities.max_model_bytes": _whole(),
    "Capabilities.memory_bytes": _whole(),
    "Capabilities.num_cpus": _whole(_INT32),
    "Capabilities.timer_resolution_ns": _whole(),
    "Capabilities.core_masks": _lines(64),
    "Capabilities.features": _lines(64, 100),
    "RuntimeDescription.title": _line(),
    "RuntimeDescription.package": _line(),
    "RuntimeDescription.version": _line(),
    "RuntimeDescription.settings_schema_json": _line(MAX_SCHEMA_CHARACTERS),
    "DeviceIdentity.board_model": _line(),
    "DeviceIdentity.runtime": _line(),
    "DeviceIdentity.runtime_versions": Bound(items=64),
    "DeviceIdentity.clocks_profile": _line(),
    "DeviceIdentity.core_mask": _line(),
    "ComponentVersion.component": _line(),
    "ComponentVersion.version": _line(),
    "LeaseRef.job_id": _line(100),
    "LeaseRef.attempt": _whole(_INT32),
    "LeaseRef.lease_id": _line(100),
    "LeaseRef.fence": _whole(),
    "Nack.reason": _PROSE,
    "SyncRequest.labels": Bound(items=64),
    "SyncRequest.LabelsEntry.key": _line(),
    "SyncRequest.LabelsEntry.value": _line(),
    "SyncRequest.free_slots": _whole(_INT32),
    "SyncRequest.running": Bound(items=64),
    "SyncRequest.nacks": Bound(items=64),
    "SyncRequest.num_spooled_results": _whole(_INT32),
    "SyncRequest.wait_s": _real(86_400.0),
    "SyncRequest.cached_sha256": _lines(256, 64),
    "AgentHealth.reason": _PROSE,
    "AgentHealth.canary_ratio": _real(1e9),
    "RenewRequest.running": Bound(items=64),
    "PutResultRequest.envelope": Bound(size_bytes=MAX_MESSAGE_BYTES),  # of MAX_ENVELOPE_BYTES, the service itself says
    "PutResultRequest.envelope_sha256": _DIGEST,
    "ResultEnvelope.fetch_s": _real(1e9),
    "ResultEnvelope.device_s": _real(1e9),
    "ResultEnvelope.total_s": _real(1e9),
    "Failure.message": _PROSE,
    "Failure.environment_json": _ENVIRONMENT,
    "ValidityFlag.reason": _PROSE,
    "CanaryReading.artifact_sha256": _DIGEST,
    "CanaryReading.median_us": _real(_YEAR_US),
    "CanaryReading.ratio": _real(1e9),
    "CanaryReading.output_digest": _DIGEST,
    "Measurement.batch": _whole(1 << 16),
    "Measurement.samples": Bound(size_bytes=MAX_ENVELOPE_BYTES),
    "Measurement.flags": Bound(items=100),
    "Measurement.environment_json": _ENVIRONMENT,
    "Measurement.load_us": _real(_YEAR_US),
    "Measurement.init_us": _real(_YEAR_US),
    "Measurement.first_run_us": _real(_YEAR_US),
    "Measurement.npu_time_source": _line(),
    "Measurement.output_digest": _DIGEST,
    "LayerProfile.source": _line(MAX_NAME_CHARACTERS),
    "LayerProfile.layers": Bound(items=MAX_LAYERS),
    "LayerProfile.num_runs": _whole(MAX_PROFILED_RUNS),
    "LayerProfile.times": Bound(size_bytes=9 * MAX_LAYERS * MAX_PROFILED_RUNS),  # and what zlib adds at its worst
    "ProfiledLayer.name": _line(MAX_NAME_CHARACTERS),
    "ProfiledLayer.operator": _line(MAX_NAME_CHARACTERS),
    "Classification.batch": _whole(1 << 16),
    "Classification.images_sha256": _DIGEST,
    "Classification.num_images": _whole(MAX_IMAGES),
    "Classification.num_classes": _whole(1 << 16),
    "Classification.predictions": Bound(size_bytes=3 * MAX_IMAGES),  # two bytes each, and what zlib adds at its worst
    "Classification.environment_json": _ENVIRONMENT,
    "FetchRequest.sha256": _DIGEST,
    "FetchRequest.offset_bytes": _whole(minimum=-(2**63)),  # answered by OUT_OF_RANGE beyond the artifact
}
