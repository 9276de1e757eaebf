"""The control calls: authenticate, convert, hand to the service, convert back. No decision is taken here."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import grpc

from hilnas.v1 import control_pb2, control_pb2_grpc
from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from server.access.credentials import authenticated, offered
from server.artifacts.artifacts import Artifacts
from server.core.errors import InvalidValueError, NotFoundError, NotPermittedError
from server.core.rpc.bounds import read_message, violation
from server.core.rpc.errors import answering, refuse
from server.core.rpc.wire_bounds import MAX_ENVELOPE_BYTES, WIRE_BOUNDS
from server.fleet import converters
from server.fleet.device import Device, DeviceState
from server.fleet.device_work import DeviceWork
from server.fleet.devices import Devices
from server.fleet.sessions import AgentOrders, AgentSessions, SessionState
from server.jobs.converters import failure_from_proto, lease_from_proto
from server.jobs.dispatch import LeaseVerdict
from server.jobs.failures import Failure
from server.jobs.job import Job
from server.jobs.results import JobResults, ResultReceipt, ResultStatus
from server.jobs.states import JobKind

_log = logging.getLogger(__name__)
PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
NEXT_SYNC_S = 0.0  # the long-poll itself is the pause
CROWDED_SYNC_S = 2.0
INACTIVE_SYNC_S = 5.0
LARGE_RESULT_BYTES = 1 << 20
"""Of results beyond this one is unpacked at a time: its samples may take two hundred times as much meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentServices:
    """The use cases behind the agents' endpoint; `work` holds one entry for each kind of job that devices do."""

    devices: Devices
    sessions: AgentSessions
    artifacts: Artifacts
    results: JobResults
    work: Mapping[JobKind, DeviceWork]

    def check_fetch(self, device: Device, sha256: str) -> None:
        """Let a device fetch what the jobs that it holds or held lately need, and nothing else.

        Raises:
            NotPermittedError: the artifact is none of these, or the device is quarantined.
        """
        if device.state is DeviceState.QUARANTINED:
            raise NotPermittedError(f"device {device.id} is quarantined: it gets no artifacts until it is resumed")
        # What it holds now comes first: nearly every call ends there.
        for jobs in (self.devices.current_jobs, self.devices.past_jobs):
            for job in jobs(device.id):
                if job.kind in self.work and sha256 in self.work[job.kind].artifacts(job):
                    return
        raise NotPermittedError(f"artifact {sha256[:12]} belongs to no job that device {device.id} holds or held")


