"""Reports of latency tables: what a table estimates for sampled networks, against what boards measure of them.

Networks are drawn and estimated a few at a time, so that a report of thousands is ordered in short transactions: the
first ones when it is created, the others by `advance`. A draw depends on the seed and its number alone, so a report
goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nas_engine.cost.sampled_networks import NetworkSampler, SampledNetwork
from nas_engine.domain.errors import InvalidMeasurementError
from server.access.principal import NOBODY, Creator, Principal
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidSpecError, NotFoundError, SpecViolation
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.fleet.selection import misfit
from server.fleet.store import DeviceStore, HardwareStore
from server.jobs.settings import SearchSettings
from server.latency_tables.batch import Batch, BatchEntry, BatchState, EstimateAgreement, Sampling
from server.latency_tables.batches import end_if_done, order_what_is_missing, set_batch_state
from server.latency_tables.checks import incomplete
from server.latency_tables.estimates import EstimateMaths, engine_table
from server.latency_tables.latency_tables import LatencyTables, MeasuredTable, page_of_batches
from server.latency_tables.ordering import BatchScheduler, NetworkToMeasure
from server.latency_tables.progress import current_batch, current_entries
from server.latency_tables.spec import CostReportSpec, LatencyTableSpec
from server.latency_tables.store import BatchStore
from server.spaces.architecture import ArchitectureDocument, ArchitectureRecord
from server.spaces.catalog import SpaceCatalog
from server.spaces.store import ArchitectureStore

DRAWN_AT_ONCE = 50
MAX_DRAWS_PER_NETWORK = 200  # in a small space many parameters derive the same network


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """A report as it stands.

    Attributes:
        agreements: one per estimator, over the entries that are estimated and measured; () below two of them.
    """

    batch: Batch
    sampling: Sampling
    entries: tuple[BatchEntry, ...]
    agreements: tuple[EstimateAgreement, ...]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Networks that were drawn, and the number of draws that took."""

    networks: Sequence[tuple[SampledNetwork, ArchitectureRecord, str]]
    num_draws: int


