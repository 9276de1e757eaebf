"""The use cases of predictors: listed, counted up, and ordered when so much is new that they are to be fitted."""

from __future__ import annotations

from dataclasses import replace

from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.jobs.job import NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.latencies.predictors.payloads import FitPayload
from server.latencies.predictors.predictor import LatencyPredictor, PredictedGroup
from server.latencies.predictors.store import PredictorStore

COUNTED_AT_ONCE = 2000
"""Measurements that one look goes through: the sweeping of leases waits for it."""

MAX_FIT_ATTEMPTS = 3


class Predictors:
    """Lists predictors and keeps them fitted."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def page(self, device_type: str | None, hardware_key: str | None, page: PageRequest) -> Page[LatencyPredictor]:
        """List them, newest first."""
        return self._uow.read(lambda tx: PredictorStore(tx).page_of_predictors(device_type, hardware_key, page))

    def get(self, predictor_id: str) -> LatencyPredictor:
        """Read one. Raises NotFoundError."""
        return self._uow.read(lambda tx: PredictorStore(tx).get_predictor(predictor_id))

    def advance(self) -> int:
        """Count the next new measurements, and order the fits that are due; any replica may. Returns how many are."""

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
                    _order(tx, predictor)
                    num += 1
            return num

        return self._uow.write(work)


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


def _order(tx: Transaction, predictor: LatencyPredictor) -> None:
    """Queue a fit; one that is queued or under way already is enough."""
    JobStore(tx).add_job(
        NewJob(
            kind=JobKind.FIT,
            payload=FitPayload(predictor_id=predictor.id).to_json(),
            dedupe_key=f"fit:{predictor.id}",
            max_attempts=MAX_FIT_ATTEMPTS,
        )
    )
    tx.wake(Topic.WORKER_JOBS)
