"""What works on this board, found by trying: NPU cores that run the golden model, and the versions they ran with.

Some boards' cores 1 and 2 fail to submit (rknpu2 123, rknn-toolkit2 294): only masks that passed are offered.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.child.process import Measurer
from device_agent.failures import AgentError, JobFailedError, RuntimeUnavailableError
from device_agent.measuring.procedure import MeasureRequest
from device_agent.runtime.base import SessionSettings
from device_agent.stop import StopToken
from nas_engine.domain.measurement import Dtype, MeasurementProfile

_log = logging.getLogger(__name__)
PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Probed:
    """What passed: core masks, the default first, and the versions of library and driver."""

    core_masks: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]


def probe(measurer: Measurer, golden: Path, model_format: str, core_masks: tuple[str, ...]) -> Probed:
    """Run the golden model once on every mask.

    Raises:
        AgentError: it runs on none of them.
    """
    request = MeasureRequest(
        model=golden,
        settings=SessionSettings(format=model_format),
        profile=MeasurementProfile.named("quick"),
        dtype=Dtype.FP16,
    )
    passed: list[str] = []
    versions: tuple[tuple[str, str], ...] = ()
    complaints: list[str] = []
    for mask in core_masks:
        try:
            settings = replace(request.settings, core_mask=mask)
            measurement = measurer.measure(
                replace(request, settings=settings), StopToken(), lambda _: None, PROBE_TIMEOUT_S
            )
        except (JobFailedError, RuntimeUnavailableError) as error:
            _log.warning("core mask %s does not work: %s", mask, error)
            complaints.append(f"{mask}: {error}")
            continue
        passed.append(mask)
        versions = measurement.environment.runtime_versions
    if not passed:
        raise AgentError(f"the golden model runs on no core: {'; '.join(complaints)}")
    return Probed(tuple(passed), versions)
