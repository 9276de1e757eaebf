"""The boards of a search: how latency is measured on one, and by which name of a metric it is filed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from nas_engine.domain.measurement import ValidityPolicy
from nas_engine.domain.measuring.profile import ProfileName
from nas_engine.domain.metric import Metric
from nas_engine.settings.base import BOARD_NAME, SpecPart, later
from server.fleet.device_spec import DeviceSpec

OWN_DEVICE = "device"
"""Name of the board that a spec names by `device`, beside those that `boards` names."""


class Confirmation(StrEnum):
    """What is measured once more before a search ends."""

    NONE = "none"
    FRONT = "front"
    CONFIDENT = "confident"


class MeasurementSpec(SpecPart):
    """How latency is measured on the device."""

    profile: ProfileName = "standard"
    """Measurement profile: how many runs, how long a warm-up and how narrow an interval a measurement needs."""

    validity_policy: ValidityPolicy = ValidityPolicy.REQUIRE
    """Which measurements steer the search. `require`: only valid ones (boards); `accept_flagged`: noisy ones too, shown
    as such."""

    reuse: bool = True
    """Whether to take a measurement made before under the same latency key and hardware key instead of measuring
    again."""

    confirm: Confirmation = Confirmation.NONE
    """What is measured once more before the search ends: nothing, its front, or everything that is not dominated beyond
    its 95 % confidence interval. A front that changes by it is confirmed again; each candidate at most once."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    """Number of attempts per model, after which its candidates are reported as failed."""

    timeout_s: float = Field(default=300.0, gt=0, le=86_400)
    """Longest time one measurement may take on the device, in seconds."""

    layer_times: bool = later(False)
    """Whether the device also says how long each layer takes, where its runtime has a profiler: in a run of about a
    second after everything that is timed, which changes no latency."""


BoardName = Annotated[str, Field(pattern=rf"^{BOARD_NAME}$")]


class BoardSpec(SpecPart):
    """A further board that every candidate is measured on."""

    device: DeviceSpec
    """Device that this latency is measured on, chosen by its type and labels."""

    measurement: MeasurementSpec | None = None
    """Settings of how latency is measured there; absent: the search's own `measurement`. What is measured once more
    before the search ends is said there alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board of a search.

    Attributes:
        name: as the spec's `boards` call it; `device` for the one that it names by `device`.
        metric: that latencies on it are filed under.
        device: which devices they are.
        measurement: how they measure.
    """

    name: str
    metric: Metric
    device: DeviceSpec
    measurement: MeasurementSpec

    @property
    def is_own_device(self) -> bool:
        """Whether it is the one that the spec names by `device`."""
        return self.name == OWN_DEVICE

    @property
    def pointer(self) -> str:
        """Where the spec describes its device."""
        return "/device" if self.is_own_device else f"/boards/{self.name}/device"


def check_boards(boards: Mapping[str, BoardSpec], info: ValidationInfo) -> Mapping[str, BoardSpec]:
    """Refuse names that are taken, boards that are another one of the spec, and settings that are not a board's.

    Raises:
        ValidationError: says which, each at its place.
    """
    faults = list(_faults(boards, info.data.get("device")))
    if not faults or (info.context or {}).get("stored"):
        return boards
    raise ValidationError.from_exception_data(
        "boards",
        [
            InitErrorDetails(type=PydanticCustomError("boards", "{said}", {"said": message}), loc=path, input=boards)
            for path, message in faults
        ],
    )


def _faults(boards: Mapping[str, BoardSpec], own: DeviceSpec | None) -> Iterator[tuple[tuple[str, ...], str]]:
    known = {} if own is None else {_configuration(own): OWN_DEVICE}
    for name, board in boards.items():
        if name == OWN_DEVICE:
            yield (name,), f"{name} names the spec's own device: take another name"
        other = known.setdefault(_configuration(board.device), name)
        if other != name:
            same = "the spec's device" if other == OWN_DEVICE else f"board {other}"
            yield (name, "device"), f"is {same} once more, of the same type and labels: leave it out"
        if board.measurement is not None and board.measurement.confirm is not Confirmation.NONE:
            where = "measurement.confirm of the search says what is measured once more, on all of its boards"
            yield (name, "measurement", "confirm"), f"{where}: leave it out here"


def _configuration(device: DeviceSpec) -> str:
    """Write what makes the latencies of one board those of another."""
    return device.model_copy(update={"npu_only": False}).model_dump_json()
