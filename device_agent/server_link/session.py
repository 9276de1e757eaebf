"""What the agent tells the server about itself: enrolment, sync messages, and results from the spool."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from device_agent.failures import EnrolmentError
from device_agent.jobs import LeasedJob, LeaseKey
from device_agent.measuring.device import MeasuringDevice
from device_agent.server_link.artifacts import ArtifactCache
from device_agent.server_link.link import Link, Trouble, describe, status, trouble
from device_agent.server_link.spool import Spool, SpooledResult
from device_agent.server_link.wire import capabilities_to_proto, lease_to_proto, report_to_proto
from device_agent.settings import AgentSettings
from device_agent.state import Enrolled, StateDirectory
from device_agent.version import PROTOCOL_MAX, PROTOCOL_MIN
from hilnas.v1 import control_pb2
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.text import MAX_REASON_CHARACTERS, one_line

_log = logging.getLogger(__name__)
MAX_CACHED_REPORTED = 64
MAX_SENT_BYTES = 16 * 2**20
_FAULTS_OF_SERVER = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


@dataclass(frozen=True, slots=True)
class LeaseToReturn:
    """A lease to give back without a result."""

    lease: LeaseKey
    type: FailureType
    reason: str


@dataclass(frozen=True, slots=True)
class Health:
    """What the agent knows of its own health."""

    degraded: bool = False
    reason: str = ""
    canary_ratio: float | None = None


class ServerSession:
    """Speaks for one device with one server."""

    def __init__(
        self,
        settings: AgentSettings,
        state: StateDirectory,
        link: Link,
        device: MeasuringDevice,
        spool: Spool,
        cache: ArtifactCache,
    ) -> None:
        self._settings = settings
        self._state = state
        self._link = link
        self._spool = spool
        self._cache = cache
        self._unspooled: list[SpooledResult] = []
        self._agent = control_pb2.AgentIdentity(
            boot_id=device.board.boot_id(),
            instance_epoch=state.next_instance_epoch(),
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            agent_version=settings.measuring.agent_version,
        )
        self._capabilities = capabilities_to_proto(
            device,
            max_model_bytes=settings.max_model_bytes,
            can_pin_clocks=settings.can_pin_clocks,
            num_cpus=len(os.sched_getaffinity(0)),
        )

    @property
    def identity(self) -> control_pb2.AgentIdentity:
        """This agent, as every message names it."""
        return self._agent

    @property
    def enrolled(self) -> bool:
        """Whether the server has given this agent an id and a credential."""
        return bool(self._agent.agent_id)

    def resume(self) -> None:
        """Take up the enrolment of an earlier start, if there is one with this server.

        Raises:
            EnrolmentError: it is that of another device than this is said to be.
        """
        known, wanted = self._state.enrolled(self._settings.link.server), self._settings.device_id
        if known is not None and wanted not in ("", known.agent_id):
            raise EnrolmentError(
                f"state directory {self._settings.state_dir} is that of device {known.agent_id}, not of {wanted}: give "
                "another --state-dir, or leave --device-id out"
            )
        if known is not None:
            self._take(known)

    def require_way_in(self) -> None:
        """Waiting would not help a device that has neither credential nor token.

        Raises:
            EnrolmentError: it has neither, or what it has cannot be a token.
        """
        if not self._settings.enrolment_token.isascii() or not self._settings.enrolment_token.isprintable():
            raise EnrolmentError(
                "the enrolment token holds what no token does: it is one line, nas_enr_... (hilnas tokens enrolment)"
            )
        if not self.enrolled and not self._settings.enrolment_token:
            raise EnrolmentError(
                f"{self._settings.name} has not enrolled with {self._settings.link.server} and has no enrolment token: "
                "pass --enrolment-token-file or set HILNAS_ENROLMENT_TOKEN (a server writes its first token to "
                "enrolment.token in its home folder)"
            )

    def forget(self) -> None:
        """Drop a credential that is not accepted any more."""
        self._agent.agent_id = ""
        self._link.set_credential("")

    def enroll(self) -> None:
        """Get an id and a credential.

        Raises:
            EnrolmentError: the server does not take the token, or there is none.
            grpc.RpcError: the server could not be asked.
        """
        self.require_way_in()
        last = self._state.last_enrolled()
        agent = control_pb2.AgentIdentity()
        agent.CopyFrom(self._agent)
        agent.agent_id = self._settings.device_id or ("" if last is None else last.agent_id)
        request = control_pb2.EnrollRequest(
            enrolment_token=self._settings.enrolment_token,
            name=self._settings.name,
            device_type=self._settings.device_type,
            agent=agent,
            capabilities=self._capabilities,
            labels=dict(self._settings.labels),
        )
        try:
            answer = self._link.enroll(request, self._state.wanted_credential())
        except grpc.RpcError as error:
            if trouble(error) is Trouble.RETRY:
                raise
            raise EnrolmentError(
                f"{self._settings.link.server} refuses {self._settings.name}: {describe(error)}"
            ) from error
        enrolled = Enrolled(self._settings.link.server, answer.agent_id, answer.credential)
        self._state.remember(enrolled)
        self._take(enrolled)
        _log.info("enrolled as %s (%s)", self._settings.name, answer.agent_id)
        if self._settings.device_id not in ("", answer.agent_id):
            _log.warning("this server had no device %s named %s: this is a new one", agent.agent_id, request.name)

    def sync_request(
        self,
        *,
        returned: Sequence[LeaseToReturn],
        health: Health,
        draining: bool,
        leaving: bool = False,
        takes_jobs: bool = True,
        running: LeasedJob | None = None,
    ) -> control_pb2.SyncRequest:
        """The agent's whole state; with a job that runs it asks for the next one, and does not wait for it."""
        message = control_pb2.AgentHealth(
            degraded=health.degraded, reason=one_line(health.reason, MAX_REASON_CHARACTERS)
        )
        if health.canary_ratio is not None:
            message.canary_ratio = health.canary_ratio
        idle = takes_jobs and not (draining or leaving or health.degraded)
        return control_pb2.SyncRequest(
            agent=self._agent,
            capabilities=self._capabilities,
            labels=dict(self._settings.labels),
            free_slots=1 if idle else 0,
            running=[] if running is None else [report_to_proto(running)],
            nacks=[
                control_pb2.Nack(
                    lease=lease_to_proto(r.lease),
                    type=f"ERROR_TYPE_{r.type.name}",
                    reason=one_line(r.reason, MAX_REASON_CHARACTERS),
                )
                for r in returned
            ],
            num_spooled_results=len(self._spool) + len(self._unspooled),
            draining=draining,
            leaving=leaving,
            wait_s=self._settings.wait_s if idle and not returned and running is None else 0.0,
            cached_sha256=self._cache.held(MAX_CACHED_REPORTED),
            health=message,
        )

    def keep(self, lease_id: str, envelope: bytes) -> None:
        """Put a result where a crash cannot take it. A full disk is said in the log; the result is sent from memory."""
        try:
            self._spool.put(lease_id, envelope)
        except OSError as error:
            _log.error("result cannot be spooled, it will be lost if this process ends now: %s", error)
            self._unspooled.append(SpooledResult("", envelope, hashlib.sha256(envelope).hexdigest()))

    def deliver(self) -> None:
        """Send everything that is waiting, oldest first. What the server rejects is set aside with its reason;
        what it fails on by a fault of its own stays, and holds up neither the results behind it nor the next job.

        Raises:
            grpc.RpcError: the server could not be asked; what is left stays.
        """
        for result in (*self._spool.pending(), *self._unspooled):
            request = control_pb2.PutResultRequest(
                agent=self._agent, envelope=result.envelope, envelope_sha256=result.sha256
            )
            try:
                answer = self._link.put_result(request)
                rejected = answer.status == control_pb2.RESULT_STATUS_REJECTED
                text = f"{control_pb2.ResultStatus.Name(answer.status)} {answer.reason}".strip()
            except grpc.RpcError as error:
                text = describe(error)
                # gRPC itself refuses a result for its size, on this end or the other: no later try will do better.
                exhausted = status(error) is grpc.StatusCode.RESOURCE_EXHAUSTED
                too_large = exhausted and len(result.envelope) > MAX_SENT_BYTES
                rejected = trouble(error) is Trouble.INVALID or too_large
                if not rejected and status(error) in _FAULTS_OF_SERVER:
                    _log.warning("result %s stays, the server fails on it: %s", result.sha256[:12], text)
                    continue
                if not rejected:
                    raise
            _log.log(logging.ERROR if rejected else logging.INFO, "result %s: %s", result.sha256[:12], text)
            if rejected:
                self._spool.set_aside(result, text)
            elif result.name:
                self._spool.remove(result.name)
            if not result.name:
                self._unspooled.remove(result)

    def _take(self, enrolled: Enrolled) -> None:
        self._agent.agent_id = enrolled.agent_id
        self._link.set_credential(enrolled.credential)
