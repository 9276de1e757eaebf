from hilnas.v1 import measurement_pb2 as _measurement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_ASSIGNED: _ClassVar[Phase]
    PHASE_FETCHING: _ClassVar[Phase]
    PHASE_PREPARING: _ClassVar[Phase]
    PHASE_WARMUP: _ClassVar[Phase]
    PHASE_MEASURING: _ClassVar[Phase]
    PHASE_UPLOADING: _ClassVar[Phase]

class SessionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATE_UNSPECIFIED: _ClassVar[SessionState]
    SESSION_STATE_ACTIVE: _ClassVar[SessionState]
    SESSION_STATE_TAKEN_OVER: _ClassVar[SessionState]
    SESSION_STATE_DRAINING: _ClassVar[SessionState]
    SESSION_STATE_PAUSED: _ClassVar[SessionState]

class LeaseOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_ORDER_UNSPECIFIED: _ClassVar[LeaseOrder]
    LEASE_ORDER_CONTINUE: _ClassVar[LeaseOrder]
    LEASE_ORDER_CANCEL: _ClassVar[LeaseOrder]
    LEASE_ORDER_LOST: _ClassVar[LeaseOrder]
    LEASE_ORDER_DRAIN: _ClassVar[LeaseOrder]

class ErrorType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_TYPE_UNSPECIFIED: _ClassVar[ErrorType]
    ERROR_TYPE_MODEL_REJECTED: _ClassVar[ErrorType]
    ERROR_TYPE_OUT_OF_MEMORY: _ClassVar[ErrorType]
    ERROR_TYPE_INIT_FAILED: _ClassVar[ErrorType]
    ERROR_TYPE_RUN_FAILED: _ClassVar[ErrorType]
    ERROR_TYPE_RUNTIME_TIMEOUT: _ClassVar[ErrorType]
    ERROR_TYPE_RUNTIME_CRASHED: _ClassVar[ErrorType]
    ERROR_TYPE_OUTPUT_MISMATCH: _ClassVar[ErrorType]
    ERROR_TYPE_THERMAL_TIMEOUT: _ClassVar[ErrorType]
    ERROR_TYPE_INTERFERED: _ClassVar[ErrorType]
    ERROR_TYPE_CANCELLED: _ClassVar[ErrorType]
    ERROR_TYPE_LEASE_LOST: _ClassVar[ErrorType]
    ERROR_TYPE_AGENT_SHUTDOWN: _ClassVar[ErrorType]
    ERROR_TYPE_FETCH_FAILED: _ClassVar[ErrorType]
    ERROR_TYPE_DEVICE_DEGRADED: _ClassVar[ErrorType]
    ERROR_TYPE_UNSUPPORTED: _ClassVar[ErrorType]
    ERROR_TYPE_DEVICE_BUSY: _ClassVar[ErrorType]
    ERROR_TYPE_AGENT_FAULT: _ClassVar[ErrorType]

class ResultStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_STATUS_UNSPECIFIED: _ClassVar[ResultStatus]
    RESULT_STATUS_ACCEPTED: _ClassVar[ResultStatus]
    RESULT_STATUS_DUPLICATE: _ClassVar[ResultStatus]
    RESULT_STATUS_SUPERSEDED: _ClassVar[ResultStatus]
    RESULT_STATUS_REJECTED: _ClassVar[ResultStatus]
PHASE_UNSPECIFIED: Phase
PHASE_ASSIGNED: Phase
PHASE_FETCHING: Phase
PHASE_PREPARING: Phase
PHASE_WARMUP: Phase
PHASE_MEASURING: Phase
PHASE_UPLOADING: Phase
SESSION_STATE_UNSPECIFIED: SessionState
SESSION_STATE_ACTIVE: SessionState
SESSION_STATE_TAKEN_OVER: SessionState
SESSION_STATE_DRAINING: SessionState
SESSION_STATE_PAUSED: SessionState
LEASE_ORDER_UNSPECIFIED: LeaseOrder
LEASE_ORDER_CONTINUE: LeaseOrder
LEASE_ORDER_CANCEL: LeaseOrder
LEASE_ORDER_LOST: LeaseOrder
LEASE_ORDER_DRAIN: LeaseOrder
ERROR_TYPE_UNSPECIFIED: ErrorType
ERROR_TYPE_MODEL_REJECTED: ErrorType
ERROR_TYPE_OUT_OF_MEMORY: ErrorType
ERROR_TYPE_INIT_FAILED: ErrorType
ERROR_TYPE_RUN_FAILED: ErrorType
ERROR_TYPE_RUNTIME_TIMEOUT: ErrorType
ERROR_TYPE_RUNTIME_CRASHED: ErrorType
ERROR_TYPE_OUTPUT_MISMATCH: ErrorType
ERROR_TYPE_THERMAL_TIMEOUT: ErrorType
ERROR_TYPE_INTERFERED: ErrorType
ERROR_TYPE_CANCELLED: ErrorType
ERROR_TYPE_LEASE_LOST: ErrorType
ERROR_TYPE_AGENT_SHUTDOWN: ErrorType
ERROR_TYPE_FETCH_FAILED: ErrorType
ERROR_TYPE_DEVICE_DEGRADED: ErrorType
ERROR_TYPE_UNSUPPORTED: ErrorType
ERROR_TYPE_DEVICE_BUSY: ErrorType
ERROR_TYPE_AGENT_FAULT: ErrorType
RESULT_STATUS_UNSPECIFIED: ResultStatus
RESULT_STATUS_ACCEPTED: ResultStatus
RESULT_STATUS_DUPLICATE: ResultStatus
RESULT_STATUS_SUPERSEDED: ResultStatus
RESULT_STATUS_REJECTED: ResultStatus

