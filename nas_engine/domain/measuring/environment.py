"""Where a number was taken: the hardware key a measurement is filed under, and the state of the board at that moment.

The key says which results may be compared (equal keys only); the environment record says why one of them may be
strange. Nodes that a board does not offer are None: absent is never written as zero.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import JsonValue, canonical_json

PINNED_CLOCKS = "pinned-max"
"""The `clocks_profile` of a board on which every clock reads back as it was set."""


class DeviceClass(StrEnum):
    """What kind of number a device gives; numbers of different classes are never mixed."""

    BOARD = "board"
    EMULATED = "emulated"
    SIMULATED = "simulated"


class Dtype(StrEnum):
    """Arithmetic a model runs in on the device."""

    FP32 = "fp32"
    FP16 = "fp16"
    W8A8 = "w8a8"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """The part of a hardware key that the device itself knows.

    Attributes:
        board_model: as /proc/device-tree/model names it, or the host's processor for an emulator.
        device_class: board, emulated or simulated.
        runtime: inference engine: `rknnlite`, `onnxruntime`, `rk3588-sim`, `fake`.
        runtime_versions: (component, version) pairs, sorted by component.
        clocks_profile: name of the clock setting in force: `pinned-max`, `unpinned`, `simulated`.
        core_mask: cores the model runs on: an NPU mask ("0x1") or a CPU list ("cpu4-7", "any") with its threads.
    """

    board_model: str
    device_class: DeviceClass
    runtime: str
    runtime_versions: tuple[tuple[str, str], ...]
    clocks_profile: str
    core_mask: str

    def __post_init__(self) -> None:
        if not self.board_model or not self.runtime:
            raise InvalidMeasurementError("a device identity needs a board model and a runtime: one of them is empty")
        if list(self.runtime_versions) != sorted(set(self.runtime_versions)):
            raise InvalidMeasurementError(
                f"runtime versions {self.runtime_versions} are not sorted and unique: sort them by component"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareKey:
    """Everything that must be equal for two latencies to be comparable (research: board, engine, clocks, cores).

    Attributes:
        identity: the device's own part.
        dtype: arithmetic of the model.
        batch: images per inference.
    """

    identity: DeviceIdentity
    dtype: Dtype
    batch: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InvalidMeasurementError(f"batch of a hardware key is {self.batch}: it must be at least 1")

    def to_json(self) -> JsonValue:
        """The key as a JSON document; equal keys give equal documents."""
        identity = self.identity
        return {
            "board_model": identity.board_model,
            "device_class": identity.device_class.value,
            "runtime": identity.runtime,
            "runtime_versions": dict(identity.runtime_versions),
            "clocks_profile": identity.clocks_profile,
            "core_mask": identity.core_mask,
            "dtype": self.dtype.value,
            "batch": self.batch,
        }

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits: the `hardware_key` of the API."""
        return hashlib.sha256(canonical_json(self.to_json()).encode()).hexdigest()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> HardwareKey:
        """The inverse of `to_json`.

        Raises:
            InvalidMeasurementError: a part is missing or is not what it should be.
        """
        try:
            identity = DeviceIdentity(
                board_model=str(document["board_model"]),
                device_class=DeviceClass(document["device_class"]),
                runtime=str(document["runtime"]),
                runtime_versions=tuple(sorted((str(k), str(v)) for k, v in document["runtime_versions"].items())),
                clocks_profile=str(document["clocks_profile"]),
                core_mask=str(document["core_mask"]),
            )
            return cls(identity=identity, dtype=Dtype(document["dtype"]), batch=int(document["batch"]))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InvalidMeasurementError(f"not a hardware key: {error!r} in {document!r}") from error


