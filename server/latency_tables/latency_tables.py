"""Latency tables: every operator of a search space measured as a network of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_engine.cost.latency_table import TableOperator
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.text import did_you_mean
from server.access.principal import NOBODY, Creator, Principal
from server.artifacts.artifact import ModelFormat
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidSpecError, NotFoundError, SpecViolation
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.fleet.device import HardwareProfile
from server.fleet.selection import format_for, misfit, most_common_profile, relabelled
from server.fleet.store import HardwareStore
from server.jobs.settings import SearchSettings
from server.latency_tables.batch import Batch, BatchEntry, BatchState
from server.latency_tables.batches import end_if_done, order_what_is_missing, set_batch_state
from server.latency_tables.ordering import BatchScheduler, NetworkToMeasure
from server.latency_tables.progress import current_batch, current_entries
from server.latency_tables.spec import LatencyTableSpec
from server.latency_tables.store import BatchStore
from server.measuring.payloads import OperatorDocument
from server.spaces.catalog import SpaceCatalog


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One operator: its label and, where it is measured, its latency."""

    label: str
    entry: BatchEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTable:
    """A table as it stands: one row per distinct operator."""

    batch: Batch
    rows: tuple[TableRow, ...]

    @property
    def space_id(self) -> str:
        """Id of the search space whose operators the table holds."""
        return self.batch.spec.space.id

    @property
    def space_parameters(self) -> Mapping[str, JsonValue]:
        """Of the space the operators are of."""
        return self.batch.spec.space.parameters


class LatencyTables:
    """Use cases of latency tables."""

    def __init__(self, uow: UnitOfWork, spaces: SpaceCatalog, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._spaces = spaces
        self._scheduler = BatchScheduler(settings or SearchSettings())

    def create(self, spec: LatencyTableSpec, creator: Creator = NOBODY) -> MeasuredTable:
        """Have every operator measured that is not known yet.

        Raises:
            InvalidSpecError: the space has no operators, or no device can measure them.
        """
        if spec.space.id not in self._spaces.space_ids():
            known = self._spaces.space_ids()
            near = did_you_mean(spec.space.id, known)
            message = f"unknown space {spec.space.id!r}: known are {', '.join(known)}{near}"
            raise InvalidSpecError([SpecViolation("/space/id", message)])
        try:
            described = self._spaces.describe(spec.space.id, spec.space.parameters)
            space = spec.space.model_copy(update={"parameters": dict(described.parameters)})
            spec = spec.model_copy(update={"space": space})
            operators = self._operators(spec)
        except EngineError as error:
            raise InvalidSpecError([SpecViolation("/space", str(error))]) from error

        def work(tx: Transaction) -> str:
            profile = _resolve(tx, spec, creator.owner)
            HardwareStore(tx).put_hardware(profile)
            batch = Batch(
                id=new_id(IdPrefix.LATENCY_TABLE),
                spec=spec,
                hardware_key=profile.hardware_key,
                num_entries=len(operators),
                created_by=creator.token_id,
                owner=creator.owner,
                created_at=tx.now(),
            )
            BatchStore(tx).add_batch(batch)
            self._fill(tx, set_batch_state(tx, batch, BatchState.RUNNING), operators)
            return batch.id

        return self.get(self._uow.write(work))

    def page(self, page: PageRequest, owner: str | None = None) -> Page[Batch]:
        """List all, or those of an owner, newest first."""
        return self._uow.read(lambda tx: page_of_batches(tx, None, page, owner))

    def get(self, table_id: str) -> MeasuredTable:
        """A table as it stands, also while it is measured.

        Raises:
            NotFoundError: there is no such table.
        """

        def look(tx: Transaction) -> tuple[Batch, tuple[BatchEntry, ...]]:
            batch = BatchStore(tx).get_batch(table_id)
            if batch.sampling is not None:
                raise NotFoundError("latency table", table_id)
            entries = current_entries(tx, batch)
            return current_batch(batch, entries), entries

        batch, entries = self._uow.read(look)
        operators = self._operators(batch.spec)
        return MeasuredTable(
            batch=batch,
            rows=tuple(TableRow(label=_label(operators, entry), entry=entry) for entry in entries),
        )

    def advance(self, table_id: str) -> None:
        """Order what a running table lacks (operators of an upgraded one, suspect measurements); end it if done."""

        def work(tx: Transaction) -> None:
            batch = BatchStore(tx).lock_batch(table_id)
            if batch.state is BatchState.RUNNING:
                self._fill(tx, batch, self._operators(batch.spec))
                order_what_is_missing(
                    tx, batch, self._scheduler, lambda _, entries: self._to_networks(batch.spec, entries)
                )
                end_if_done(tx, batch)

        self._uow.write(work)

    def _fill(self, tx: Transaction, batch: Batch, operators: Mapping[str, TableOperator]) -> None:
        """Add the operators that a locked table has no entry of, and order their latencies."""
        present = BatchStore(tx).batch_entries(batch.id)
        known = {entry.latency_key for entry in present}
        new = [
            BatchEntry(batch_id=batch.id, number=number, id=new_id(IdPrefix.CANDIDATE), latency_key=key)
            for number, key in enumerate((key for key in operators if key not in known), start=len(present) + 1)
        ]
        profile = HardwareStore(tx).get_hardware(batch.hardware_key)
        ordered = self._scheduler.order(tx, batch, profile, self._to_networks(batch.spec, new)) if new else ()
        BatchStore(tx).add_batch_entries(ordered)

    def _to_networks(self, spec: LatencyTableSpec, entries: Sequence[BatchEntry]) -> Sequence[NetworkToMeasure]:
        operators = self._operators(spec)
        return [
            NetworkToMeasure(
                entry=entry,
                label=_label(operators, entry),
                source=OperatorDocument(
                    space_id=spec.space.id, parameters=dict(spec.space.parameters), latency_key=entry.latency_key
                ),
            )
            for entry in entries
        ]

    def _operators(self, spec: LatencyTableSpec) -> Mapping[str, TableOperator]:
        return self._spaces.operators(
            spec.space.id, spec.space.parameters, batch=spec.device.batch, dtype=spec.device.dtype
        )


def page_of_batches(tx: Transaction, table_id: str | None, page: PageRequest, owner: str | None) -> Page[Batch]:
    """Tables, or the reports of one, as they stand; newest first."""
    found = BatchStore(tx).page_of_batches(table_id, page, owner)
    items = (b if b.state.final else current_batch(b, current_entries(tx, b)) for b in found.items)
    return Page(tuple(items), found.next)


def _resolve(tx: Transaction, spec: LatencyTableSpec, owner: Principal | None) -> HardwareProfile:
    """The one hardware profile that a table is measured under.

    Raises:
        InvalidSpecError: no registered device could measure it.
    """
    profile = most_common_profile(tx, spec.device, owner)
    if profile is None:
        raise InvalidSpecError([misfit(tx, spec.device, owner)])
    found = []
    if format_for(profile.key.identity.runtime) is ModelFormat.ONNX:
        found = relabelled(spec.device, profile.key.identity.runtime)
    elif spec.device.dtype is Dtype.W8A8:
        message = "w8a8 is calibrated with images, and an operator by itself has none: make it fp16"
        found = [SpecViolation("/device/dtype", message)]
    if found:
        raise InvalidSpecError(found)
    return profile


def _label(operators: Mapping[str, TableOperator], entry: BatchEntry) -> str:
    """Place and operator where it first stands; empty for one that the space no longer has."""
    return operators[entry.latency_key].label if entry.latency_key in operators else ""
