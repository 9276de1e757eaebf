"""Keeps tables and reports going: orders what they lack, ends those that are done."""

from __future__ import annotations

import time

import structlog

from nas_engine.domain.errors import EngineError
from server.core.database.transaction import UnitOfWork
from server.core.errors import ServiceError
from server.latency_tables.batch import Batch
from server.latency_tables.batches import Batches
from server.latency_tables.cost_reports import CostReports
from server.latency_tables.latency_tables import LatencyTables
from server.latency_tables.store import BatchStore

_log = structlog.get_logger("hilnas.latency_tables")
MAX_DRAWING_S = 5.0  # of one look at all reports: the sweeping of leases waits for it


class BatchKeeper:
    """Looks after running batches. Idempotent; any replica may."""

    def __init__(self, uow: UnitOfWork, tables: LatencyTables, reports: CostReports) -> None:
        self._uow = uow
        self._tables = tables
        self._reports = reports

    def advance_all(self) -> None:
        """Look at every running batch once; a report whose networks are still being drawn is given some seconds."""
        until_s = time.monotonic() + MAX_DRAWING_S
        for batch in self._uow.read(lambda tx: BatchStore(tx).running_batches()):
            # One that cannot go on must not stop the others.
            try:
                while self._advance(batch) and time.monotonic() < until_s:
                    pass
            except (EngineError, ServiceError) as error:
                _log.warning("a latency table does not go on", batch=batch.id, error=str(error))

    def resume(self, batches: Batches, batch_id: str) -> None:
        """Resume a table or report, and order at once what it lacks. Raises as `Batches.resume`."""
        self._advance(batches.resume(batch_id))

    def _advance(self, batch: Batch) -> bool:
        """Whether there is more to draw."""
        if batch.sampling is not None:
            return self._reports.advance(batch.id)
        self._tables.advance(batch.id)
        return False