def without_identity(document: JsonValue) -> JsonValue:
    """An environment record as it is kept and shown: without the boot id, which is part of who a device is."""
    return {**document, "boot_id": None} if isinstance(document, Mapping) and "boot_id" in document else document


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """One clock domain: what was asked for and what the board reads back.

    Attributes:
        name: `cpu-policy0`, `npu`, `dmc` (the memory).
        governor: frequency governor in force.
        requested_khz: what the agent wrote; None where it pins nothing.
        effective_khz: what the node reads.
        available_khz: operating points the board offers.
    """

    name: str
    governor: str | None = None
    requested_khz: int | None = None
    effective_khz: int | None = None
    available_khz: tuple[int, ...] = ()

    def pinned(self, tolerance: float) -> bool | None:
        """Whether the clock stands at what was requested, within `tolerance` (a fraction); None when unknown."""
        if self.requested_khz is None or self.effective_khz is None:
            return None
        return self.effective_khz >= self.requested_khz * (1.0 - tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalReading:
    """One thermal zone over a measurement, in degrees Celsius."""

    zone: str
    start_c: float | None = None
    max_c: float | None = None
    end_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """The state of a device around one measurement; attached to every result.

    Units are in the names. `wall_clock_start` is ISO 8601 and only for people: durations come from the monotonic
    clock of the device, and clocks of two machines are never subtracted. `layers_trouble` says why layers were not
    timed, where that was asked for and the runtime has a profiler.
    """

    agent_version: str
    protocol_version: int
    board_model: str | None = None
    serial_hash: str | None = None
    kernel: str | None = None
    python: str | None = None
    runtime_versions: tuple[tuple[str, str], ...] = ()
    clocks: tuple[ClockReading, ...] = ()
    thermal: tuple[ThermalReading, ...] = ()
    npu_load_percent: tuple[int, ...] | None = None
    load_average_1m: float | None = None
    uptime_s: float | None = None
    memory_available_bytes: int | None = None
    container: bool | None = None
    cgroup_cpu_limit: float | None = None
    cgroup_num_throttled: int | None = None
    cpu_affinity: tuple[int, ...] = ()
    core_mask: str | None = None
    timer_resolution_ns: int | None = None
    ambient_label: str | None = None
    boot_id: str | None = None
    wall_clock_start: str | None = None
    monotonic_start_ns: int | None = None
    monotonic_end_ns: int | None = None
    layers_trouble: str | None = None

    def to_json(self) -> JsonValue:
        """A JSON document with one entry per field; None where the device could not tell.

        Raises:
            InvalidMeasurementError: a reading is not finite.
        """
        # Field by field: `asdict` copies every number by itself, and each result of each board comes this way.
        document: dict[str, Any] = {name: getattr(self, name) for name in _names(EnvironmentRecord)}
        document["runtime_versions"] = [list(pair) for pair in self.runtime_versions]
        for name in ("clocks", "thermal"):
            readings: tuple[Any, ...] = document[name]
            document[name] = tuple({part: getattr(one, part) for part in _names(one.__class__)} for one in readings)
        for value in (self.load_average_1m, self.uptime_s, self.cgroup_cpu_limit):
            if value is not None and not math.isfinite(value):
                raise InvalidMeasurementError(f"environment record holds {value}: write None where nothing is known")
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EnvironmentRecord:
        """The inverse of `to_json`; fields that are absent keep their default, unknown ones are ignored.

        Raises:
            InvalidMeasurementError: a required field is missing or has the wrong shape.
        """
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in document.items() if name in known}
        try:
            values["clocks"] = tuple(
                ClockReading(**{**c, "available_khz": tuple(c.get("available_khz", ()))})
                for c in values.get("clocks", ())
            )
            values["thermal"] = tuple(ThermalReading(**t) for t in values.get("thermal", ()))
            values["runtime_versions"] = tuple((str(n), str(v)) for n, v in values.get("runtime_versions", ()))
            values["cpu_affinity"] = tuple(values.get("cpu_affinity", ()))
            load = values.get("npu_load_percent")
            values["npu_load_percent"] = None if load is None else tuple(load)
            record = cls(**values)
            _check_types(record)
            return record
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidMeasurementError(f"not an environment record: {error}") from error


def _check_types(record: Any) -> None:
    """Refuse a record whose fields hold anything but what they are declared as.

    Raises:
        InvalidMeasurementError: one does, or a number is not finite.
    """
    for name, hint in _hints(record.__class__).items():
        value = getattr(record, name)
        if not _conforms(value, hint):
            raise InvalidMeasurementError(f"not an environment record: {name} is {str(value)[:100]!r}, expected {hint}")


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _conforms(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return any(_conforms(value, one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_conforms(one, arguments[0]) for one in value)
        return len(value) == len(arguments) and all(map(_conforms, value, arguments))
    if is_dataclass(hint):
        _check_types(value)
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
