"""The job after the running one, got while that one runs, so that the board need not wait for it.

What is held is leased but not begun: its renewals do not accept the lease, a board that is free sooner may be given it,
and a crash costs it no attempt. Whether it is still this agent's is asked once more before it is begun.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from device_agent.failures import JobFailedError, JobStoppedError
from device_agent.jobs import FetchPausedError, JobRunner, LeasedJob, MeasureOrder
from device_agent.measuring.procedure import Phase
from device_agent.server_link.link import Link, describe
from device_agent.server_link.renewal import RENEW_TIMEOUT_S, Renewer, obey
from device_agent.server_link.session import LeaseToReturn, ServerSession
from device_agent.server_link.wire import job_from_proto, report_to_proto
from hilnas.v1 import control_pb2
from nas_engine.domain.job_protocol import FailureType

_log = logging.getLogger(__name__)
LOOK_S = 0.1
"""Pause between two looks at what the running job does, before anything is fetched beside it."""

_LEFT_ALONE = (Phase.ASSIGNED, Phase.FETCHING, Phase.WARMUP, Phase.MEASURING)
"""Phases of a job in which it fetches itself, or is being timed."""


@dataclass(slots=True)
class HeldJob:
    """A leased job whose lease is being renewed.

    Attributes:
        ready: set once nothing is fetched for it any more; it may begin then.
    """

    job: LeasedJob
    renewer: Renewer
    ready: threading.Event = field(default_factory=threading.Event)

    def ask(self, link: Link, identity: control_pb2.AgentIdentity) -> grpc.Future[control_pb2.RenewResponse]:
        """Ask whether it is still this agent's; the answer accepts its lease."""
        self.job.phase = Phase.FETCHING
        request = control_pb2.RenewRequest(agent=identity, running=[report_to_proto(self.job)])
        return link.confirm(request, RENEW_TIMEOUT_S)

    def give_back(self, reason: str) -> LeaseToReturn:
        """End what is done for it; it was not begun, and costs nobody an attempt."""
        self.renewer.end()
        self.job.token.stop(FailureType.AGENT_SHUTDOWN, reason)
        self.ready.wait()
        return LeaseToReturn(self.job.lease, FailureType.AGENT_SHUTDOWN, reason)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What came of looking ahead.

    Attributes:
        response: what the server said; None where it could not be asked, or the results could not be delivered.
        held: the job it gave, if it gave one.
    """

    response: control_pb2.SyncResponse | None
    held: HeldJob | None


class LookAhead:
    """Looks ahead once, beside one running job, in a thread of its own.

    Args:
        hold: begins to renew a job's lease.
        done: told what came of it, before anything is fetched.
    """

    def __init__(
        self,
        session: ServerSession,
        link: Link,
        runner: JobRunner,
        hold: Callable[[LeasedJob], HeldJob],
        done: Callable[[Ahead], None],
    ) -> None:
        self._session = session
        self._link = link
        self._runner = runner
        self._hold = hold
        self._done = done
        self._over = threading.Event()
        self._asking: grpc.Future[control_pb2.SyncResponse] | None = None
        self._hurried = False

    def start(self, running: LeasedJob, request: Callable[[], control_pb2.SyncRequest]) -> None:
        """Begin; `request` is asked for after the results of earlier jobs are delivered."""
        threading.Thread(target=self._run, args=(running, request), name="look-ahead", daemon=True).start()

    def running_is_over(self) -> None:
        """Nothing has to be left alone any more."""
        self._over.set()

    def hurry(self) -> None:
        """Wait for the server no longer; whatever it may still give is not begun, and its lease expires by itself."""
        self._hurried = True
        if self._asking is not None:
            self._asking.cancel()

    def _run(self, running: LeasedJob, request: Callable[[], control_pb2.SyncRequest]) -> None:
        response: control_pb2.SyncResponse | None = None
        held: HeldJob | None = None
        try:
            self._session.deliver()
            if not self._hurried:
                self._asking = self._link.sync(request())
                response = self._asking.result()
            if response is not None:
                obey(response, running)
                held = next((self._hold(job_from_proto(one)) for one in response.assignments), None)
        except (grpc.RpcError, grpc.FutureCancelledError, OSError) as error:
            # Nothing is lost: the agent's own turn comes upon the same after the job, and knows what to do about it.
            _log.info("no look ahead: %s", describe(error) if isinstance(error, grpc.RpcError) else error)
        finally:
            self._done(Ahead(response, held))
        if held is not None:
            try:
                self._fetch(held.job, running)
            finally:
                held.ready.set()

    def _fetch(self, job: LeasedJob, running: LeasedJob) -> None:
        if self._runner.has_artifacts(job):
            return

        def must_pause() -> bool:
            return _left_alone(running) and not self._over.is_set()

        fetched = False
        try:
            while not fetched:  # ends with the running job at the latest
                while _left_alone(running) and not self._over.wait(LOOK_S):
                    pass
                with contextlib.suppress(FetchPausedError):
                    self._runner.fetch_ahead(job, must_pause)
                    fetched = True
        except (JobFailedError, JobStoppedError, OSError) as error:  # the job itself comes upon it again, and tells
            _log.info("job %s: not fetched ahead: %s", job.lease.job_id, error)


def _left_alone(running: LeasedJob) -> bool:
    """Whether nothing is fetched beside a job now: it fetches itself, or it or its canary is being timed."""
    timed = isinstance(running.order, MeasureOrder) and running.order.canary is not None
    return running.phase in _LEFT_ALONE or (timed and running.phase is Phase.PREPARING)
