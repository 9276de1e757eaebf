from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_CLASS_UNSPECIFIED: _ClassVar[DeviceClass]
    DEVICE_CLASS_BOARD: _ClassVar[DeviceClass]
    DEVICE_CLASS_EMULATED: _ClassVar[DeviceClass]
    DEVICE_CLASS_SIMULATED: _ClassVar[DeviceClass]

class Dtype(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[Dtype]
    DTYPE_FP32: _ClassVar[Dtype]
    DTYPE_FP16: _ClassVar[Dtype]
    DTYPE_W8A8: _ClassVar[Dtype]

class Validity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VALIDITY_UNSPECIFIED: _ClassVar[Validity]
    VALIDITY_VALID: _ClassVar[Validity]
    VALIDITY_NOISY: _ClassVar[Validity]
    VALIDITY_DRIFT: _ClassVar[Validity]
    VALIDITY_THROTTLED: _ClassVar[Validity]
    VALIDITY_UNPINNED: _ClassVar[Validity]
    VALIDITY_INTERFERED: _ClassVar[Validity]
    VALIDITY_DEGRADED_DEVICE: _ClassVar[Validity]
    VALIDITY_CPU_FALLBACK: _ClassVar[Validity]
    VALIDITY_PARTIAL: _ClassVar[Validity]
DEVICE_CLASS_UNSPECIFIED: DeviceClass
DEVICE_CLASS_BOARD: DeviceClass
DEVICE_CLASS_EMULATED: DeviceClass
DEVICE_CLASS_SIMULATED: DeviceClass
DTYPE_UNSPECIFIED: Dtype
DTYPE_FP32: Dtype
DTYPE_FP16: Dtype
DTYPE_W8A8: Dtype
VALIDITY_UNSPECIFIED: Validity
VALIDITY_VALID: Validity
VALIDITY_NOISY: Validity
VALIDITY_DRIFT: Validity
VALIDITY_THROTTLED: Validity
VALIDITY_UNPINNED: Validity
VALIDITY_INTERFERED: Validity
VALIDITY_DEGRADED_DEVICE: Validity
VALIDITY_CPU_FALLBACK: Validity
VALIDITY_PARTIAL: Validity

class ValidityFlag(_message.Message):
    __slots__ = ("validity", "reason")
    VALIDITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    validity: Validity
    reason: str
    def __init__(self, validity: _Optional[_Union[Validity, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class ComponentVersion(_message.Message):
    __slots__ = ("component", "version")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    component: str
    version: str
    def __init__(self, component: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class DeviceIdentity(_message.Message):
    __slots__ = ("board_model", "device_class", "runtime", "runtime_versions", "clocks_profile", "core_mask")
    BOARD_MODEL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    CLOCKS_PROFILE_FIELD_NUMBER: _ClassVar[int]
    CORE_MASK_FIELD_NUMBER: _ClassVar[int]
    board_model: str
    device_class: DeviceClass
    runtime: str
    runtime_versions: _containers.RepeatedCompositeFieldContainer[ComponentVersion]
    clocks_profile: str
    core_mask: str
    def __init__(self, board_model: _Optional[str] = ..., device_class: _Optional[_Union[DeviceClass, str]] = ..., runtime: _Optional[str] = ..., runtime_versions: _Optional[_Iterable[_Union[ComponentVersion, _Mapping]]] = ..., clocks_profile: _Optional[str] = ..., core_mask: _Optional[str] = ...) -> None: ...

class CanaryReading(_message.Message):
    __slots__ = ("artifact_sha256", "median_us", "ratio", "output_digest")
    ARTIFACT_SHA256_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_US_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    artifact_sha256: str
    median_us: float
    ratio: float
    output_digest: str
    def __init__(self, artifact_sha256: _Optional[str] = ..., median_us: _Optional[float] = ..., ratio: _Optional[float] = ..., output_digest: _Optional[str] = ...) -> None: ...

class Measurement(_message.Message):
    __slots__ = ("identity", "dtype", "batch", "samples", "flags", "environment_json", "load_us", "init_us", "first_run_us", "canary_before", "canary_after", "npu_time_source", "output_digest", "layers")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    LOAD_US_FIELD_NUMBER: _ClassVar[int]
    INIT_US_FIELD_NUMBER: _ClassVar[int]
    FIRST_RUN_US_FIELD_NUMBER: _ClassVar[int]
    CANARY_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CANARY_AFTER_FIELD_NUMBER: _ClassVar[int]
    NPU_TIME_SOURCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    identity: DeviceIdentity
    dtype: Dtype
    batch: int
    samples: bytes
    flags: _containers.RepeatedCompositeFieldContainer[ValidityFlag]
    environment_json: str
    load_us: float
    init_us: float
    first_run_us: float
    canary_before: CanaryReading
    canary_after: CanaryReading
    npu_time_source: str
    output_digest: str
    layers: LayerProfile
    def __init__(self, identity: _Optional[_Union[DeviceIdentity, _Mapping]] = ..., dtype: _Optional[_Union[Dtype, str]] = ..., batch: _Optional[int] = ..., samples: _Optional[bytes] = ..., flags: _Optional[_Iterable[_Union[ValidityFlag, _Mapping]]] = ..., environment_json: _Optional[str] = ..., load_us: _Optional[float] = ..., init_us: _Optional[float] = ..., first_run_us: _Optional[float] = ..., canary_before: _Optional[_Union[CanaryReading, _Mapping]] = ..., canary_after: _Optional[_Union[CanaryReading, _Mapping]] = ..., npu_time_source: _Optional[str] = ..., output_digest: _Optional[str] = ..., layers: _Optional[_Union[LayerProfile, _Mapping]] = ...) -> None: ...

class ProfiledLayer(_message.Message):
    __slots__ = ("name", "operator")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    operator: str
    def __init__(self, name: _Optional[str] = ..., operator: _Optional[str] = ...) -> None: ...

class LayerProfile(_message.Message):
    __slots__ = ("source", "layers", "num_runs", "times")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    source: str
    layers: _containers.RepeatedCompositeFieldContainer[ProfiledLayer]
    num_runs: int
    times: bytes
    def __init__(self, source: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[ProfiledLayer, _Mapping]]] = ..., num_runs: _Optional[int] = ..., times: _Optional[bytes] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("identity", "dtype", "batch", "images_sha256", "num_images", "num_classes", "predictions", "environment_json")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    IMAGES_SHA256_FIELD_NUMBER: _ClassVar[int]
    NUM_IMAGES_FIELD_NUMBER: _ClassVar[int]
    NUM_CLASSES_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    identity: DeviceIdentity
    dtype: Dtype
    batch: int
    images_sha256: str
    num_images: int
    num_classes: int
    predictions: bytes
    environment_json: str
    def __init__(self, identity: _Optional[_Union[DeviceIdentity, _Mapping]] = ..., dtype: _Optional[_Union[Dtype, str]] = ..., batch: _Optional[int] = ..., images_sha256: _Optional[str] = ..., num_images: _Optional[int] = ..., num_classes: _Optional[int] = ..., predictions: _Optional[bytes] = ..., environment_json: _Optional[str] = ...) -> None: ...
