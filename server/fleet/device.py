"""Devices: what they are, what they can do, and the hardware profile a measurement job asks of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, Dtype, HardwareKey
from server.access.principal import Principal
from server.core.errors import InvalidValueError
from server.fleet.sharing.rules import UseRules


class ClassSource(Enum):
    """Who says of which class a device is."""

    DECLARED = "declared"  # the device alone: it enrolled with the first release, whose tokens named no class
    ENROLLED = "enrolled"  # the token that let it in, which an admin made for that class
    CONFIRMED = "confirmed"  # an admin, of this very device


class DeviceState(Enum):
    """What a device may be given; whether it is reachable follows from when it was last seen."""

    ACTIVE = "active"
    DRAINING = "draining"  # finishes what it has, gets nothing new
    DEGRADED = "degraded"  # its canary is off; gets nothing until it is well again
    QUARANTINED = "quarantined"  # failed too often, or seems cloned; an engineer must resume it
    RETIRED = "retired"

    @property
    def takes_jobs(self) -> bool:
        """Whether a device in this state is given new jobs."""
        return self is DeviceState.ACTIVE


DEVICE_TRANSITIONS: Mapping[DeviceState, frozenset[DeviceState]] = {
    DeviceState.ACTIVE: frozenset(
        {DeviceState.DRAINING, DeviceState.DEGRADED, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.DRAINING: frozenset(
        {DeviceState.ACTIVE, DeviceState.DEGRADED, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.DEGRADED: frozenset(
        {DeviceState.ACTIVE, DeviceState.DRAINING, DeviceState.QUARANTINED, DeviceState.RETIRED}
    ),
    DeviceState.QUARANTINED: frozenset({DeviceState.ACTIVE, DeviceState.RETIRED}),
    DeviceState.RETIRED: frozenset(),
}


MAX_TEXT_LENGTH = 200


MAX_LABELS = 64


CLASSIFY_FEATURE = "classify"
"""Feature of agents that execute models on given images."""


LAYERS_FEATURE = "layers"
"""Feature of agents whose runtime has a profiler that times each layer."""


LOOK_AHEAD_FEATURE = "look-ahead"
"""Feature of agents that hold their next job while one runs; see docs/reference/agent_protocol.md."""


KNOWN_DEVICE_FEATURE = "known-device"
"""Feature of agents that say at enrolment which device they are; those of earlier releases are known by name alone."""


def pool_key(identity: DeviceIdentity, dtype: Dtype) -> str:
    """sha256 (hex) of a hardware key with the batch left out: what a device offers and a measuring job asks for."""
    document = HardwareKey(identity=identity, dtype=dtype).to_json()
    assert isinstance(document, Mapping)
    return hashlib.sha256(canonical_json({k: v for k, v in document.items() if k != "batch"}).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeDescription:
    """A device's runtime as its agent declares it; the wire's RuntimeDescription.

    Attributes:
        title: one line for people.
        package, version: installed on the device; `hilnas` for what ships with the agent.
        settings_schema_json: text of the JSON schema of what the agent's `--runtime-settings` takes.
    """

    title: str
    package: str
    version: str
    settings_schema_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCapabilities:
    """What a device says it can do; the wire's Capabilities.

    Attributes:
        identity: its part of the hardware key, with its default core mask.
        dtypes: arithmetic its runtime can do.
        model_formats: `onnx`, `rknn`, `rknn-cycles`.
        core_masks: further masks that passed its probe.
        features: optional parts of the protocol it knows.
        runtime: as its agent declares it; None of agents of earlier releases.
    """

    identity: DeviceIdentity
    dtypes: tuple[Dtype, ...] = (Dtype.FP32,)
    model_formats: tuple[str, ...] = ("onnx",)
    core_masks: tuple[str, ...] = ()
    max_model_bytes: int = 0
    memory_bytes: int = 0
    num_cpus: int = 0
    can_pin_clocks: bool = False
    has_npu_time: bool = False
    has_npu_load: bool = False
    timer_resolution_ns: int = 0
    features: tuple[str, ...] = ()
    runtime: RuntimeDescription | None = None

    def identities(self) -> tuple[DeviceIdentity, ...]:
        """Every identity it can take on, its default core mask first."""
        masks = dict.fromkeys((self.identity.core_mask, *self.core_masks))
        return tuple(replace(self.identity, core_mask=mask) for mask in masks)

    def pool_keys(self) -> frozenset[str]:
        """Everything it offers: one key per core mask and dtype."""
        return frozenset(pool_key(identity, dtype) for identity in self.identities() for dtype in self.dtypes)

    def to_json(self) -> dict[str, JsonValue]:
        """As a JSON document."""
        identity = self.identity
        return {
            "identity": {
                "board_model": identity.board_model,
                "device_class": identity.device_class.value,
                "runtime": identity.runtime,
                "runtime_versions": dict(identity.runtime_versions),
                "clocks_profile": identity.clocks_profile,
                "core_mask": identity.core_mask,
            },
            "dtypes": [dtype.value for dtype in self.dtypes],
            "model_formats": list(self.model_formats),
            "core_masks": list(self.core_masks),
            "max_model_bytes": self.max_model_bytes,
            "memory_bytes": self.memory_bytes,
            "num_cpus": self.num_cpus,
            "can_pin_clocks": self.can_pin_clocks,
            "has_npu_time": self.has_npu_time,
            "has_npu_load": self.has_npu_load,
            "timer_resolution_ns": self.timer_resolution_ns,
            "features": list(self.features),
            **({} if self.runtime is None else {"runtime": asdict(self.runtime)}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> DeviceCapabilities:
        """The inverse of `to_json`."""
        identity = document["identity"]
        values = {**document, "dtypes": [Dtype(dtype) for dtype in document["dtypes"]]}
        for name in ("dtypes", "model_formats", "core_masks", "features"):
            values[name] = tuple(values[name])
        versions = tuple(sorted(identity["runtime_versions"].items()))
        device_class = DeviceClass(identity["device_class"])
        values["identity"] = DeviceIdentity(**{**identity, "runtime_versions": versions, "device_class": device_class})
        if "runtime" in document:
            values["runtime"] = RuntimeDescription(**document["runtime"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareProfile:
    """A hardware key with its digests, stored once."""

    key: HardwareKey

    @property
    def hardware_key(self) -> str:
        """Digest measurements are filed under."""
        return self.key.digest

    @property
    def pool_key(self) -> str:
        """Digest devices offer; the hardware key without the batch."""
        return pool_key(self.key.identity, self.key.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One enrolled device.

    Attributes:
        id: ``dev_...``.
        name: unique, e.g. ``bench-3``.
        device_type: what searches select by, e.g. ``rk3588``.
        credential_sha256: hex digest of its credential.
        capabilities: as its agent reported them, in the class that is believed of it.
        class_limit: the most that its numbers may count as: set by an admin, lowered by what its agent says.
        class_source: who set that limit.
        class_reason: why it counts for less than was said; empty where it does not.
        enrolment_token_id: what let it in last; None for one that the first release let in.
        identity_since: since when it runs as what it is: a canary from before says nothing about it.
        state, reason: what it may be given, and why.
        boot_id, instance_epoch: who speaks for it; a newer instance takes over.
        labels: the device's own; `admin_labels` are set by engineers and win.
        num_failures_in_a_row: jobs that blamed it since its last good result.
        last_seen_at: last authenticated call.
        left_at: when its agent said goodbye; None once it speaks again.
        reserved_by, reserved_until: a person has it until then; it gets no jobs meanwhile.
        last_canary_ratio: median over baseline of its last canary.
        owner: of the enrolment token it came with, unless an admin gave it to another; None where that was made
            without authentication.
        rules: how others than its owner may use it; None: as they like.
    """

    id: str
    name: str
    device_type: str
    credential_sha256: str
    capabilities: DeviceCapabilities
    class_limit: DeviceClass
    class_source: ClassSource
    class_reason: str = ""
    enrolment_token_id: str | None = None
    identity_since: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    admin_labels: Mapping[str, str] = field(default_factory=dict)
    state: DeviceState = DeviceState.ACTIVE
    reason: str = ""
    agent_version: str = ""
    boot_id: str = ""
    instance_epoch: int = 0
    num_failures_in_a_row: int = 0
    enrolled_at: datetime
    last_seen_at: datetime
    left_at: datetime | None = None
    reserved_by: str | None = None
    reserved_until: datetime | None = None
    last_canary_at: datetime | None = None
    last_canary_ratio: float | None = None
    version: int = 1
    owner: Principal | None = None
    rules: UseRules | None = None

    @property
    def device_class(self) -> DeviceClass:
        """Board, emulated or simulated."""
        return self.capabilities.identity.device_class

    @property
    def all_labels(self) -> Mapping[str, str]:
        """Its own labels and those of engineers, which win."""
        return {**self.labels, **self.admin_labels}

    def reserved(self, now: datetime) -> bool:
        """Whether a person has it now."""
        return self.reserved_until is not None and self.reserved_until > now

    def may_be_used_by(self, owner: Principal | None) -> bool:
        """Whether its rules let it do work of an owner at some time; None for work of nobody's."""
        own = owner is not None and self.owner is not None and owner.id == self.owner.id
        return own or self.rules is None or self.rules.names(owner)

    def online(self, now: datetime, timeout: timedelta) -> bool:
        """Whether it was heard of within `timeout`, and has not said goodbye since.

        Seen in the future, it was so before the clock was set back: if it lives it says so again within `timeout`.
        """
        return self.left_at is None and abs(now - self.last_seen_at) <= timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuery:
    """Which devices to list; None and () do not filter. By name."""

    device_type: str | None = None
    states: tuple[DeviceState, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a device says when it enrols.

    Attributes:
        device_id: of the device that its state directory, or its operator, says it is; empty for a new one.
    """

    name: str
    device_type: str
    capabilities: DeviceCapabilities
    labels: Mapping[str, str] = field(default_factory=dict)
    agent_version: str = ""
    boot_id: str = ""
    instance_epoch: int = 0
    device_id: str = ""

    def __post_init__(self) -> None:
        check_device_text("name", self.name)
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", self.device_type) is None:
            raise InvalidValueError(
                f"device type {self.device_type[:120]!r}: use letters, digits, '_', '.' and '-', at most 100"
            )
        check_labels(self.labels)


def check_device_text(what: str, text: str) -> None:
    """Refuse text that cannot be shown on one line or stored.

    Raises:
        InvalidValueError: empty, longer than 200 characters, or with control characters.
    """
    if not 1 <= len(text) <= MAX_TEXT_LENGTH or not text.isprintable():
        raise InvalidValueError(f"device {what} {text[:220]!r}: use 1 to {MAX_TEXT_LENGTH} printable characters")


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that cannot be stored or shown.

    Raises:
        InvalidValueError: too many, too long, or with control characters.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidValueError(f"{len(labels)} labels: at most {MAX_LABELS} are taken")
    for name, value in labels.items():
        check_device_text("label", name)
        if len(value) > MAX_TEXT_LENGTH or not value.isprintable():
            raise InvalidValueError(f"label {name!r} is {value[:220]!r}: use at most {MAX_TEXT_LENGTH} characters")
