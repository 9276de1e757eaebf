"""The gRPC server over real sockets: who may call what, versions, TLS, health, restarts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from device_agent.jobs import LeaseKey, Outcome
from device_agent.measuring.procedure import Phase
from device_agent.server_link.link import Link
from device_agent.server_link.tls import LinkSettings
from device_agent.server_link.wire import envelope_to_proto
from device_agent.stop import StopToken
from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Validity, ValidityFlag
from server.fleet.rpc_server import RpcServer, TlsFiles, start_rpc_server
from tests.support.fakes.dispatch import ENROLMENT_TOKEN, FakeDispatch
from tests.support.processes.agent_process import AgentProcess
from tests.support.processes.certificates import Authority
from tests.unit.core.test_rpc_converters import MEASUREMENT

FAKE = ("--runtime", "fake", "--isolation", "none")


@pytest.fixture
def dispatch() -> FakeDispatch:
    return FakeDispatch()


@pytest.fixture
def server(dispatch: FakeDispatch) -> Iterator[RpcServer]:
    running = start_rpc_server(dispatch.services(), "127.0.0.1:0", num_threads=8)
    yield running
    running.stop(0.0)


@pytest.fixture
def link(server: RpcServer) -> Iterator[Link]:
    opened = Link(LinkSettings(server=f"127.0.0.1:{server.port}", insecure=True))
    yield opened
    opened.close()


def identity(agent_id: str = "", *, oldest: int = 1, newest: int = 1) -> control_pb2.AgentIdentity:
    return control_pb2.AgentIdentity(
        agent_id=agent_id, instance_epoch=1, protocol_min=oldest, protocol_max=newest, agent_version="test"
    )


CAPABILITIES = control_pb2.Capabilities(
    identity=measurement_pb2.DeviceIdentity(
        board_model="b", device_class=measurement_pb2.DEVICE_CLASS_SIMULATED, runtime="fake", core_mask="fake"
    ),
    dtypes=[measurement_pb2.DTYPE_FP32],
)


def enrol(link: Link, name: str = "one") -> str:
    answer = link.enroll(
        control_pb2.EnrollRequest(
            enrolment_token=ENROLMENT_TOKEN, name=name, device_type="t", agent=identity(), capabilities=CAPABILITIES
        )
    )
    link.set_credential(answer.credential)
    return answer.agent_id


def sync(link: Link, agent: control_pb2.AgentIdentity) -> control_pb2.SyncResponse:
    return link.sync(control_pb2.SyncRequest(agent=agent, capabilities=CAPABILITIES, free_slots=1)).result()


def code_of(caught: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    return caught.value.code()


def test_a_call_without_a_credential_is_not_answered(link: Link) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        sync(link, identity("dev_0"))
    assert code_of(caught) is grpc.StatusCode.UNAUTHENTICATED


def test_a_credential_speaks_for_its_own_agent_only(link: Link) -> None:
    first = enrol(link, "one")
    enrol(link, "two")
    with pytest.raises(grpc.RpcError) as caught:
        sync(link, identity(first))
    assert code_of(caught) is grpc.StatusCode.PERMISSION_DENIED


def test_artifacts_need_a_credential_as_well(link: Link, dispatch: FakeDispatch) -> None:
    job = dispatch.add_job(b"weights")
    sha256 = job.payload.model_sha256
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        list(link.fetch(sha256, 0, StopToken()))
    enrol(link)
    assert list(link.fetch(sha256, 2, StopToken())) == [(2, b"ights")]
    assert list(link.fetch(sha256, 7, StopToken())) == []
    with pytest.raises(Exception, match="OUT_OF_RANGE"):
        list(link.fetch(sha256, 8, StopToken()))
    with pytest.raises(Exception, match="PERMISSION_DENIED"):
        list(link.fetch("ab" * 32, 0, StopToken()))
    dispatch.content.clear()
    with pytest.raises(Exception, match="NOT_FOUND"):
        list(link.fetch(sha256, 0, StopToken()))


@pytest.mark.parametrize(("oldest", "newest", "spoken"), [(1, 9, 1), (0, 1, 1), (2, 9, None), (0, 0, None)])
def test_versions_overlap_or_the_older_side_is_named(link: Link, oldest: int, newest: int, spoken: int | None) -> None:
    agent = identity(enrol(link), oldest=oldest, newest=newest)
    if spoken is not None:
        assert sync(link, agent).protocol == spoken
        return
    with pytest.raises(grpc.RpcError, match="upgrade") as caught:
        sync(link, agent)
    assert code_of(caught) is grpc.StatusCode.FAILED_PRECONDITION


def test_a_damaged_envelope_is_asked_for_again_and_a_senseless_one_is_not(link: Link) -> None:
    agent = identity(enrol(link))
    with pytest.raises(grpc.RpcError) as caught:
        link.put_result(control_pb2.PutResultRequest(agent=agent, envelope=b"abc", envelope_sha256="0" * 64))
    assert code_of(caught) is grpc.StatusCode.DATA_LOSS
    envelope = b"\xff\xff"
    digest = hashlib.sha256(envelope).hexdigest()
    with pytest.raises(grpc.RpcError) as caught:
        link.put_result(control_pb2.PutResultRequest(agent=agent, envelope=envelope, envelope_sha256=digest))
    assert code_of(caught) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_measurement_that_is_none_fails_its_job(link: Link, dispatch: FakeDispatch) -> None:
    agent = identity(enrol(link))
    job = dispatch.add_job(b"m")
    (assignment,) = sync(link, agent).assignments
    envelope = control_pb2.ResultEnvelope(
        lease=assignment.lease, measurement=measurement_pb2.Measurement(samples=b"junk", environment_json="{}")
    ).SerializeToString()
    answer = link.put_result(
        control_pb2.PutResultRequest(
            agent=agent, envelope=envelope, envelope_sha256=hashlib.sha256(envelope).hexdigest()
        )
    )
    assert answer.status == control_pb2.RESULT_STATUS_REJECTED
    assert [f.type for f in job.failures] == [FailureType.INVALID_RESULT]


@pytest.mark.parametrize("off", [True, False])
def test_a_canary_alarm_outlives_a_server_that_dies_before_it_is_raised(
    link: Link, dispatch: FakeDispatch, off: bool
) -> None:
    agent = identity(enrol(link))
    dispatch.add_job(b"m")
    (assignment,) = sync(link, agent).assignments
    flags = (ValidityFlag(Validity.DEGRADED_DEVICE, "8 % slower"),) if off else ()
    outcome = Outcome(measurement=replace(MEASUREMENT, flags=flags), phase=Phase.MEASURING)
    message = envelope_to_proto(LeaseKey("", 0, "", 0), outcome)
    message.lease.CopyFrom(assignment.lease)
    envelope = message.SerializeToString()
    request = control_pb2.PutResultRequest(
        agent=agent, envelope=envelope, envelope_sha256=hashlib.sha256(envelope).hexdigest()
    )
    dispatch.hide_receipts = 1
    with pytest.raises(grpc.RpcError):
        link.put_result(request)  # taken, and then the server is gone
    assert not dispatch.canaries
    assert link.put_result(request).status == control_pb2.RESULT_STATUS_DUPLICATE
    assert [(note.passed, note.reason) for note in dispatch.canaries] == ([(False, "8 % slower")] if off else [])


def test_an_older_instance_holds_nothing_any_more(link: Link, dispatch: FakeDispatch) -> None:
    agent = identity(enrol(link))
    dispatch.add_job(b"m")
    (assignment,) = sync(link, agent).assignments
    dispatch.take_over()
    report = control_pb2.LeaseReport(lease=assignment.lease, phase=control_pb2.PHASE_FETCHING)
    (verdict,) = link.renew(control_pb2.RenewRequest(agent=agent, running=[report]), 5.0).verdicts
    assert verdict.order == control_pb2.LEASE_ORDER_LOST
    assert sync(link, agent).session == control_pb2.SESSION_STATE_TAKEN_OVER


def test_agents_beyond_the_polls_that_can_be_held_are_answered_at_once(dispatch: FakeDispatch) -> None:
    running = start_rpc_server(dispatch.services(), "127.0.0.1:0", num_threads=4)  # holds three polls
    link = Link(LinkSettings(server=f"127.0.0.1:{running.port}", insecure=True))
    try:
        agent = identity(enrol(link))
        request = control_pb2.SyncRequest(agent=agent, capabilities=CAPABILITIES, free_slots=1, wait_s=5.0)
        held = [link.sync(request) for _ in range(3)]
        dispatch.wait_until(lambda: len(dispatch.reports) == 3)
        assert link.sync(request).result().next_sync_s > 0.0
        for call in held:
            call.cancel()
    finally:
        link.close()
        running.stop(0.0)


def test_health_is_told(server: RpcServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "hilnas.v1.AgentControl", "hilnas.v1.Artifacts"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1


def test_a_port_that_is_taken_is_an_error(server: RpcServer, dispatch: FakeDispatch) -> None:
    with pytest.raises(OSError, match="cannot listen"):
        start_rpc_server(dispatch.services(), f"127.0.0.1:{server.port}", num_threads=4)


def test_an_agent_outlives_its_server(dispatch: FakeDispatch, tmp_path: Path) -> None:
    first = start_rpc_server(dispatch.services(), "127.0.0.1:0", num_threads=8)
    agent = AgentProcess(tmp_path, first.port, *FAKE)
    try:
        dispatch.wait_until(lambda: bool(dispatch.reports))
        first.stop(0.0)
        job = dispatch.add_job(json.dumps({"hilnas_fake": 1}).encode())
        second = start_rpc_server(dispatch.services(), f"127.0.0.1:{first.port}", num_threads=8)
        try:
            dispatch.wait_until(lambda: job.done)
            assert len(dispatch.devices) == 1
        finally:
            second.stop(0.0)
    finally:
        agent.end()


def test_an_agent_whose_credential_was_revoked_enrols_again(dispatch: FakeDispatch, tmp_path: Path) -> None:
    running = start_rpc_server(dispatch.services(), "127.0.0.1:0", num_threads=8)
    agent = AgentProcess(tmp_path, running.port, *FAKE, "--poll-s", "0.2")
    try:
        dispatch.wait_until(lambda: bool(dispatch.reports))
        with dispatch.changed:
            dispatch.credentials.clear()
        job = dispatch.add_job(b"model")
        dispatch.wait_until(lambda: job.done)
        assert "enrolling again" in agent.log
    finally:
        agent.end()
        running.stop(0.0)


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_carries_jobs_and_strangers_are_kept_out(dispatch: FakeDispatch, tmp_path: Path, mutual: bool) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    served, client = authority.issue("server"), authority.issue("agent")
    tls = TlsFiles(certificate=served.certificate, key=served.key, client_ca=authority.path if mutual else None)
    running = start_rpc_server(dispatch.services(), "127.0.0.1:0", tls=tls, num_threads=8)
    options = ["--ca", str(authority.path)]
    if mutual:
        options += ["--cert", str(client.certificate), "--key", str(client.key)]
    agent = AgentProcess(tmp_path, running.port, *FAKE, *options, insecure=False)
    link = Link(LinkSettings(server=f"127.0.0.1:{running.port}", ca_path=stranger.path))
    try:
        with pytest.raises(grpc.RpcError) as caught:
            enrol(link, "fooled")
        assert code_of(caught) is grpc.StatusCode.UNAVAILABLE
        job = dispatch.add_job(b"model")
        dispatch.wait_until(lambda: job.done)
        assert job.measurements
    finally:
        link.close()
        agent.end()
        running.stop(0.0)
