"""The golden model: a known answer at a known speed, run before and after a measurement."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_agent.failures import JobFailedError
from device_agent.measuring.protocol import Lock
from device_agent.runtime.base import Output, Runtime, SessionSettings
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import CanaryReading, MeasurementProfile
from nas_engine.domain.uncertainty import value_text

_WARMUP_RUNS = 5
_DIGEST_STEPS = 1000.0  # outputs are compared to a thousandth of their largest magnitude


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A golden model on this device's disk, and what is expected of it.

    Attributes:
        path, sha256, format: the artifact.
        baseline_us: the device's median; None before there is one.
        output_digest: what its outputs must hash to; empty where not known.
        tolerance: share by which the speed may be off; None leaves it to the profile.
    """

    path: Path
    sha256: str
    format: str
    baseline_us: float | None = None
    output_digest: str = ""
    tolerance: float | None = None


def output_digest(outputs: Sequence[Output]) -> str:
    """sha256 over shapes and values rounded to a thousandth of the largest magnitude.

    Raises:
        JobFailedError: OUTPUT_MISMATCH; an output is not finite.
    """
    digest = hashlib.sha256()
    for output in outputs:
        values = np.asarray(output, dtype=np.float64)
        if not np.isfinite(values).all():
            raise JobFailedError(FailureType.OUTPUT_MISMATCH, "the model's outputs hold NaN or infinities")
        largest = float(np.abs(values).max(initial=0.0)) or 1.0
        rounded = np.round(values / largest * _DIGEST_STEPS).astype("<i4")
        digest.update(repr(values.shape).encode() + rounded.tobytes())
    return digest.hexdigest()


def run_canary(
    runtime: Runtime, canary: Canary, settings: SessionSettings, lock: Lock, profile: MeasurementProfile
) -> CanaryReading:
    """Time the golden model and hash its outputs.

    Raises:
        JobFailedError: the runtime cannot load or run it.
    """
    loaded = runtime.load(canary.path, settings)
    session, clock = loaded.session, runtime.clock
    try:
        durations_ns: list[int] = []
        with lock():
            for run in range(_WARMUP_RUNS + profile.canary_runs):
                before_ns = clock.now_ns()
                session.run()
                if run >= _WARMUP_RUNS:
                    durations_ns.append(max(clock.now_ns() - before_ns, 1))
        digest = output_digest(session.outputs())
    finally:
        session.close()
    median_us = statistics.median(durations_ns) / 1e3
    return CanaryReading(
        artifact_sha256=canary.sha256,
        median_us=median_us,
        ratio=median_us / canary.baseline_us if canary.baseline_us else None,
        output_digest=digest,
    )


def canary_complaint(canary: Canary, reading: CanaryReading, profile: MeasurementProfile) -> str:
    """What is wrong with a reading; empty when nothing is."""
    if canary.output_digest and reading.output_digest != canary.output_digest:
        return "the canary gives other outputs than it should"
    tolerance = profile.canary_tolerance if canary.tolerance is None else canary.tolerance
    if reading.ratio is not None and abs(reading.ratio - 1.0) > tolerance:
        ratio = value_text(reading.ratio, "fraction", digits=4)
        return f"the canary runs at {ratio} of its baseline time; within {tolerance:.0%} is normal"
    return ""