class AgentControl(control_pb2_grpc.AgentControlServicer):
    """hilnas.v1.AgentControl.

    Args:
        services: the use cases.
        max_polls: long polls held at a time; agents beyond that are answered at once and asked to come back, so that
            renewals always find a free thread.
    """

    def __init__(self, services: AgentServices, max_polls: int) -> None:
        self._services = services
        self._polls = threading.BoundedSemaphore(max_polls)
        self._large_results = threading.Lock()

    def Enroll(self, request: control_pb2.EnrollRequest, context: grpc.ServicerContext) -> control_pb2.EnrollResponse:  # noqa: N802
        """Enrol a board by a token; answers its agent id and its credential."""
        with answering(context):
            _negotiate(request.agent, context)
            device, credential = self._services.devices.enrol(
                request.enrolment_token, converters.enrolment_from_proto(request), offered(context)
            )
            return control_pb2.EnrollResponse(agent_id=device.id, credential=credential)

    def Sync(self, request: control_pb2.SyncRequest, context: grpc.ServicerContext) -> control_pb2.SyncResponse:  # noqa: N802
        """Take the agent's whole state in; answers assignments and orders, after a long poll where there are none."""
        with answering(context):
            protocol = _negotiate(request.agent, context)
            device = authenticated(self._services.devices.authenticate, request.agent.agent_id, context)
            report = converters.report_from_proto(request)
            waits = self._polls.acquire(blocking=False)
            try:
                orders = self._services.sessions.sync(report, request.wait_s if waits else 0.0)
            finally:
                if waits:
                    self._polls.release()
            device = replace(device, instance_epoch=report.instance_epoch)  # as the sync has just noted
            settings, pause_s = self._services.sessions.settings, NEXT_SYNC_S if waits else CROWDED_SYNC_S
            return control_pb2.SyncResponse(
                protocol=protocol,
                session=converters.SESSION_STATES[orders.session],
                assignments=self._assignments(device, orders, settings.ttl_s),
                verdicts=[converters.verdict_to_proto(v) for v in orders.verdicts],
                next_sync_s=pause_s if orders.session is SessionState.ACTIVE else INACTIVE_SYNC_S,
                renew_every_s=settings.renew_every_s,
                message=orders.message,
                server_time_unix_ms=time.time_ns() // 1_000_000,
            )

    def Renew(self, request: control_pb2.RenewRequest, context: grpc.ServicerContext) -> control_pb2.RenewResponse:  # noqa: N802
        """Renew the leases an agent holds. An older instance of a device holds nothing any more."""
        with answering(context):
            device = authenticated(self._services.devices.authenticate, request.agent.agent_id, context)
            running = tuple(converters.running_from_proto(r) for r in request.running)
            if request.agent.instance_epoch < device.instance_epoch:
                reason = "a newer instance speaks for this device"
                verdicts = tuple(LeaseVerdict(r.lease, LeaseOrder.LOST, 0.0, reason) for r in running)
            else:
                verdicts = self._services.sessions.renew(device.id, running)
            return control_pb2.RenewResponse(verdicts=[converters.verdict_to_proto(v) for v in verdicts])

    def PutResult(  # noqa: N802
        self, request: control_pb2.PutResultRequest, context: grpc.ServicerContext
    ) -> control_pb2.PutResultResponse:
        """Take in the result of a leased job; sent again, it is answered alike and changes nothing."""
        with answering(context):
            device = authenticated(self._services.devices.authenticate, request.agent.agent_id, context)
            data = request.envelope  # a copy at each access
            if len(data) > MAX_ENVELOPE_BYTES:
                reason = f"the envelope has {len(data)} bytes: at most {MAX_ENVELOPE_BYTES} are taken"
                return control_pb2.PutResultResponse(status=control_pb2.RESULT_STATUS_REJECTED, reason=reason)
            digest = hashlib.sha256(data).hexdigest()
            if digest != request.envelope_sha256:
                refuse(context, grpc.StatusCode.DATA_LOSS, "the envelope was damaged on its way: send it again")
            with self._large_results if len(data) > LARGE_RESULT_BYTES else contextlib.nullcontext():
                envelope = read_message(control_pb2.ResultEnvelope, data, MAX_ENVELOPE_BYTES)
                del data
                receipt = self._take(device, envelope, digest)
            return control_pb2.PutResultResponse(
                status=converters.RESULT_STATUSES[receipt.status], reason=receipt.reason
            )

    def _assignments(self, device: Device, orders: AgentOrders, ttl_s: float) -> list[control_pb2.Assignment]:
        """What the agent is to do. A job whose model is gone fails here instead of on a board."""
        assignments: list[control_pb2.Assignment] = []
        for job in orders.assignments:
            try:
                assignments.append(self._services.work[job.kind].assignment(device, job, ttl_s))
            except (InvalidValueError, NotFoundError) as error:
                _log.error("job %s cannot be assigned: %s", job.id, error)
                if job.lease is not None:
                    failure = Failure(FailureType.INVALID_INPUT, str(error))
                    digest = hashlib.sha256(job.lease.lease_id.encode()).hexdigest()
                    self._services.results.put_failure(device.id, job.lease, failure, digest)
        return assignments

    def _take(self, device: Device, envelope: control_pb2.ResultEnvelope, digest: str) -> ResultReceipt:
        lease, results = lease_from_proto(envelope.lease), self._services.results
        outcome = envelope.WhichOneof("outcome")
        if broken := violation(envelope.lease, WIRE_BOUNDS):
            return ResultReceipt(ResultStatus.REJECTED, f"the result names no lease: {broken}")
        known = results.check(device.id, lease, digest)
        if isinstance(known, ResultReceipt) and known.status is ResultStatus.REJECTED:
            return known
        if broken := violation(envelope, WIRE_BOUNDS):
            return results.refuse(device.id, lease, digest, broken)
        if outcome == "failure":
            if isinstance(known, Job):
                self._services.work[known.kind].note_failure(device, known, envelope.failure)
            failure = failure_from_proto(envelope.failure.type, envelope.failure.message)
            return results.put_failure(device.id, lease, failure, digest)
        for work in self._services.work.values():
            if work.outcome == outcome:
                return work.take(device, lease, envelope, digest, known)
        return results.refuse(device.id, lease, digest, "a result of a kind this server does not know")


def _negotiate(agent: control_pb2.AgentIdentity, context: grpc.ServicerContext) -> int:
    """The newest protocol both speak."""
    newest = min(PROTOCOL_MAX, agent.protocol_max)
    if newest < max(PROTOCOL_MIN, agent.protocol_min):
        refuse(
            context,
            grpc.StatusCode.FAILED_PRECONDITION,
            f"this server speaks protocols {PROTOCOL_MIN} to {PROTOCOL_MAX}, the agent {agent.protocol_min} to "
            f"{agent.protocol_max}: upgrade the older of the two (pip install -U 'hilnas[agent]')",
        )
    return newest