class CostReports:
    """Use cases of reports."""

    def __init__(
        self,
        uow: UnitOfWork,
        tables: LatencyTables,
        spaces: SpaceCatalog,
        maths: EstimateMaths,
        settings: SearchSettings | None = None,
    ) -> None:
        self._uow = uow
        self._tables = tables
        self._spaces = spaces
        self._maths = maths
        self._scheduler = BatchScheduler(settings or SearchSettings())

    def create(self, table_id: str, spec: CostReportSpec, creator: Creator = NOBODY) -> CostReport:
        """Sample networks of a table's space and have them measured.

        Raises:
            NotFoundError: there is no such table.
            InvalidSpecError: the table is not complete, or its hardware is gone.
        """
        table = self._tables.get(table_id)
        reason = incomplete(table.batch)
        if reason:
            raise InvalidSpecError([SpecViolation("", f"latency table {table_id} {reason}")])

        def work(tx: Transaction) -> Batch:
            measured = _narrowed(tx, table, creator.owner)
            batch = Batch(
                id=new_id(IdPrefix.COST_REPORT),
                spec=measured.model_copy(
                    update={"name": spec.name, "priority": spec.priority, "labels": dict(spec.labels)}
                ),
                sampling=Sampling(
                    table_id=table_id, num_networks=spec.num_networks, seed=spec.seed, logit_std=spec.logit_std
                ),
                hardware_key=table.batch.hardware_key,
                num_entries=spec.num_networks,
                created_by=creator.token_id,
                owner=creator.owner,
                created_at=tx.now(),
            )
            BatchStore(tx).add_batch(batch)
            return set_batch_state(tx, batch, BatchState.RUNNING)

        batch = self._uow.write(work)
        self._extend(batch, table)
        return self.get(table_id, batch.id)

    def get(self, table_id: str, report_id: str) -> CostReport:
        """A report as it stands, also while its networks are measured.

        Raises:
            NotFoundError: there is no such report of this table.
        """

        def look(tx: Transaction) -> tuple[Batch, tuple[BatchEntry, ...]]:
            batch = BatchStore(tx).get_batch(report_id, "report")
            entries = current_entries(tx, batch)
            return current_batch(batch, entries), entries

        batch, entries = self._uow.read(look)
        if batch.sampling is None or batch.sampling.table_id != table_id:
            raise NotFoundError("report", report_id)
        agreements: tuple[EstimateAgreement, ...] = ()
        compared = [(e.estimates_us, e.latency_us) for e in entries if e.estimates_us and e.latency_us is not None]
        if len(compared) >= 2:
            estimates = {name: [known[name] for known, _ in compared] for name in compared[0][0]}
            agreements = tuple(self._maths.compare(estimates, [latency_us for _, latency_us in compared]))
        return CostReport(batch=batch, sampling=batch.sampling, entries=entries, agreements=agreements)

    def page(self, table_id: str, page: PageRequest, owner: str | None = None) -> Page[Batch]:
        """A table's reports, or those of them that an owner has, newest first. Raises NotFoundError for no table."""

        def look(tx: Transaction) -> Page[Batch]:
            if BatchStore(tx).get_batch(table_id).sampling is not None:
                raise NotFoundError("latency table", table_id)
            return page_of_batches(tx, table_id, page, owner)

        return self._uow.read(look)

    def advance(self, report_id: str) -> bool:
        """Draw and order some more networks of a running report, and end it once it is done.

        Returns:
            Whether there is more to draw.
        """
        batch = self._uow.read(lambda tx: BatchStore(tx).get_batch(report_id, "report"))
        if batch.state is not BatchState.RUNNING or batch.sampling is None:
            return False
        try:
            more = self._extend(batch, self._tables.get(batch.sampling.table_id))
        except (InvalidMeasurementError, NotFoundError) as error:
            failure = str(error)
            self._uow.write(lambda tx: _fail(tx, report_id, failure))
            return False

        def work(tx: Transaction) -> None:
            batch = BatchStore(tx).lock_batch(report_id)
            if batch.state is BatchState.RUNNING:
                order_what_is_missing(tx, batch, self._scheduler, _to_networks)
                end_if_done(tx, batch)

        self._uow.write(work)
        return more

    def _extend(self, batch: Batch, table: MeasuredTable) -> bool:
        """Draw some networks of a report and order them; whether there are more to draw.

        They are drawn outside the transaction, which takes the time it takes; where somebody else has drawn them
        meanwhile, nothing is written.
        """
        present = self._uow.read(lambda tx: BatchStore(tx).batch_entries(batch.id))
        num_left = min(batch.num_entries - len(present), DRAWN_AT_ONCE)
        if num_left <= 0:
            return False
        drawn = self._draw(batch, table, {entry.arch_id for entry in present}, num_left)

        def work(tx: Transaction) -> bool:
            locked = BatchStore(tx).lock_batch(batch.id)
            if locked.num_draws != batch.num_draws or locked.state is not BatchState.RUNNING:
                return locked.state is BatchState.RUNNING
            ArchitectureStore(tx).put_architectures([record for _, record, _ in drawn.networks])
            entries = [
                BatchEntry(
                    batch_id=batch.id,
                    number=len(present) + place,
                    id=new_id(IdPrefix.CANDIDATE),
                    latency_key=key,
                    arch_id=record.arch_id,
                    estimates_us={estimator.value: us for estimator, us in network.estimates_us.items()},
                    missing=network.missing,
                )
                for place, (network, record, key) in enumerate(drawn.networks, start=1)
            ]
            profile = HardwareStore(tx).get_hardware(batch.hardware_key)
            BatchStore(tx).add_batch_entries(self._scheduler.order(tx, locked, profile, _to_networks(tx, entries)))
            num_present = len(present) + len(entries)
            exhausted = len(entries) < num_left
            locked = replace(locked, num_draws=drawn.num_draws)
            if exhausted:
                reason = "the space holds no further network" if num_present else "no network could be drawn"
                locked = replace(locked, num_entries=num_present, reason=reason)
            BatchStore(tx).save_batch(locked)
            return not exhausted and num_present < locked.num_entries

        return self._uow.write(work)

    def _draw(self, batch: Batch, table: MeasuredTable, present: set[str | None], num: int) -> _Drawn:
        assert batch.sampling is not None
        spec, sampling = batch.spec, batch.sampling
        space = self._spaces.space(spec.space.id, spec.space.parameters)
        sampler = NetworkSampler(space, engine_table(table), logit_std=sampling.logit_std, seed=sampling.seed)
        seen, number = set(present), batch.num_draws
        found: list[tuple[SampledNetwork, ArchitectureRecord, str]] = []
        last = number + num * MAX_DRAWS_PER_NETWORK
        while len(found) < num and number < last:
            network = sampler.draw(number)
            number += 1
            if network is None:
                continue
            record = self._spaces.decode(spec.space.id, spec.space.parameters, network.genotype)
            key = self._spaces.latency_key(record.architecture, dtype=batch.dtype, batch=batch.batch_size)
            if key is not None and record.arch_id not in seen:
                seen.add(record.arch_id)
                found.append((network, record, key))
        return _Drawn(found, number)


def _narrowed(tx: Transaction, table: MeasuredTable, owner: Principal | None) -> LatencyTableSpec:
    """The table's spec, its device narrowed to the hardware that it resolved to.

    Raises:
        InvalidSpecError: no registered device that the owner may use has that hardware any more.
    """
    spec, profile = table.batch.spec, HardwareStore(tx).get_hardware(table.batch.hardware_key)
    identity = profile.key.identity
    device = spec.device.model_copy(
        update={
            "runtime": identity.runtime,
            "clocks_profile": identity.clocks_profile,
            "core_mask": identity.core_mask,
        }
    )
    offering = DeviceStore(tx).devices_of_type(device.device_type)
    having = [one for one in offering if profile.pool_key in one.capabilities.pool_keys()]
    if not any(one.may_be_used_by(owner) for one in having):
        raise InvalidSpecError([misfit(tx, device, owner)])
    return spec.model_copy(update={"device": device})


def _to_networks(tx: Transaction, entries: Sequence[BatchEntry]) -> Sequence[NetworkToMeasure]:
    records: Mapping[str, ArchitectureRecord] = ArchitectureStore(tx).get_architectures(
        [str(e.arch_id) for e in entries]
    )
    return [
        NetworkToMeasure(entry=e, source=ArchitectureDocument.of(records[str(e.arch_id)].architecture)) for e in entries
    ]


def _fail(tx: Transaction, report_id: str, reason: str) -> None:
    batch = BatchStore(tx).lock_batch(report_id)
    if not batch.state.final:
        for entry in current_entries(tx, batch):
            BatchStore(tx).save_batch_entry(entry)
        set_batch_state(tx, batch, BatchState.FAILED, reason)
