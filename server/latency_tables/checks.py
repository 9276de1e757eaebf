"""Whether a latency table can be used by a search: the same operators, on the same hardware, all of them measured."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import canonical_json
from nas_engine.settings.algorithms import CostReportSettings
from nas_engine.settings.densenas import DenseNasSettings
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.spec import SearchSpec
from server.candidates.states import CandidateState
from server.core.database.transaction import Transaction
from server.core.errors import NotFoundError, SpecViolation
from server.fleet.device import HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.store import HardwareStore
from server.spaces.catalog import SpaceCatalog
from server.spaces.descriptions import SpaceDescription

OPERATORS_SPACE = "operators"
_POINTER = "/algorithm/latency_table"


def table_violations(
    tx: Transaction,
    spaces: SpaceCatalog,
    spec: SearchSpec,
    space: SpaceDescription | None,
    hardware: HardwareProfile | None,
) -> Sequence[SpecViolation]:
    """Why the latency table that a spec names cannot be used; () where it can, or none is named."""
    match spec.algorithm:
        case DenseNasSettings(latency_table=str(table_id)) | CostReportSettings(latency_table=table_id):
            pass
        case _:
            return ()
    try:
        table = SearchStore(tx).get(table_id)
    except NotFoundError as error:
        return [SpecViolation(_POINTER, str(error))]
    device = table.spec.device
    if table.spec.space.id != OPERATORS_SPACE or device is None:
        return [SpecViolation(_POINTER, f"{table_id} is a search, no latency table")]
    reasons = [_other_space(table, space), _incomplete(tx, spaces, table), *_other_device(spec.device, device)]
    if hardware is not None and not any(reasons):
        reasons.append(_other_hardware(tx, table, hardware))
    return [SpecViolation(_POINTER, f"latency table {table_id} {reason}") for reason in reasons if reason]


def _other_space(table: Search, space: SpaceDescription | None) -> str:
    """Why its operators are not those of the searched space."""
    if space is None:
        return ""
    own = table.spec.space.parameters
    if own["space"] != space.id:
        return f"is of space {own['space']!r}, the search is in {space.id!r}"
    parameters = own["parameters"]
    differing = sorted(
        name
        for name in {*parameters, *space.parameters}
        if canonical_json(parameters.get(name)) != canonical_json(space.parameters.get(name))
    )
    return f"is of a space that differs in {', '.join(differing)}: use the same parameters" if differing else ""


def _incomplete(tx: Transaction, spaces: SpaceCatalog, table: Search) -> str:
    """What it lacks."""
    try:
        num_operators = spaces.describe(OPERATORS_SPACE, table.spec.space.parameters).size
    except EngineError as error:
        return f"cannot be read: {error}"
    num_measured = CandidateStore(tx).count_states(table.id).get(CandidateState.COMPLETE, 0)
    if num_measured >= num_operators:
        return ""
    what = f"is {table.state.value}: {num_measured} of its {num_operators} operators are measured"
    return f"{what}; order it again, what is measured is reused" if table.state.final else f"{what}; wait for the rest"


def _other_device(wanted: DeviceSpec | None, measured: DeviceSpec) -> list[str]:
    """How the search's measurements would be filed otherwise."""
    if wanted is None:
        return []
    found = []
    if wanted.batch != measured.batch:
        found.append(f"is for batch {measured.batch}, the search measures batch {wanted.batch}")
    if wanted.dtype != measured.dtype:
        found.append(f"is for {measured.dtype}, the search measures {wanted.dtype}")
    return found


def _other_hardware(tx: Transaction, table: Search, hardware: HardwareProfile) -> str:
    """Where the boards differ."""
    if table.hardware_key is None or table.hardware_key == hardware.hardware_key:
        return ""
    own, wanted = HardwareStore(tx).get(table.hardware_key).key.identity, hardware.key.identity
    fields = ("board_model", "device_class", "runtime", "runtime_versions", "clocks_profile", "core_mask")
    differing = [
        f"{f}: {getattr(own, f)} / {getattr(wanted, f)}" for f in fields if getattr(own, f) != getattr(wanted, f)
    ]
    shown = "; ".join(differing) or "another identity"
    return f"was measured on other hardware than the search would use ({shown}): narrow the device, or order a new one"
