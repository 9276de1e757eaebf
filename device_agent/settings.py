"""What one agent process is started with: its server, its name, its directories and its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.failures import AgentError
from device_agent.measuring.device import MeasuringSettings
from device_agent.server_link.tls import LinkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The settings an agent is started with.

    Attributes:
        link: the server and how to trust it.
        name: unique name of the device.
        device_type: what searches select it by.
        labels: free form.
        state_dir: its own directory.
        enrolment_token: used where there is no credential yet; empty for none.
        device_id: which device this is, where the state directory that says so was lost; empty: what that says.
        measuring: the device's own settings, which its measuring processes need too.
        isolate: measure in child processes; only simulated runtimes may do without.
        cache_bytes: of artifacts kept on disk.
        max_model_bytes: larger models are refused.
        wait_s: longest poll.
        can_pin_clocks: this process may set clocks.
    """

    link: LinkSettings
    name: str
    device_type: str
    labels: Mapping[str, str] = field(default_factory=dict)
    state_dir: Path
    enrolment_token: str = ""
    device_id: str = ""
    measuring: MeasuringSettings
    isolate: bool = True
    cache_bytes: int = 2 * 2**30
    max_model_bytes: int = 512 * 2**20
    wait_s: float = 30.0
    can_pin_clocks: bool = False

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("device type", self.device_type)):
            if not value or len(value) > 100 or not value.isprintable():
                raise AgentError(f"{what} {value!r}: give 1 to 100 printable characters")
