"""What every replica does beside serving: bring dead leases back, write notes down, forget what is old, scrub."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import structlog

from server.access.changes.changes import Changes
from server.access.limits.quotas import Quotas
from server.access.sessions import Sessions
from server.artifacts.scrub import ArtifactScrubs
from server.bootstrap.served_certificates import ServedCertificates
from server.core.errors import ServiceError
from server.core.events import Events
from server.core.idempotency import Idempotency
from server.jobs.dispatch import Dispatch
from server.latencies.predictors.predictors import Predictors
from server.latency_tables.keeper import BatchKeeper
from server.measuring.orders import SharedMeasurements
from server.searches.what_if.what_ifs import WhatIfs

_log = structlog.get_logger("hilnas.housekeeping")
KEEP_EVENTS = timedelta(days=90)
KEEP_CHANGES = timedelta(days=365)
PRUNE_EVERY_S = 3600.0


class Housekeeping:
    """A thread that sweeps leases and prunes old rows until stopped."""

    def __init__(
        self,
        dispatch: Dispatch,
        events: Events,
        idempotency: Idempotency,
        batches: BatchKeeper,
        sessions: Sessions,
        quotas: Quotas,
        scrubs: ArtifactScrubs,
        predictors: Predictors,
        changes: Changes,
        what_ifs: WhatIfs,
        shared: SharedMeasurements,
    ) -> None:
        self._shared = shared
        self._changes = changes
        self._predictors = predictors
        self._what_ifs = what_ifs
        self._sessions = sessions
        self._quotas = quotas
        self._dispatch = dispatch
        self._events = events
        self._idempotency = idempotency
        self._batches = batches
        self._scrubs = scrubs
        self._certificates: ServedCertificates | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self, certificates: ServedCertificates | None = None) -> None:
        """Look first for what an earlier process left behind, then go on in the background.

        Args:
            certificates: what agents are served with, whose dates are looked at too; None without TLS.
        """
        self._certificates = certificates
        report = self._dispatch.reconcile()
        if report.num_requeued or report.num_failed or report.num_advanced:
            _log.info("took up work of an earlier process", report=str(report))
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        self._stopped.set()
        self._thread.join(timeout=10)
        self._scrubs.stop()

    def _run(self) -> None:
        next_prune_s = time.monotonic() + PRUNE_EVERY_S
        while not self._stopped.wait(self._dispatch.settings.renew_every_s):
            # A failing database must not end the sweeping: it comes back.
            try:
                self._sessions.write_uses()
                self._quotas.write_uses()
                self._dispatch.sweep()
                self._batches.advance_all()
                self._predictors.advance()
                self._what_ifs.advance_all()
                self._shared.hand_over()
                if time.monotonic() >= next_prune_s:
                    next_prune_s = time.monotonic() + PRUNE_EVERY_S
                    if self._certificates is not None:
                        self._certificates.say()
                    self._events.prune(KEEP_EVENTS)
                    self._changes.prune(KEEP_CHANGES)
                    self._idempotency.prune()
                    self._sessions.prune()
                    self._quotas.prune()
                    self._scrubs.start_if_due()
            except ServiceError as error:  # its line says what to do
                _log.warning("housekeeping failed, it goes on", error=str(error))
            except Exception as error:
                _log.warning("housekeeping failed, it goes on", exc_info=error)
