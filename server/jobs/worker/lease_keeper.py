"""A lease renewed by a thread of its own, so that a long-running job never starves its renewal."""

from __future__ import annotations

import threading
from types import TracebackType

import structlog

from nas_engine.domain.job_protocol import LeaseOrder
from server.core.errors import LeaseLostError
from server.jobs.dispatch import Dispatch
from server.jobs.job import LeaseRef
from server.jobs.states import JobPhase

_log = structlog.get_logger("hilnas.worker")


class LeaseKeeper:
    """Renews one lease while its `with` block runs; `stopped` says that work on it is to end."""

    def __init__(self, dispatch: Dispatch, lease: LeaseRef) -> None:
        self._dispatch = dispatch
        self.lease = lease
        self._done = threading.Event()
        self._order = LeaseOrder.CONTINUE
        self._thread = threading.Thread(target=self._renew, name=f"renew-{lease.job_id}", daemon=True)

    @property
    def order(self) -> LeaseOrder:
        """The last thing the service said."""
        return self._order

    def stopped(self) -> bool:
        """Whether the work is to end: cancelled, or somebody else has the job."""
        return self._order in (LeaseOrder.CANCEL, LeaseOrder.LOST)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=10)

    def _renew(self) -> None:
        while not self._done.wait(self._dispatch.settings.renew_every_s):
            try:
                self._order = self._dispatch.renew(self.lease, JobPhase.WORKING).order
            except LeaseLostError:
                # Also how the end of the job itself looks from here.
                self._order = LeaseOrder.LOST
                return
            except Exception as error:
                # The database may be back before the lease dies: go on trying.
                _log.warning("lease not renewed", job_id=self.lease.job_id, error=str(error))
