"""Between the wire's messages and the service's values. Every enum is mapped once, by name, and inverted."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hilnas.v1 import control_pb2
from hilnas.wire import DTYPES, identity_from_proto
from nas_engine.domain.job_protocol import LeaseOrder
from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.text import MAX_REASON_CHARACTERS, one_line
from server.core.errors import InvalidValueError
from server.fleet.device import (
    MAX_TEXT_LENGTH,
    DeviceCapabilities,
    Enrolment,
    RuntimeDescription,
)
from server.fleet.sessions import AgentReport, ReturnedLease, RunningLease, SessionState
from server.jobs.converters import PHASES, failure_from_proto, lease_from_proto
from server.jobs.dispatch import LeaseVerdict
from server.jobs.results import ResultStatus

SESSION_STATES: Mapping[SessionState, str] = {s: f"SESSION_STATE_{s.name}" for s in SessionState}


LEASE_ORDERS: Mapping[LeaseOrder, str] = {o: f"LEASE_ORDER_{o.name}" for o in LeaseOrder}


RESULT_STATUSES: Mapping[ResultStatus, str] = {s: f"RESULT_STATUS_{s.name}" for s in ResultStatus}


def running_from_proto(report: control_pb2.LeaseReport) -> RunningLease:
    """A lease the agent works on; a phase this server does not know is left out."""
    return RunningLease(lease=lease_from_proto(report.lease), phase=PHASES.get(report.phase))


def capabilities_from_proto(capabilities: control_pb2.Capabilities) -> DeviceCapabilities:
    """What a device says it can do; dtypes this server does not know are left out."""
    return DeviceCapabilities(
        identity=identity_from_proto(capabilities.identity),
        dtypes=tuple(DTYPES[d] for d in capabilities.dtypes if d in DTYPES),
        model_formats=tuple(capabilities.model_formats),
        core_masks=tuple(capabilities.core_masks),
        max_model_bytes=capabilities.max_model_bytes,
        memory_bytes=capabilities.memory_bytes,
        num_cpus=capabilities.num_cpus,
        can_pin_clocks=capabilities.can_pin_clocks,
        has_npu_time=capabilities.has_npu_time,
        has_npu_load=capabilities.has_npu_load,
        timer_resolution_ns=capabilities.timer_resolution_ns,
        features=tuple(capabilities.features),
        runtime=_runtime_from_proto(capabilities.runtime) if capabilities.HasField("runtime") else None,
    )


def _runtime_from_proto(runtime: control_pb2.RuntimeDescription) -> RuntimeDescription | None:
    """A runtime as an agent declares it; None where a text cannot be shown, or its schema is no JSON object."""
    texts = (runtime.title, runtime.package, runtime.version)
    if not all(len(text) <= MAX_TEXT_LENGTH and text.isprintable() for text in texts):
        return None
    try:
        schema = json.loads(runtime.settings_schema_json)
        text = canonical_json(schema)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(schema, dict):
        return None
    return RuntimeDescription(
        title=runtime.title, package=runtime.package, version=runtime.version, settings_schema_json=text
    )


def enrolment_from_proto(request: control_pb2.EnrollRequest) -> Enrolment:
    """What a device says when it enrols.

    Raises:
        InvalidValueError: name or device type are not 1 to 100 printable characters.
    """
    for what, value in (("name", request.name), ("device type", request.device_type)):
        if not value or len(value) > 100 or not value.isprintable():
            raise InvalidValueError(f"{what} {value[:120]!r}: give 1 to 100 printable characters")
    return Enrolment(
        name=request.name,
        device_type=request.device_type,
        capabilities=capabilities_from_proto(request.capabilities),
        labels=dict(request.labels),
        agent_version=request.agent.agent_version,
        boot_id=request.agent.boot_id,
        instance_epoch=request.agent.instance_epoch,
        device_id=request.agent.agent_id,
    )


def report_from_proto(request: control_pb2.SyncRequest) -> AgentReport:
    """An agent's whole state."""
    health = request.health
    return AgentReport(
        device_id=request.agent.agent_id,
        boot_id=request.agent.boot_id,
        instance_epoch=request.agent.instance_epoch,
        agent_version=request.agent.agent_version,
        capabilities=capabilities_from_proto(request.capabilities),
        labels=dict(request.labels),
        free_slots=max(0, min(request.free_slots, 1)),
        running=tuple(running_from_proto(r) for r in request.running),
        returned=tuple(
            ReturnedLease(lease=lease_from_proto(n.lease), failure=failure_from_proto(n.type, n.reason))
            for n in request.nacks
        ),
        num_spooled_results=request.num_spooled_results,
        draining=request.draining,
        leaving=request.leaving,
        degraded=health.degraded,
        degraded_reason=one_line(health.reason, MAX_REASON_CHARACTERS),
        canary_ratio=health.canary_ratio if health.HasField("canary_ratio") else None,
    )


def verdict_to_proto(verdict: LeaseVerdict) -> control_pb2.LeaseVerdict:
    """The answer to one running lease."""
    return control_pb2.LeaseVerdict(
        lease_id=verdict.lease.lease_id,
        order=LEASE_ORDERS[verdict.order],
        ttl_s=verdict.ttl_s,
        reason=verdict.reason,
    )
