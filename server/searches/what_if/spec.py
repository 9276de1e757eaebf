"""The spec of a what-if: which board a finished search's front is carried over to, by how many measurements."""

from __future__ import annotations

from pydantic import Field

from nas_engine.settings.base import SpecPart
from server.candidates.boards import MeasurementSpec
from server.core.spec_documents import parse_spec
from server.fleet.device_spec import DeviceSpec

MIN_CHOSEN, MAX_CHOSEN = 10, 20


class WhatIfSpec(SpecPart):
    """A board that the search did not measure on, and how much of it may be used."""

    device: DeviceSpec
    """Board that the front is wanted for: its device type, and what narrows it."""

    num_measurements: int = Field(default=16, ge=MIN_CHOSEN, le=MAX_CHOSEN)
    """Number of candidates that are measured there; which, the server chooses."""

    measurement: MeasurementSpec = Field(default_factory=MeasurementSpec)
    """How they are measured; `reuse` takes what was measured under the same hardware key already."""

    priority: int = Field(default=0, ge=-100, le=100)
    """Priority of the measurements; above 0 it needs the role admin."""


def parse_what_if_spec(document: object) -> WhatIfSpec:
    """A spec from a JSON document.

    Raises:
        InvalidSpecError: one violation per place that is wrong.
    """
    return parse_spec(WhatIfSpec, document)
