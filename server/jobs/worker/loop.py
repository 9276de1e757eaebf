"""The worker's loop: claim, do, report. Lanes, so that short steps never wait behind long work."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import structlog

from nas_engine.domain.job_protocol import LeaseOrder
from server.core.errors import LeaseLostError, ServiceError, StorageFullError, UnavailableError
from server.jobs.dispatch import Dispatch
from server.jobs.job import Job
from server.jobs.registry import Executor
from server.jobs.states import JobKind
from server.jobs.worker.handlers import Handler, failure_of
from server.jobs.worker.lease_keeper import LeaseKeeper
from server.jobs.workers.beats import Beats
from server.jobs.workers.registered import RegisteredWorker

_log = structlog.get_logger("hilnas.worker")
CLAIM_WAIT_S = 10.0
TROUBLE_PAUSE_S = 2.0
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Worker:
    """Runs handlers over leased jobs until it is stopped."""

    def __init__(
        self,
        dispatch: Dispatch,
        owner: str,
        handlers: Mapping[JobKind, Handler],
        labels: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
        begin_lane: Callable[[Executor], None] = lambda _: None,
    ) -> None:
        """`labels` say what this worker can do beyond what every worker can; `folder` is its own, and while it can be
        written, what else is read-only is the job's fault; `begin_lane` is called first in the thread of each lane.
        """
        self._dispatch = dispatch
        self._owner = owner
        self._handlers = handlers
        self._labels = dict(labels or {})
        self._folder = folder
        self._begin_lane = begin_lane
        self._stop = threading.Event()

    def run(self) -> None:
        """Run every lane; returns once all have ended after `stop`."""
        self._dispatch.reconcile()
        lanes = self._dispatch.kinds.lanes(self._handlers.keys())
        threads = [
            threading.Thread(target=self._run_lane, args=(lane, kinds), name=lane.name) for lane, kinds in lanes.items()
        ]
        registered = self._registered()
        with Beats(lambda: self._dispatch.beat(registered), lambda: self._dispatch.leave(registered.id)):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Take no more jobs; training stops at its next step and keeps its checkpoint."""
        self._stop.set()

    def _registered(self) -> RegisteredWorker:
        """What the server is told of this worker."""
        lanes = self._dispatch.kinds.lanes(self._handlers.keys())
        now = datetime.now(UTC)  # the database's clock replaces it
        return RegisteredWorker(
            id=self._owner,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("hilnas"),
            kinds=tuple(kind for of_lane in lanes.values() for kind in of_lane),
            started_at=now,
            beat_at=now,
        )

    def _run_lane(self, lane: Executor, kinds: tuple[JobKind, ...]) -> None:
        self._begin_lane(lane)
        while not self._stop.is_set():
            try:
                job = self._dispatch.wait_and_claim(self._owner, kinds, wait_s=CLAIM_WAIT_S, labels=self._labels)
                if job is not None:
                    self._do(job)
            except Exception as error:  # a lane never ends by itself: its jobs would wait for ever
                traceback = None if isinstance(error, ServiceError) else error  # what we raise ourselves says enough
                _log.warning("lane in trouble", lane=lane.name, error=str(error), exc_info=traceback)
                self._stop.wait(TROUBLE_PAUSE_S)

    def _do(self, job: Job) -> None:
        lease = job.lease
        if lease is None:
            raise UnavailableError(f"job {job.id} was claimed without a lease")
        log = _log.bind(job_id=job.id, kind=job.kind.value, attempt=job.attempt)
        if self._stop.is_set():
            self._dispatch.give_back(lease, "the worker is shutting down")
            return
        with LeaseKeeper(self._dispatch, lease) as keeper:
            try:
                self._handlers[job.kind](job, lease, lambda: keeper.stopped() or self._stop.is_set())
            except LeaseLostError:
                log.info("lease lost")
                return
            except StorageFullError as error:  # neither the job's fault nor an attempt; the lane pauses before the next
                self._dispatch.give_back(lease, str(error))
                raise
            except Exception as error:  # the loop's edge: whatever it is, the job is reported
                if (disk := self._of_disk(error)) is not None:  # its folder's, as the store's above
                    full = StorageFullError(f"the worker's disk is full or read-only: {disk}")
                    self._dispatch.give_back(lease, str(full))
                    raise full from error
                log.warning("job failed", error=str(error), exc_info=True)
                self._dispatch.fail(lease, failure_of(error))
                return
            if self._stop.is_set() or keeper.order is LeaseOrder.CANCEL:
                # The handler returned without ending it; where the lease is lost, it was done or is somebody else's.
                with suppress(LeaseLostError):
                    self._dispatch.give_back(lease, "the worker stopped before the job was done")

    def _of_disk(self, error: BaseException) -> OSError | None:
        """What an error comes from, if that is a disk without room, or one that the kernel lets us write no more."""
        at: BaseException | None = error
        while at is not None:  # ends: a cause is older than what it caused
            if isinstance(at, OSError) and at.errno in _UNWRITABLE:
                # A library that writes to some other place that is read-only does so on every attempt.
                elsewhere = at.errno == errno.EROFS and self._folder is not None and os.access(self._folder, os.W_OK)
                return None if elsewhere else at
            at = at.__cause__
        return None
