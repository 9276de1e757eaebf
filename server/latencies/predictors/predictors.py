"""The use cases of predictors: listed, counted up, and ordered when so much is new that they are to be fitted."""

from __future__ import annotations

from dataclasses import replace

from server.core.database.transaction import Transaction, UnitOfWork
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.latencies.predictors.orders import order_fit
from server.latencies.predictors.predictor import LatencyPredictor, PredictedGroup
from server.latencies.predictors.store import PredictorStore
from server.latencies.predictors.tables import TablePredictors

COUNTED_AT_ONCE = 2000
"""Measurements that one look goes through: the sweeping of leases waits for it."""


class Predictors:
    """Lists predictors and keeps them fitted."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._tables = TablePredictors(uow)

    def page(self, device_type: str | None, hardware_key: str | None, page: PageRequest) -> Page[LatencyPredictor]:
        """List them, newest first."""
        return self._uow.read(lambda tx: PredictorStore(tx).page_of_predictors(device_type, hardware_key, page))

    def get(self, predictor_id: str) -> LatencyPredictor:
        """Read one. Raises NotFoundError."""
        return self._uow.read(lambda tx: PredictorStore(tx).get_predictor(predictor_id))

    def advance(self) -> int:
        """Count the next new measurements, look at the next latency tables, and order the fits that are due.

        Any replica may. Returns how many are due.
        """

        def work(tx: Transaction) -> int:
            store = PredictorStore(tx)
            counted = store.lock_progress()
            newest, groups = store.new_in_groups(counted, COUNTED_AT_ONCE)
            if newest != counted:
                store.save_progress(newest)
            num = 0
            for group, number in groups.items():
                predictor = _counted(tx, group, number)
                if predictor.is_due:
                    order_fit(tx, predictor)
                    num += 1
            return num

        return self._uow.write(work) + self._tables.advance()


def _counted(tx: Transaction, group: PredictedGroup, number: int) -> LatencyPredictor:
    store = PredictorStore(tx)
    known = store.find_group(group)
    if known is None:
        predictor = LatencyPredictor(
            id=new_id(IdPrefix.LATENCY_PREDICTOR),
            device_type=group.device_type,
            hardware_key=group.hardware_key,
            space_id=group.space_id,
            parameters=group.parameters,
            space_key=group.space_key,
            num_seen=number,
            created_at=tx.now(),
        )
        store.add_predictor(predictor)
        return predictor
    locked = store.lock_predictor(known.id)
    return store.save_predictor(replace(locked, num_seen=locked.num_seen + number))
