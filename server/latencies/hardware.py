"""Which hardware keys the devices of a type offer now, for what a question asks of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from nas_engine.domain.measuring.environment import Dtype
from server.artifacts.artifact import ModelFormat
from server.fleet.device import Device, DeviceState, HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.enrolment.trust import TRUST
from server.fleet.selection import format_for, profile_of
from server.latencies.question import AskedDevice

DTYPES = (Dtype.FP32, Dtype.FP16, Dtype.W8A8)
"""In the order they are taken in where a question names none."""


def device_spec(asked: AskedDevice, dtype: Dtype) -> DeviceSpec:
    """The same as searches and tables say it."""
    return DeviceSpec(
        device_type=asked.device_type,
        runtime=asked.runtime,
        core_mask=asked.core_mask,
        dtype=dtype,
        batch=asked.batch or 1,
        clocks_profile=asked.clocks_profile,
    )


def offered(asked: AskedDevice, devices: Sequence[Device]) -> Mapping[str, HardwareProfile]:
    """The hardware profiles that devices of the type measure networks under now, by key. That of a new measurement
    comes first. Boards come before emulators and these before simulators, then what most devices offer.

    A runtime that is given networks as fp32 ONNX offers fp32 alone, and 8-bit integers need images that calibrate
    them: what could not be measured of an architecture is not offered.
    """
    profiles: dict[str, HardwareProfile] = {}
    weights: Counter[str] = Counter()
    for dtype in DTYPES if asked.dtype is None else (asked.dtype,):
        spec = device_spec(asked, dtype)
        for device in devices:
            profile = profile_of(device, spec)
            if profile is None or not _runs(profile):
                continue
            digest = profile.hardware_key  # computed anew each time
            if asked.hardware_key in (None, digest):
                profiles[digest] = profile
                weights[digest] += 1000 if device.state is DeviceState.ACTIVE else 1

    def rank(pair: tuple[str, HardwareProfile]) -> tuple[int, int, int, str]:
        digest, profile = pair
        trust = -TRUST.index(profile.key.identity.device_class)
        return trust, DTYPES.index(profile.key.dtype), -weights[digest], digest

    return dict(sorted(profiles.items(), key=rank))


def _runs(profile: HardwareProfile) -> bool:
    if format_for(profile.key.identity.runtime) is ModelFormat.ONNX:
        return profile.key.dtype is Dtype.FP32
    return profile.key.dtype is not Dtype.W8A8
