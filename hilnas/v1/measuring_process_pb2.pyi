from hilnas.v1 import control_pb2 as _control_pb2
from hilnas.v1 import measurement_pb2 as _measurement_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProcessRequest(_message.Message):
    __slots__ = ("model_path", "canary_path", "images_path", "measure", "classify")
    MODEL_PATH_FIELD_NUMBER: _ClassVar[int]
    CANARY_PATH_FIELD_NUMBER: _ClassVar[int]
    IMAGES_PATH_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    CLASSIFY_FIELD_NUMBER: _ClassVar[int]
    model_path: bytes
    canary_path: bytes
    images_path: bytes
    measure: _control_pb2.MeasureJob
    classify: _control_pb2.ClassifyJob
    def __init__(self, model_path: _Optional[bytes] = ..., canary_path: _Optional[bytes] = ..., images_path: _Optional[bytes] = ..., measure: _Optional[_Union[_control_pb2.MeasureJob, _Mapping]] = ..., classify: _Optional[_Union[_control_pb2.ClassifyJob, _Mapping]] = ...) -> None: ...

class ProcessEvent(_message.Message):
    __slots__ = ("ready", "unavailable", "phase", "measurement", "classification", "failure", "timed")
    READY_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    TIMED_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    unavailable: str
    phase: _control_pb2.Phase
    measurement: _measurement_pb2.Measurement
    classification: _measurement_pb2.Classification
    failure: _control_pb2.Failure
    timed: _measurement_pb2.Measurement
    def __init__(self, ready: _Optional[bool] = ..., unavailable: _Optional[str] = ..., phase: _Optional[_Union[_control_pb2.Phase, str]] = ..., measurement: _Optional[_Union[_measurement_pb2.Measurement, _Mapping]] = ..., classification: _Optional[_Union[_measurement_pb2.Classification, _Mapping]] = ..., failure: _Optional[_Union[_control_pb2.Failure, _Mapping]] = ..., timed: _Optional[_Union[_measurement_pb2.Measurement, _Mapping]] = ...) -> None: ...
