"""The control calls: authenticate, convert, hand to the service, convert back. No decision is taken here."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import grpc
from google.protobuf.message import DecodeError

from hilnas.v1 import control_pb2, control_pb2_grpc
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.measurement import Measurement, Validity
from server.access.credentials import authenticated, offered
from server.classifying.converters import classification_from_proto, classify_assignment
from server.core.errors import InvalidValueError, NotFoundError
from server.core.rpc.enums import MAX_MESSAGE_CHARACTERS
from server.core.rpc.errors import answering, refuse
from server.fleet import converters
from server.fleet.device import Device
from server.fleet.rpc_services import RpcServices
from server.fleet.sessions import AgentOrders, SessionState
from server.jobs.converters import failure_from_proto, lease_from_proto
from server.jobs.dispatch import LeaseVerdict
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.kinds import JobKind
from server.jobs.payloads import read_payload
from server.jobs.results import ResultReceipt, ResultStatus
from server.measuring.converters import assignment_to_proto, canary_from_proto, measurement_from_proto
from server.measuring.payloads import ClassifyPayload, MeasurePayload

_log = logging.getLogger(__name__)
PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
NEXT_SYNC_S = 0.0  # the long-poll itself is the pause
CROWDED_SYNC_S = 2.0
INACTIVE_SYNC_S = 5.0


class AgentControl(control_pb2_grpc.AgentControlServicer):
    """hilnas.v1.AgentControl.

    Args:
        services: the use cases.
        max_polls: long polls held at a time; agents beyond that are answered at once and told to come back, so that
            renewals always find a free thread.
    """

    def __init__(self, services: RpcServices, max_polls: int) -> None:
        self._services = services
        self._polls = threading.BoundedSemaphore(max_polls)

    def Enroll(self, request: control_pb2.EnrollRequest, context: grpc.ServicerContext) -> control_pb2.EnrollResponse:  # noqa: N802
        """See control.proto."""
        with answering(context):
            _negotiate(request.agent, context)
            device, credential = self._services.enrolments.enrol(
                request.enrolment_token, converters.enrolment_from_proto(request), offered(context)
            )
            return control_pb2.EnrollResponse(agent_id=device.id, credential=credential)

    def Sync(self, request: control_pb2.SyncRequest, context: grpc.ServicerContext) -> control_pb2.SyncResponse:  # noqa: N802
        """See control.proto."""
        with answering(context):
            protocol = _negotiate(request.agent, context)
            device = authenticated(self._services.enrolments, request.agent.agent_id, context)
            report = converters.report_from_proto(request)
            waits = self._polls.acquire(blocking=False)
            try:
                orders = self._services.sessions.sync(report, request.wait_s if waits else 0.0)
            finally:
                if waits:
                    self._polls.release()
            device = replace(device, instance_epoch=report.instance_epoch)  # as the sync has just noted
            return self._sync_response(device, orders, protocol, crowded=not waits)

    def Renew(self, request: control_pb2.RenewRequest, context: grpc.ServicerContext) -> control_pb2.RenewResponse:  # noqa: N802
        """See control.proto. An older instance of a device holds nothing any more."""
        with answering(context):
            device = authenticated(self._services.enrolments, request.agent.agent_id, context)
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
        """See control.proto."""
        with answering(context):
            device = authenticated(self._services.enrolments, request.agent.agent_id, context)
            digest = hashlib.sha256(request.envelope).hexdigest()
            if digest != request.envelope_sha256:
                refuse(context, grpc.StatusCode.DATA_LOSS, "the envelope was damaged on its way: send it again")
            try:
                envelope = control_pb2.ResultEnvelope.FromString(request.envelope)
            except DecodeError as error:
                refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"not a result envelope: {error}")
            receipt = self._take(device, envelope, digest)
            return control_pb2.PutResultResponse(
                status=converters.RESULT_STATUSES[receipt.status], reason=receipt.reason
            )

    def _sync_response(
        self, device: Device, orders: AgentOrders, protocol: int, *, crowded: bool
    ) -> control_pb2.SyncResponse:
        active = orders.session is SessionState.ACTIVE
        pause_s = CROWDED_SYNC_S if crowded else NEXT_SYNC_S
        settings = self._services.sessions.settings
        return control_pb2.SyncResponse(
            protocol=protocol,
            session=converters.SESSION_STATES[orders.session],
            assignments=self._assignments(device, orders, settings.ttl_s),
            verdicts=[converters.verdict_to_proto(v) for v in orders.verdicts],
            next_sync_s=pause_s if active else INACTIVE_SYNC_S,
            renew_every_s=settings.renew_every_s,
            message=orders.message,
            server_time_unix_ms=time.time_ns() // 1_000_000,
        )

    def _assignments(self, device: Device, orders: AgentOrders, ttl_s: float) -> list[control_pb2.Assignment]:
        """What the agent is to do. A job whose model is gone fails here instead of on a board."""
        assignments: list[control_pb2.Assignment] = []
        for job in orders.assignments:
            try:
                assignments.append(self._assignment(device, job, ttl_s))
            except (InvalidValueError, NotFoundError) as error:
                _log.error("job %s cannot be assigned: %s", job.id, error)
                if job.lease is not None:
                    failure = Failure(FailureType.INVALID_INPUT, str(error))
                    digest = hashlib.sha256(job.lease.lease_id.encode()).hexdigest()
                    self._services.results.put_failure(device.id, job.lease, failure, digest)
        return assignments

    def _assignment(self, device: Device, job: Job, ttl_s: float) -> control_pb2.Assignment:
        """Raises InvalidValueError, NotFoundError: a payload cannot be read, an artifact is gone."""
        artifacts = self._services.artifacts
        if job.kind is JobKind.CLASSIFY:
            classify = read_payload(ClassifyPayload, job.payload)
            model, images = artifacts.get(classify.model_sha256), artifacts.get(classify.images_sha256)
            return classify_assignment(job, classify, model, images, ttl_s)
        payload = read_payload(MeasurePayload, job.payload)
        model = artifacts.get(payload.model_sha256)
        canary = self._services.canaries.plan(device, job)
        return assignment_to_proto(job, payload, model, canary, ttl_s)

    def _take(self, device: Device, envelope: control_pb2.ResultEnvelope, digest: str) -> ResultReceipt:
        lease = lease_from_proto(envelope.lease)
        results = self._services.results
        match envelope.WhichOneof("outcome"):
            case "failure":
                failure = failure_from_proto(envelope.failure.type, envelope.failure.message)
                self._record_failed_canary(device, lease, envelope.failure)
                return results.put_failure(device.id, lease, failure, digest)
            case "measurement":
                return self._take_measurement(device, lease, envelope, digest)
            case "classification":
                return self._take_classification(device, lease, envelope, digest)
            case _:
                failure = Failure(FailureType.INVALID_RESULT, "a result of a kind this server does not know")
                results.put_failure(device.id, lease, failure, digest)
                return ResultReceipt(ResultStatus.REJECTED, failure.message)

    def _take_measurement(
        self, device: Device, lease: LeaseRef, envelope: control_pb2.ResultEnvelope, digest: str
    ) -> ResultReceipt:
        try:
            measurement = measurement_from_proto(envelope.measurement)
        except (InvalidMeasurementError, InvalidValueError) as error:
            failure = Failure(FailureType.INVALID_RESULT, str(error))
            self._services.results.put_failure(device.id, lease, failure, digest)
            return ResultReceipt(ResultStatus.REJECTED, failure.message)
        receipt = self._services.results.put_measurement(device.id, lease, measurement, digest)
        # Sent again, an alarm is raised again: this server may have died between taking the result and raising it.
        is_first, alarms = receipt.status is ResultStatus.ACCEPTED, _alarms(measurement)
        if is_first or (alarms and receipt.status is ResultStatus.DUPLICATE):
            self._record_canary(device, lease, measurement, alarms)
        return receipt

    def _take_classification(
        self, device: Device, lease: LeaseRef, envelope: control_pb2.ResultEnvelope, digest: str
    ) -> ResultReceipt:
        try:
            classification = classification_from_proto(envelope.classification)
        except (InvalidMeasurementError, InvalidValueError) as error:
            failure = Failure(FailureType.INVALID_RESULT, str(error))
            self._services.results.put_failure(device.id, lease, failure, digest)
            return ResultReceipt(ResultStatus.REJECTED, failure.message)
        return self._services.classifications.put(device.id, lease, classification, digest)

    def _record_canary(self, device: Device, lease: LeaseRef, measurement: Measurement, alarms: Sequence[str]) -> None:
        reading = measurement.canary_after
        if reading is None:
            return
        self._services.enrolments.record_canary(
            device.id,
            pool_key=self._services.canaries.pool_key(device, lease.job_id),
            artifact_sha256=reading.artifact_sha256,
            median_us=reading.median_us,
            ratio=reading.ratio,
            passed=not alarms,
            reason="; ".join(alarms),
            output_digest=reading.output_digest,
        )

    def _record_failed_canary(self, device: Device, lease: LeaseRef, failure: control_pb2.Failure) -> None:
        if not failure.HasField("canary"):
            return
        try:
            reading = canary_from_proto(failure.canary)
        except InvalidMeasurementError as error:
            _log.warning("canary of device %s not recorded: %s", device.id, error)
            return
        self._services.enrolments.record_canary(
            device.id,
            pool_key=self._services.canaries.pool_key(device, lease.job_id),
            artifact_sha256=reading.artifact_sha256,
            median_us=reading.median_us,
            ratio=reading.ratio,
            passed=False,
            reason=failure.message[:MAX_MESSAGE_CHARACTERS],
            output_digest=reading.output_digest,
        )


def _alarms(measurement: Measurement) -> tuple[str, ...]:
    """Why the device's canary after the measurement is not well; empty where it is."""
    return tuple(flag.reason for flag in measurement.flags if flag.validity is Validity.DEGRADED_DEVICE)


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
