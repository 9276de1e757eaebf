"""Predictors that are made of latency tables: noticed when a table is complete, and fitted when its reports end."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nas_engine.cost.calibrated_tables.served_table import MIN_NETWORKS
from nas_engine.domain.json_value import JsonValue, canonical_json
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.ids import IdPrefix, new_id
from server.latencies.predictors.orders import order_fit
from server.latencies.predictors.predictor import LatencyPredictor, TableStanding, space_key
from server.latencies.predictors.store import PredictorStore
from server.latency_tables.batch import Batch
from server.latency_tables.store import BatchStore

LOOKED_AT_ONCE = 20
"""Tables that one look goes through: the sweeping of leases waits for it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A complete table as it stands.

    Attributes:
        basis: changes with whatever its estimates stand on.
        num_networks: different ones that its reports compare.
        trouble: why it can estimate nothing; empty where only networks may be wanting.
    """

    table: Batch
    basis: str
    num_networks: int
    trouble: str


class TablePredictors:
    """Keeps one predictor for each complete latency table; some tables at each look, in turn."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._after = ""

    def advance(self) -> int:
        """Look at the next tables, and order the fits that are due; any replica may. Returns how many are."""
        found, changed = self._uow.read(lambda tx: _look(tx, self._after))
        self._after = found[-1].table.id if len(found) == LOOKED_AT_ONCE else ""
        if not changed:
            return 0

        def work(tx: Transaction) -> int:
            PredictorStore(tx).lock_progress()  # one replica at a time: two would make a table's predictor twice
            kept = [_kept(tx, one) for one in changed]
            due = [one for one in kept if one.is_due]
            for one in due:
                order_fit(tx, one)
            return len(due)

        return self._uow.write(work)


def _look(tx: Transaction, after: str) -> tuple[Sequence[_Found], Sequence[_Found]]:
    """The next tables as they stand, and those of them that are not so in their predictors, or wait for a fit."""
    tables = BatchStore(tx).complete_tables(after, LOOKED_AT_ONCE)
    if not tables:
        return (), ()
    ids = [one.id for one in tables]
    reports: dict[str, list[Batch]] = defaultdict(list)
    for report in BatchStore(tx).ended_reports(ids):
        assert report.sampling is not None
        reports[report.sampling.table_id].append(report)
    trusted = BatchStore(tx).num_trusted_entries([*ids, *(one.id for some in reports.values() for one in some)])
    compared = BatchStore(tx).num_compared_networks(ids)
    found = [_standing(one, reports[one.id], trusted, compared[one.id]) for one in tables]
    known = PredictorStore(tx).of_tables(ids)
    changed = [
        one
        for one in found
        if (made := known.get(one.table.id)) is None
        or made.standing is None
        or (made.standing.basis, made.num_seen) != (one.basis, one.num_networks)
        or made.is_due
    ]
    return found, changed


def _standing(table: Batch, reports: Sequence[Batch], trusted: Mapping[str, int], num_networks: int) -> _Found:
    batches: list[JsonValue] = [[one.id, one.version, trusted[one.id]] for one in (table, *reports)]
    basis = hashlib.sha256(canonical_json(batches).encode()).hexdigest()
    doubted = table.num_entries - trusted[table.id]
    trouble = f"{doubted} of its operators were measured in a way that came to be doubted: order it again"
    return _Found(table, basis, 0 if doubted else num_networks, trouble if doubted else "")


def _kept(tx: Transaction, found: _Found) -> LatencyPredictor:
    """The predictor of a table, brought to how that stands; nothing is served of one that lost what it stood on."""
    store, table = PredictorStore(tx), found.table
    known = store.of_tables([table.id]).get(table.id)
    if known is None:
        space, parameters = table.spec.space.id, canonical_json(dict(table.spec.space.parameters))
        predictor = LatencyPredictor(
            id=new_id(IdPrefix.LATENCY_PREDICTOR),
            device_type=table.spec.device.device_type,
            hardware_key=table.hardware_key,
            space_id=space,
            parameters=parameters,
            space_key=space_key(space, parameters),
            table_id=table.id,
            standing=TableStanding(basis=found.basis),
            num_seen=found.num_networks,
            trouble=found.trouble,
            created_at=tx.now(),
        )
        store.add_predictor(predictor)
        return predictor
    locked = store.lock_predictor(known.id)
    standing = TableStanding(basis="") if locked.standing is None else locked.standing
    changed = replace(locked, standing=replace(standing, basis=found.basis), num_seen=found.num_networks)
    if found.num_networks < MIN_NETWORKS:
        changed = changed.withdrawn(found.trouble)
    return locked if changed == locked else store.save_predictor(changed)
