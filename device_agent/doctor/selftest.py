"""`hilnas agent selftest`: whether this device measures, and how well it repeats itself."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from device_agent.child.process import ChildMeasurer
from device_agent.failures import AgentError, JobFailedError, RuntimeUnavailableError
from device_agent.measuring.device import MeasuringDevice, MeasuringSettings
from device_agent.measuring.procedure import MeasureRequest
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.golden import golden_model
from device_agent.stop import StopToken
from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    DeviceClass,
    Dtype,
    MeasurementProfile,
    ValidityFlag,
    worst_validity,
)
from nas_engine.domain.uncertainty import value_text

NUM_RUNS = 3
TIMEOUT_S = 120.0
REPLICATION_TOLERANCE = 0.05  # MLPerf Mobile 2.9: results replicate within 5 %


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """Outcome of the golden model's runs in fresh processes.

    Attributes:
        runs: (median in microseconds, flags) of each process.
        failure: why it ended early, or what is wrong with the outputs; empty when nothing is.
        simulated: the runtime computes its times instead of measuring them.
    """

    runs: tuple[tuple[float, tuple[ValidityFlag, ...]], ...]
    failure: str = ""
    simulated: bool = False

    @property
    def spread(self) -> float | None:
        """Largest over smallest median, less 1; None with fewer than two."""
        medians_us = [median_us for median_us, _ in self.runs]
        return max(medians_us) / min(medians_us) - 1.0 if len(medians_us) > 1 else None

    def text(self) -> str:
        """Write the report people read: one line a run, and the verdict."""
        lines: list[str] = []
        how = "simulated" if self.simulated else "median"
        for number, (median_us, flags) in enumerate(self.runs, start=1):
            lines.append(
                f"  ok  run {number}: {how} {value_text(median_us, 'us', digits=4)}, {worst_validity(flags).value}"
            )
            lines += [f"      {flag.validity.value}: {flag.reason}" for flag in flags]
        if self.spread is not None:
            mark = "warn" if self.spread > REPLICATION_TOLERANCE else "  ok"
            lines.append(
                f"{mark}  spread of the medians {self.spread:.1%}; "
                f"{REPLICATION_TOLERANCE:.0%} or less replicates (MLPerf Mobile 2.9)"
            )
        if self.failure:
            lines.append(f"FAIL  {self.failure}")
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """`{"passed", "failure", "simulated", "spread", "runs": [{"median_us", "flags": [...]}]}` on one line."""
        runs = [
            {
                "median_us": median_us,
                "flags": [{"validity": flag.validity.value, "reason": flag.reason} for flag in flags],
            }
            for median_us, flags in self.runs
        ]
        document = {
            "passed": not self.failure,
            "failure": self.failure,
            "simulated": self.simulated,
            "spread": self.spread,
            "runs": runs,
        }
        return json.dumps(document) + "\n"


def selftest(settings: MeasuringSettings, golden: Path | None, out: TextIO, *, as_json: bool = False) -> int:
    """Measure the golden model three times in fresh processes; returns 1 when that fails.

    Args:
        settings: of the measuring device.
        golden: a model in the runtime's format (the NPU has none of its own); None for the built-in one.
        out: where the answer goes.
        as_json: as JSON instead of text.

    Raises:
        AgentError: there is no golden model, or it cannot be read.
    """
    data, model_format = golden_model(settings.runtime) if golden is None else _read(golden, settings)
    with scratch_folder("hilnas-selftest-") as folder:
        model = folder / "golden"
        model.write_bytes(data)
        request = MeasureRequest(
            model=model,
            settings=SessionSettings(format=model_format),
            profile=MeasurementProfile.named("quick"),
            dtype=Dtype.FP32,
        )
        measurer = ChildMeasurer(settings)
        try:
            test = _measure(measurer, request)
        finally:
            measurer.close()
    out.write(test.to_json() if as_json else test.text())
    return 1 if test.failure else 0


def _read(golden: Path, settings: MeasuringSettings) -> tuple[bytes, str]:
    try:
        return golden.read_bytes(), MeasuringDevice(settings).runtime.facts.model_formats[0]
    except OSError as error:
        raise AgentError(f"--golden {golden} cannot be read: {error.strerror}") from error


def _measure(measurer: ChildMeasurer, request: MeasureRequest) -> SelfTest:
    runs: list[tuple[float, tuple[ValidityFlag, ...]]] = []
    digests: set[str | None] = set()
    simulated = False
    for number in range(NUM_RUNS):
        try:
            measurement = measurer.measure(request, StopToken(), lambda _: None, TIMEOUT_S)
        except (JobFailedError, RuntimeUnavailableError) as error:
            kind = error.type if isinstance(error, JobFailedError) else FailureType.INIT_FAILED
            return SelfTest(runs=tuple(runs), failure=f"run {number + 1}: {kind.value}: {error}")
        median_us = statistics.median([ns for block in measurement.blocks for ns in block.e2e_ns]) / 1e3
        runs.append((median_us, measurement.flags))
        digests.add(measurement.output_digest)
        simulated = measurement.hardware_key.identity.device_class is DeviceClass.SIMULATED
    differing = "the golden model gave different outputs in different processes" if len(digests) > 1 else ""
    return SelfTest(runs=tuple(runs), failure=differing, simulated=simulated)