class EnrollRequest(_message.Message):
    __slots__ = ("enrolment_token", "name", "device_type", "agent", "capabilities", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENROLMENT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    enrolment_token: str
    name: str
    device_type: str
    agent: AgentIdentity
    capabilities: Capabilities
    labels: _containers.ScalarMap[str, str]
    def __init__(self, enrolment_token: _Optional[str] = ..., name: _Optional[str] = ..., device_type: _Optional[str] = ..., agent: _Optional[_Union[AgentIdentity, _Mapping]] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("agent_id", "credential")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    credential: str
    def __init__(self, agent_id: _Optional[str] = ..., credential: _Optional[str] = ...) -> None: ...

class AgentIdentity(_message.Message):
    __slots__ = ("agent_id", "boot_id", "instance_epoch", "protocol_min", "protocol_max", "agent_version")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MAX_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    boot_id: str
    instance_epoch: int
    protocol_min: int
    protocol_max: int
    agent_version: str
    def __init__(self, agent_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., instance_epoch: _Optional[int] = ..., protocol_min: _Optional[int] = ..., protocol_max: _Optional[int] = ..., agent_version: _Optional[str] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("identity", "dtypes", "model_formats", "max_model_bytes", "memory_bytes", "num_cpus", "can_pin_clocks", "has_npu_time", "has_npu_load", "timer_resolution_ns", "core_masks", "features", "runtime")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DTYPES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FORMATS_FIELD_NUMBER: _ClassVar[int]
    MAX_MODEL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NUM_CPUS_FIELD_NUMBER: _ClassVar[int]
    CAN_PIN_CLOCKS_FIELD_NUMBER: _ClassVar[int]
    HAS_NPU_TIME_FIELD_NUMBER: _ClassVar[int]
    HAS_NPU_LOAD_FIELD_NUMBER: _ClassVar[int]
    TIMER_RESOLUTION_NS_FIELD_NUMBER: _ClassVar[int]
    CORE_MASKS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    identity: _measurement_pb2.DeviceIdentity
    dtypes: _containers.RepeatedScalarFieldContainer[_measurement_pb2.Dtype]
    model_formats: _containers.RepeatedScalarFieldContainer[str]
    max_model_bytes: int
    memory_bytes: int
    num_cpus: int
    can_pin_clocks: bool
    has_npu_time: bool
    has_npu_load: bool
    timer_resolution_ns: int
    core_masks: _containers.RepeatedScalarFieldContainer[str]
    features: _containers.RepeatedScalarFieldContainer[str]
    runtime: RuntimeDescription
    def __init__(self, identity: _Optional[_Union[_measurement_pb2.DeviceIdentity, _Mapping]] = ..., dtypes: _Optional[_Iterable[_Union[_measurement_pb2.Dtype, str]]] = ..., model_formats: _Optional[_Iterable[str]] = ..., max_model_bytes: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., num_cpus: _Optional[int] = ..., can_pin_clocks: _Optional[bool] = ..., has_npu_time: _Optional[bool] = ..., has_npu_load: _Optional[bool] = ..., timer_resolution_ns: _Optional[int] = ..., core_masks: _Optional[_Iterable[str]] = ..., features: _Optional[_Iterable[str]] = ..., runtime: _Optional[_Union[RuntimeDescription, _Mapping]] = ...) -> None: ...

class RuntimeDescription(_message.Message):
    __slots__ = ("title", "package", "version", "settings_schema_json")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    title: str
    package: str
    version: str
    settings_schema_json: str
    def __init__(self, title: _Optional[str] = ..., package: _Optional[str] = ..., version: _Optional[str] = ..., settings_schema_json: _Optional[str] = ...) -> None: ...

class LeaseRef(_message.Message):
    __slots__ = ("job_id", "attempt", "lease_id", "fence")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    lease_id: str
    fence: int
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., lease_id: _Optional[str] = ..., fence: _Optional[int] = ...) -> None: ...

class LeaseReport(_message.Message):
    __slots__ = ("lease", "phase")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    phase: Phase
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., phase: _Optional[_Union[Phase, str]] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("lease", "type", "reason")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    type: ErrorType
    reason: str
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., type: _Optional[_Union[ErrorType, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ArtifactRef(_message.Message):
    __slots__ = ("sha256", "size_bytes", "format")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    format: str
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., format: _Optional[str] = ...) -> None: ...

class CanarySpec(_message.Message):
    __slots__ = ("model", "baseline_us", "output_digest", "tolerance")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BASELINE_US_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    model: ArtifactRef
    baseline_us: float
    output_digest: str
    tolerance: float
    def __init__(self, model: _Optional[_Union[ArtifactRef, _Mapping]] = ..., baseline_us: _Optional[float] = ..., output_digest: _Optional[str] = ..., tolerance: _Optional[float] = ...) -> None: ...

class MeasureJob(_message.Message):
    __slots__ = ("model", "profile", "dtype", "batch", "num_threads", "core_mask", "canary", "input_seed", "cpu_operators", "input_ranges", "layer_times")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    NUM_THREADS_FIELD_NUMBER: _ClassVar[int]
    CORE_MASK_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    INPUT_SEED_FIELD_NUMBER: _ClassVar[int]
    CPU_OPERATORS_FIELD_NUMBER: _ClassVar[int]
    INPUT_RANGES_FIELD_NUMBER: _ClassVar[int]
    LAYER_TIMES_FIELD_NUMBER: _ClassVar[int]
    model: ArtifactRef
    profile: str
    dtype: _measurement_pb2.Dtype
    batch: int
    num_threads: int
    core_mask: str
    canary: CanarySpec
    input_seed: int
    cpu_operators: _containers.RepeatedScalarFieldContainer[str]
    input_ranges: _containers.RepeatedCompositeFieldContainer[InputRange]
    layer_times: bool
    def __init__(self, model: _Optional[_Union[ArtifactRef, _Mapping]] = ..., profile: _Optional[str] = ..., dtype: _Optional[_Union[_measurement_pb2.Dtype, str]] = ..., batch: _Optional[int] = ..., num_threads: _Optional[int] = ..., core_mask: _Optional[str] = ..., canary: _Optional[_Union[CanarySpec, _Mapping]] = ..., input_seed: _Optional[int] = ..., cpu_operators: _Optional[_Iterable[str]] = ..., input_ranges: _Optional[_Iterable[_Union[InputRange, _Mapping]]] = ..., layer_times: _Optional[bool] = ...) -> None: ...

class InputRange(_message.Message):
    __slots__ = ("input", "lowest", "highest")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LOWEST_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    input: str
    lowest: int
    highest: int
    def __init__(self, input: _Optional[str] = ..., lowest: _Optional[int] = ..., highest: _Optional[int] = ...) -> None: ...

class ClassifyJob(_message.Message):
    __slots__ = ("model", "images", "dtype", "batch", "num_threads", "core_mask", "num_images")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    NUM_THREADS_FIELD_NUMBER: _ClassVar[int]
    CORE_MASK_FIELD_NUMBER: _ClassVar[int]
    NUM_IMAGES_FIELD_NUMBER: _ClassVar[int]
    model: ArtifactRef
    images: ArtifactRef
    dtype: _measurement_pb2.Dtype
    batch: int
    num_threads: int
    core_mask: str
    num_images: int
    def __init__(self, model: _Optional[_Union[ArtifactRef, _Mapping]] = ..., images: _Optional[_Union[ArtifactRef, _Mapping]] = ..., dtype: _Optional[_Union[_measurement_pb2.Dtype, str]] = ..., batch: _Optional[int] = ..., num_threads: _Optional[int] = ..., core_mask: _Optional[str] = ..., num_images: _Optional[int] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("lease", "ttl_s", "timeout_s", "measure", "classify")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    CLASSIFY_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    ttl_s: float
    timeout_s: float
    measure: MeasureJob
    classify: ClassifyJob
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., ttl_s: _Optional[float] = ..., timeout_s: _Optional[float] = ..., measure: _Optional[_Union[MeasureJob, _Mapping]] = ..., classify: _Optional[_Union[ClassifyJob, _Mapping]] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("agent", "capabilities", "labels", "free_slots", "running", "nacks", "num_spooled_results", "draining", "leaving", "wait_s", "cached_sha256", "health")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FREE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    NUM_SPOOLED_RESULTS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    CACHED_SHA256_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    agent: AgentIdentity
    capabilities: Capabilities
    labels: _containers.ScalarMap[str, str]
    free_slots: int
    running: _containers.RepeatedCompositeFieldContainer[LeaseReport]
    nacks: _containers.RepeatedCompositeFieldContainer[Nack]
    num_spooled_results: int
    draining: bool
    leaving: bool
    wait_s: float
    cached_sha256: _containers.RepeatedScalarFieldContainer[str]
    health: AgentHealth
    def __init__(self, agent: _Optional[_Union[AgentIdentity, _Mapping]] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., free_slots: _Optional[int] = ..., running: _Optional[_Iterable[_Union[LeaseReport, _Mapping]]] = ..., nacks: _Optional[_Iterable[_Union[Nack, _Mapping]]] = ..., num_spooled_results: _Optional[int] = ..., draining: _Optional[bool] = ..., leaving: _Optional[bool] = ..., wait_s: _Optional[float] = ..., cached_sha256: _Optional[_Iterable[str]] = ..., health: _Optional[_Union[AgentHealth, _Mapping]] = ...) -> None: ...

class AgentHealth(_message.Message):
    __slots__ = ("degraded", "reason", "canary_ratio")
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CANARY_RATIO_FIELD_NUMBER: _ClassVar[int]
    degraded: bool
    reason: str
    canary_ratio: float
    def __init__(self, degraded: _Optional[bool] = ..., reason: _Optional[str] = ..., canary_ratio: _Optional[float] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("protocol", "session", "assignments", "verdicts", "next_sync_s", "renew_every_s", "message", "server_time_unix_ms")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SYNC_S_FIELD_NUMBER: _ClassVar[int]
    RENEW_EVERY_S_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    session: SessionState
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    verdicts: _containers.RepeatedCompositeFieldContainer[LeaseVerdict]
    next_sync_s: float
    renew_every_s: float
    message: str
    server_time_unix_ms: int
    def __init__(self, protocol: _Optional[int] = ..., session: _Optional[_Union[SessionState, str]] = ..., assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., verdicts: _Optional[_Iterable[_Union[LeaseVerdict, _Mapping]]] = ..., next_sync_s: _Optional[float] = ..., renew_every_s: _Optional[float] = ..., message: _Optional[str] = ..., server_time_unix_ms: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("agent", "running")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    agent: AgentIdentity
    running: _containers.RepeatedCompositeFieldContainer[LeaseReport]
    def __init__(self, agent: _Optional[_Union[AgentIdentity, _Mapping]] = ..., running: _Optional[_Iterable[_Union[LeaseReport, _Mapping]]] = ...) -> None: ...

class LeaseVerdict(_message.Message):
    __slots__ = ("lease_id", "order", "ttl_s", "reason")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    order: LeaseOrder
    ttl_s: float
    reason: str
    def __init__(self, lease_id: _Optional[str] = ..., order: _Optional[_Union[LeaseOrder, str]] = ..., ttl_s: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("verdicts",)
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[LeaseVerdict]
    def __init__(self, verdicts: _Optional[_Iterable[_Union[LeaseVerdict, _Mapping]]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("type", "message", "phase", "environment_json", "canary")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    type: ErrorType
    message: str
    phase: Phase
    environment_json: str
    canary: _measurement_pb2.CanaryReading
    def __init__(self, type: _Optional[_Union[ErrorType, str]] = ..., message: _Optional[str] = ..., phase: _Optional[_Union[Phase, str]] = ..., environment_json: _Optional[str] = ..., canary: _Optional[_Union[_measurement_pb2.CanaryReading, _Mapping]] = ...) -> None: ...

class ResultEnvelope(_message.Message):
    __slots__ = ("lease", "measurement", "failure", "classification", "fetch_s", "device_s", "total_s")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    FETCH_S_FIELD_NUMBER: _ClassVar[int]
    DEVICE_S_FIELD_NUMBER: _ClassVar[int]
    TOTAL_S_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    measurement: _measurement_pb2.Measurement
    failure: Failure
    classification: _measurement_pb2.Classification
    fetch_s: float
    device_s: float
    total_s: float
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., measurement: _Optional[_Union[_measurement_pb2.Measurement, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., classification: _Optional[_Union[_measurement_pb2.Classification, _Mapping]] = ..., fetch_s: _Optional[float] = ..., device_s: _Optional[float] = ..., total_s: _Optional[float] = ...) -> None: ...

class PutResultRequest(_message.Message):
    __slots__ = ("agent", "envelope", "envelope_sha256")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_SHA256_FIELD_NUMBER: _ClassVar[int]
    agent: AgentIdentity
    envelope: bytes
    envelope_sha256: str
    def __init__(self, agent: _Optional[_Union[AgentIdentity, _Mapping]] = ..., envelope: _Optional[bytes] = ..., envelope_sha256: _Optional[str] = ...) -> None: ...

class PutResultResponse(_message.Message):
    __slots__ = ("status", "reason")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    status: ResultStatus
    reason: str
    def __init__(self, status: _Optional[_Union[ResultStatus, str]] = ..., reason: _Optional[str] = ...) -> None: ...
