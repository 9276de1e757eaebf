"""Whether a latency table can be used by a search: the same operators, on the same hardware, all of them measured."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.cost.cost_table import MEDIA_TYPE, read_cost_table
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import canonical_json
from nas_engine.spaces.densenas.space import DenseSpace
from server.artifacts.artifacts import Artifacts
from server.artifacts.store import ArtifactStore
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction
from server.core.errors import ArtifactDamagedError, NotFoundError, SpecViolation
from server.fleet.device import HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.store import HardwareStore
from server.latency_tables.batch import Batch
from server.latency_tables.progress import current_batch, current_entries
from server.latency_tables.store import BatchStore
from server.spaces.descriptions import SpaceDescription


def table_violations(
    tx: Transaction,
    table_id: str,
    pointer: str,
    *,
    space: SpaceDescription | None,
    device: DeviceSpec | None,
    hardware: HardwareProfile | None,
) -> Sequence[SpecViolation]:
    """Why a latency table cannot be used by a search; () where it can.

    Args:
        pointer: place of the spec that names the table.
        space: searched; None where it is unknown.
        device: that the search measures on; None where it does not measure.
        hardware: that the device resolves to.
    """
    table = BatchStore(tx).find_batch(table_id)
    if table is None or table.sampling is not None:
        try:
            SearchStore(tx).get_search(table_id)
        except NotFoundError:
            message = f"there is no latency table {table_id!r}: order one (hilnas tables create)"
        else:
            message = f"{table_id} is a search, no latency table"
        return [SpecViolation(pointer, message)]
    table = current_batch(table, current_entries(tx, table))
    reasons = [_other_space(table, space), incomplete(table), *_other_device(device, table.spec.device)]
    if hardware is not None and not any(reasons):
        reasons.append(_other_hardware(tx, table, hardware))
    return [SpecViolation(pointer, f"latency table {table_id} {reason}") for reason in reasons if reason]


def cost_table_violations(
    tx: Transaction, sha256: str, pointer: str, *, space: DenseSpace | None, artifacts: Artifacts | None
) -> Sequence[SpecViolation]:
    """Why an imported table cannot be used by a search; () where it can.

    Args:
        sha256: of the table.
        pointer: place of the spec that names it.
        space: searched; None where it is no densely connected one, which is said elsewhere.
        artifacts: reads it; None looks at its record alone.
    """
    found = ArtifactStore(tx).find_artifact(sha256)
    if found is None or found.media_type != MEDIA_TYPE:
        what = "there is no imported cost table" if found is None else f"an artifact of type {found.media_type} is"
        return [SpecViolation(pointer, f"{what} {sha256}: `hilnas tables import` brings one")]
    if space is None or artifacts is None:
        return []
    try:
        read_cost_table(artifacts.read(sha256), space)
    except (InvalidMeasurementError, NotFoundError, ArtifactDamagedError) as error:
        return [SpecViolation(pointer, str(error))]
    return []


def _other_space(table: Batch, space: SpaceDescription | None) -> str:
    """Why its operators are not those of the searched space."""
    if space is None:
        return ""
    own = table.spec.space
    if own.id != space.id:
        return f"is of space {own.id!r}, the search is in {space.id!r}"
    differing = sorted(
        name
        for name in {*own.parameters, *space.parameters}
        if canonical_json(own.parameters.get(name)) != canonical_json(space.parameters.get(name))
    )
    return f"is of a space that differs in {', '.join(differing)}: use the same parameters" if differing else ""


def incomplete(table: Batch) -> str:
    """What a table, as it stands now, lacks; empty where every operator is measured."""
    if table.num_measured >= table.num_entries:
        return ""
    what = f"is {table.state.value}: {table.num_measured} of its {table.num_entries} operators are measured"
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


def _other_hardware(tx: Transaction, table: Batch, hardware: HardwareProfile) -> str:
    """Where the boards differ."""
    if table.hardware_key == hardware.hardware_key:
        return ""
    own, wanted = HardwareStore(tx).get_hardware(table.hardware_key).key.identity, hardware.key.identity
    fields = ("board_model", "device_class", "runtime", "runtime_versions", "clocks_profile", "core_mask")
    differing = [
        f"{f}: {getattr(own, f)} / {getattr(wanted, f)}" for f in fields if getattr(own, f) != getattr(wanted, f)
    ]
    shown = "; ".join(differing) or "another identity"
    return f"was measured on other hardware than the search would use ({shown}): narrow the device, or order a new one"
