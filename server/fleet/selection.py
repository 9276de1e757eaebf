"""Which devices fit what is asked for: device specs, hardware profiles, model formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from nas_engine.domain.measurement import Dtype, HardwareKey
from nas_engine.domain.text import did_you_mean
from server.access.principal import Principal
from server.artifacts.artifact import ModelFormat
from server.core.database.transaction import Transaction
from server.core.errors import SpecViolation
from server.fleet.device import CLASSIFY_FEATURE, Device, DeviceState, HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.enrolment.trust import TRUST
from server.fleet.sharing.sharing import refusal_of
from server.fleet.store import DeviceStore


def format_for(runtime: str) -> ModelFormat:
    """The model file an inference engine reads."""
    match runtime:
        case "rknnlite":
            return ModelFormat.RKNN
        case "rk3588-sim":
            return ModelFormat.RKNN_CYCLES
        case _:
            return ModelFormat.ONNX


CONVERTER_LABEL = "converter"
"""Label of workers that can make files other than ONNX; its value names the converter."""


def converter_labels(format: ModelFormat) -> dict[str, str]:
    """What a worker must carry to make a file of this format."""
    return {} if format is ModelFormat.ONNX else {CONVERTER_LABEL: "rknn"}


def none_classifies(profile: HardwareProfile, devices: Sequence[Device], pointer: str) -> list[SpecViolation]:
    """Why no device of a profile classifies images; empty where one does."""
    offering = [d.capabilities for d in devices if profile.pool_key in d.capabilities.pool_keys()]
    if any(CLASSIFY_FEATURE in capabilities.features for capabilities in offering):
        return []
    message = (
        f"no device with runtime {profile.key.identity.runtime} classifies images: simulated ones execute nothing, and "
        "older agents do not know how; use a board, or upgrade its agent"
    )
    return [SpecViolation(pointer, message)]


def no_compiler(device: DeviceSpec, runtime: str) -> list[SpecViolation]:
    """What is asked of an NPU compiler where the device runs ONNX as it is."""
    if not device.npu_only:
        return []
    return [SpecViolation("/device/npu_only", f"runtime {runtime} has no NPU compiler: leave npu_only out")]


def profile_of(device: Device, wanted: DeviceSpec) -> HardwareProfile | None:
    """The hardware profile under which a device would measure for a spec; None where it does not fit."""
    identity = device.capabilities.identity
    fits = (
        all(device.all_labels.get(name) == value for name, value in wanted.labels.items())
        and wanted.runtime in (None, identity.runtime)
        and wanted.clocks_profile in (None, identity.clocks_profile)
        and wanted.dtype in device.capabilities.dtypes
    )
    masks = {option.core_mask for option in device.capabilities.identities()}
    core_mask = identity.core_mask if wanted.core_mask is None else wanted.core_mask
    if not fits or core_mask not in masks:
        return None
    key = HardwareKey(identity=replace(identity, core_mask=core_mask), dtype=wanted.dtype, batch=wanted.batch)
    return HardwareProfile(key=key)


def most_common_profile(tx: Transaction, wanted: DeviceSpec, owner: Principal | None) -> HardwareProfile | None:
    """The hardware profile of most devices that fit and may be used for an owner, working ones first; None where none
    does. Those of the most trusted class come before all others: emulators never stand for the boards of their type.
    """
    keys: Counter[str] = Counter()
    profiles: dict[str, HardwareProfile] = {}
    for device in DeviceStore(tx).devices_of_type(wanted.device_type):
        profile = profile_of(device, wanted) if device.may_be_used_by(owner) else None
        if profile is not None:
            # A quarantined device still says what hardware there is, but weighs less than one that works.
            keys[profile.hardware_key] += 1000 if device.state is DeviceState.ACTIVE else 1
            profiles[profile.hardware_key] = profile

    def rank(key: str) -> tuple[int, int, str]:
        return -TRUST.index(profiles[key].key.identity.device_class), -keys[key], key

    return profiles[min(keys, key=rank)] if keys else None


def relabelled(wanted: DeviceSpec, runtime: str) -> list[SpecViolation]:
    """What is asked of a runtime that is given networks as fp32 ONNX, and which it does not do."""
    found = no_compiler(wanted, runtime)
    if wanted.dtype is not Dtype.FP32:
        message = (
            f"runtime {runtime} is given networks as fp32 ONNX, {wanted.dtype} would be a label only: make it fp32"
        )
        found.append(SpecViolation("/device/dtype", message))
    return found


def misfit(tx: Transaction, wanted: DeviceSpec, owner: Principal | None) -> SpecViolation:
    """The first requirement that no registered device meets, with what there is; or that those which meet all of them
    are closed to an owner.
    """
    devices = DeviceStore(tx).devices_of_type(wanted.device_type)
    fitting = [device for device in devices if profile_of(device, wanted) is not None]
    if closed := refusal_of(fitting, owner, wanted.device_type):
        return SpecViolation("/device", closed)
    if not devices:
        types = sorted(DeviceStore(tx).count_devices_by_type())
        registered = ", ".join(types) or "none yet: run `hilnas agent` on a board"
        near = did_you_mean(wanted.device_type, types)
        message = f"no device of type {wanted.device_type!r} ever registered; registered types: {registered}{near}"
        return SpecViolation("/device/device_type", message)
    checks: tuple[tuple[str, str | None, set[str]], ...] = (
        ("runtime", wanted.runtime, {d.capabilities.identity.runtime for d in devices}),
        ("dtype", wanted.dtype, {dtype.value for d in devices for dtype in d.capabilities.dtypes}),
        ("clocks_profile", wanted.clocks_profile, {d.capabilities.identity.clocks_profile for d in devices}),
        ("core_mask", wanted.core_mask, {i.core_mask for d in devices for i in d.capabilities.identities()}),
    )
    for name, asked, offered in checks:
        if asked is not None and asked not in offered:
            message = f"no device of type {wanted.device_type!r} offers {name} {asked!r}; offered: "
            return SpecViolation(f"/device/{name}", message + ", ".join(sorted(offered)))
    labels = [dict(d.all_labels) for d in devices]
    if wanted.labels and not any(wanted.labels.items() <= held.items() for held in labels):
        message = f"no device of type {wanted.device_type!r} carries labels {dict(wanted.labels)}; they carry: {labels}"
        return SpecViolation("/device/labels", message)
    return SpecViolation("/device", f"no single device of type {wanted.device_type!r} meets all requirements together")
