"""What no device can do: times below the timer's resolution, and more arithmetic than its silicon has.

The bounds are generous on purpose: a value below one of them is not a fast device, it is no measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.measuring.environment import DeviceClass
from nas_engine.domain.uncertainty import value_text

MARGIN = 10.0
"""A value is absurd when it claims this many times the peak rate."""

SHORTEST_CALL_US = 0.5
"""Least time of a call into an inference engine: an empty run of ONNX Runtime from Python takes about 5 us, `rknn_run`,
which goes through the kernel, more. Simulated devices make no call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakRate:
    """The highest rate of multiply-accumulates that a kind of device is published to reach.

    Attributes:
        device_class: of the devices.
        device_type: what the names of their types begin with; empty for any.
        macs_per_s: in its fastest arithmetic.
        source: where the figure is from.
    """

    device_class: DeviceClass
    device_type: str = ""
    macs_per_s: float
    source: str


PEAK_RATES = (
    PeakRate(
        device_class=DeviceClass.BOARD,
        device_type="rk3588",
        macs_per_s=3.0e12,
        source="Rockchip RK3588 brief: 6 TOPS in INT8 over three NPU cores, an operation being half a MAC",
    ),
    PeakRate(
        device_class=DeviceClass.BOARD,
        macs_per_s=1.4e14,
        source="NVIDIA Jetson AGX Orin data sheet: 275 sparse INT8 TOPS, the most that a board of this kind offers",
    ),
    PeakRate(
        device_class=DeviceClass.EMULATED,
        macs_per_s=1.0e13,
        source="64 cores x two 16-lane FMA units (AVX-512, fp32) x 4 GHz = 8.2e12",
    ),
)
"""The first that fits holds. Simulated devices have none: what they give is computed, and never mixed with the rest."""


def peak_rate(device_class: DeviceClass, device_type: str) -> PeakRate | None:
    """Look up the bound of a device; None where there is none."""
    kind = device_type.lower()
    return next((p for p in PEAK_RATES if p.device_class is device_class and kind.startswith(p.device_type)), None)


def absurdity(
    p50_us: float, *, device_class: DeviceClass, device_type: str, timer_resolution_ns: int, macs: int | None
) -> str:
    """Explain why a latency cannot be one; empty where it can.

    Args:
        timer_resolution_ns: of the clock it was taken with; 0 where it is not known.
        macs: multiply-accumulates of one inference of the whole batch; None where they are not known.
    """
    if device_class is DeviceClass.SIMULATED:
        return ""
    median = value_text(p50_us, "us")
    if p50_us * 1e3 < timer_resolution_ns:
        return f"a median of {median} is below the timer's resolution of {timer_resolution_ns} ns"
    if p50_us < SHORTEST_CALL_US:
        return f"a median of {median} is less than a call into an inference engine takes, {SHORTEST_CALL_US} us"
    peak = peak_rate(device_class, device_type)
    if peak is None or not macs:
        return ""
    least_us = macs / peak.macs_per_s / MARGIN * 1e6
    if p50_us >= least_us:
        return ""
    rate = value_text(peak.macs_per_s, digits=3)
    return (
        f"{value_text(macs)} MACs in {median} are more than {MARGIN:.0f} times the {rate} MAC/s of such a device "
        f"({peak.source})"
    )
