"""Keeping the lease alive, in a thread of its own: neither a busy job nor a slow call of another kind holds it up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import grpc

from device_agent.jobs import LeasedJob
from device_agent.server_link.backoff import Backoff
from device_agent.server_link.link import describe
from device_agent.server_link.wire import lease_order, report_to_proto
from hilnas.v1 import control_pb2
from nas_engine.domain.job_protocol import FailureType, LeaseOrder

_log = logging.getLogger(__name__)
RENEW_TIMEOUT_S = 5.0
DEFAULT_RENEW_EVERY_S = 15.0

Renew = Callable[[control_pb2.RenewRequest, float], control_pb2.RenewResponse]


class Renewer:
    """Renews one job's lease until it is ended. Of a job that begins, the first renewal goes out at once: it accepts
    the lease. One that is held only has to be kept from expiring.

    A server that cannot be reached does not stop the job: its result is spooled, and may still be wanted. Only the
    server's word ends it.

    Args:
        renew: the call.
        identity: names this agent.
        job: the job whose lease it is; its token is set when the server says cancel or lost.
        every_s: pause between renewals.
    """

    def __init__(
        self,
        renew: Renew,
        identity: control_pb2.AgentIdentity,
        job: LeasedJob,
        every_s: float,
    ) -> None:
        self._renew = renew
        self._identity = identity
        self._job = job
        self._every_s = min(every_s, max(0.1, job.ttl_s / 3.0)) if job.ttl_s > 0 else every_s
        self._ended = threading.Event()
        self._backoff = Backoff(maximum_s=max(0.5, self._every_s))
        self._first_pause_s = 0.0
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self, *, held: bool = False) -> None:
        """Begin; with the first renewal at once, or after the pause where the job is only held."""
        self._first_pause_s = self._every_s if held else 0.0
        self._thread.start()

    def end(self) -> None:
        """Stop renewing; waits for a renewal that is on its way."""
        self._ended.set()
        self._thread.join(RENEW_TIMEOUT_S + 1.0)

    def _run(self) -> None:
        pause_s = self._first_pause_s
        while not self._ended.wait(pause_s):
            try:
                request = control_pb2.RenewRequest(agent=self._identity, running=[report_to_proto(self._job)])
                response = self._renew(request, RENEW_TIMEOUT_S)
            except grpc.RpcError as error:
                _log.warning("lease of %s not renewed: %s", self._job.lease.job_id, describe(error))
                pause_s = self._backoff.next_s()
                continue
            self._backoff = Backoff(maximum_s=max(0.5, self._every_s))
            pause_s = self._backoff.jittered(self._every_s)
            obey(response, self._job)


def obey(response: control_pb2.RenewResponse | control_pb2.SyncResponse, job: LeasedJob) -> LeaseOrder:
    """Have a job stop where the server's answer says so; returns what it says."""
    verdict = next((one for one in response.verdicts if one.lease_id == job.lease.lease_id), None)
    order = LeaseOrder.CONTINUE if verdict is None else lease_order(verdict.order)
    reason = "" if verdict is None else verdict.reason
    match order:
        case LeaseOrder.CONTINUE | LeaseOrder.DRAIN:  # a server that drains says so at the next sync again
            pass
        case LeaseOrder.CANCEL:
            job.token.stop(FailureType.CANCELLED, reason or "cancelled by the server")
        case LeaseOrder.LOST:
            job.token.stop(FailureType.LEASE_LOST, reason or "the lease is lost")
    return order
