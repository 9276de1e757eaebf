"""The hardware that each board of a search resolves to, and what is wrong with the boards that a spec names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.measuring.environment import Dtype
from server.access.principal import Principal
from server.artifacts.artifact import ModelFormat
from server.candidates.boards import OWN_DEVICE, Board
from server.candidates.spec import SearchSpec
from server.core.database.transaction import Transaction
from server.core.errors import SpecViolation
from server.fleet.device import HardwareProfile
from server.fleet.selection import format_for, misfit, most_common_profile, none_classifies, profile_of, relabelled
from server.fleet.store import DeviceStore


@dataclass(frozen=True, slots=True)
class BoardHardware:
    """What the boards of a spec resolve to.

    Attributes:
        profiles: by the name of the board.
        num_devices: devices that can measure on a board, of the one with the fewest.
        violations: what no device meets.
    """

    profiles: Mapping[str, HardwareProfile]
    num_devices: int
    violations: tuple[SpecViolation, ...] = ()

    @property
    def profile(self) -> HardwareProfile | None:
        """That of the spec's own device."""
        return self.profiles.get(OWN_DEVICE)


def hardware_of_boards(tx: Transaction, spec: SearchSpec, owner: Principal | None) -> BoardHardware:
    """The one hardware key that each board of a search resolves to: that of most devices that fit and its owner may
    use; and why one does to none.
    """
    measured = {board.name for board in spec.measured_boards()}
    profiles: dict[str, HardwareProfile] = {}
    found: list[SpecViolation] = []
    counts: list[int] = []
    for board in spec.all_boards():
        classifies = board.is_own_device and spec.final.on_device_accuracy
        if board.name not in measured and not classifies:
            continue
        profile = most_common_profile(tx, board.device, owner)
        if profile is None:
            found += _at(board, [misfit(tx, board.device, owner)])
            continue
        of_type = DeviceStore(tx).devices_of_type(board.device.device_type)
        devices = [device for device in of_type if device.may_be_used_by(owner)]
        counts.append(sum(profile_of(device, board.device) == profile for device in devices))
        found += none_classifies(profile, devices, "/final/on_device_accuracy") if classifies else ()
        found += _same_as(board, profile, {name: one for name, one in profiles.items() if name in measured}, spec)
        profiles[board.name] = profile
    return BoardHardware(profiles, min(counts, default=0), tuple(found))


def _same_as(
    board: Board, profile: HardwareProfile, others: Mapping[str, HardwareProfile], spec: SearchSpec
) -> Iterator[SpecViolation]:
    """Refuse a board that another one is: a measurement on either would be one of both."""
    types = {one.name: one.device.device_type for one in spec.all_boards()}
    for name, other in others.items():
        if other.hardware_key == profile.hardware_key and types[name] == board.device.device_type:
            same = "the spec's device" if name == OWN_DEVICE else f"board {name}"
            message = f"is {same} once more, the same configuration of type {board.device.device_type!r}: leave it out"
            yield SpecViolation(board.pointer, message)


def _at(board: Board, found: Sequence[SpecViolation]) -> Sequence[SpecViolation]:
    """Point to the device of a board what was found of it as of the spec's own."""
    return [replace(one, pointer=board.pointer + one.pointer.removeprefix("/device")) for one in found]


def conversion_violations(spec: SearchSpec, board: Board, profile: HardwareProfile | None) -> Sequence[SpecViolation]:
    """What a conversion for a board would lack."""
    if profile is None:
        return ()
    if format_for(profile.key.identity.runtime) is ModelFormat.ONNX:
        return _at(board, relabelled(board.device, profile.key.identity.runtime))
    if board.device.dtype != Dtype.W8A8.value:
        return ()
    found = []
    if spec.dataset is None and spec.supernet is None:
        found.append(SpecViolation("/dataset", "w8a8 needs calibration images: name a data set or a supernet"))
    if board.device.batch != 1:
        found.append(SpecViolation(f"{board.pointer}/batch", "w8a8 is calibrated image by image: make the batch 1"))
    return found
