"""The gRPC server over real sockets: who may call what, versions, TLS, health, restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from device_agent.server_link.link import Link
from device_agent.server_link.tls import LinkSettings
from device_agent.stop import StopToken
from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Validity, ValidityFlag
from server.core.paging import PageRequest
from server.fleet.rpc_server import TlsFiles, start_rpc_server
from server.jobs.payloads import read_payload
from server.jobs.states import JobState
from server.measuring.payloads import MeasurePayload
from tests.support.processes.certificates import Authority
from tests.support.worlds.agent_bench import Bench, capabilities, code_of, identity
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import FAKE, Farm


@pytest.fixture
def bench(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(sqlite_database, tmp_path, golden=True)
    yield opened
    opened.close()


def sync(link: Link, agent: control_pb2.AgentIdentity, wait_s: float = 0.0) -> control_pb2.SyncResponse:
    said = capabilities(identity())
    return link.sync(control_pb2.SyncRequest(agent=agent, capabilities=said, free_slots=1, wait_s=wait_s)).result()


def test_a_call_without_a_credential_is_not_answered(bench: Bench) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        sync(bench.link(), bench.agent().me)
    assert code_of(caught) == "UNAUTHENTICATED"


def test_a_credential_speaks_for_its_own_agent_only(bench: Bench) -> None:
    first, second = bench.agent("one"), bench.agent("two")
    with pytest.raises(grpc.RpcError) as caught:
        sync(second.link, first.me)
    assert code_of(caught) == "PERMISSION_DENIED"


def test_artifacts_need_a_credential_as_well(bench: Bench) -> None:
    agent = bench.agent()
    sha256 = read_payload(MeasurePayload, bench.submit(agent, b"weights").payload).model_sha256
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        list(bench.link().fetch(sha256, 0, StopToken()))
    agent.take()
    assert list(agent.link.fetch(sha256, 2, StopToken())) == [(2, b"ights")]
    assert list(agent.link.fetch(sha256, 7, StopToken())) == []
    with pytest.raises(Exception, match="OUT_OF_RANGE"):
        list(agent.link.fetch(sha256, 8, StopToken()))
    with pytest.raises(Exception, match="PERMISSION_DENIED"):
        list(agent.link.fetch("ab" * 32, 0, StopToken()))
    bench.world.database.execute("DELETE FROM artifacts WHERE sha256 = :sha256", sha256=sha256)
    with pytest.raises(Exception, match="NOT_FOUND"):
        list(agent.link.fetch(sha256, 0, StopToken()))


@pytest.mark.parametrize(("oldest", "newest", "spoken"), [(1, 9, 1), (0, 1, 1), (2, 9, None), (0, 0, None)])
def test_versions_overlap_or_the_older_side_is_named(
    bench: Bench, oldest: int, newest: int, spoken: int | None
) -> None:
    agent = bench.agent()
    agent.me.protocol_min, agent.me.protocol_max = oldest, newest
    if spoken is not None:
        assert agent.sync().protocol == spoken
        return
    with pytest.raises(grpc.RpcError, match="upgrade") as caught:
        agent.sync()
    assert code_of(caught) == "FAILED_PRECONDITION"


def test_a_damaged_envelope_is_asked_for_again_and_a_senseless_one_is_not(bench: Bench) -> None:
    agent = bench.agent()
    with pytest.raises(grpc.RpcError) as caught:
        agent.link.put_result(control_pb2.PutResultRequest(agent=agent.me, envelope=b"abc", envelope_sha256="0" * 64))
    assert code_of(caught) == "DATA_LOSS"
    with pytest.raises(grpc.RpcError) as caught:
        agent.put(b"\xff\xff")
    assert code_of(caught) == "INVALID_ARGUMENT"


def test_a_measurement_that_is_none_fails_its_attempt(bench: Bench) -> None:
    agent = bench.agent()
    job = bench.submit(agent)
    junk = measurement_pb2.Measurement(samples=b"junk", environment_json="{}")
    answer = agent.put(control_pb2.ResultEnvelope(lease=agent.take().lease, measurement=junk).SerializeToString())
    assert answer.status == control_pb2.RESULT_STATUS_REJECTED
    assert bench.world.dispatch.history(job.id)[0].failure_type is FailureType.INVALID_RESULT


@pytest.mark.parametrize("off", [True, False])
def test_a_canary_alarm_outlives_a_server_that_dies_before_it_is_raised(bench: Bench, off: bool) -> None:
    agent = bench.agent()
    bench.submit(agent)
    assignment = agent.take()
    flags = (ValidityFlag(Validity.DEGRADED_DEVICE, "8 % slower"),) if off else ()
    bench.faults.hide_receipts = 1
    with pytest.raises(grpc.RpcError):
        agent.measured(assignment, canary_us=2000.0, flags=flags)  # taken, and then the server is gone
    assert not bench.world.latencies.page_of_canaries(agent.device.id, PageRequest(10)).items
    again = agent.measured(assignment, canary_us=2000.0, flags=flags)
    assert again.status == control_pb2.RESULT_STATUS_DUPLICATE
    canaries = bench.world.latencies.page_of_canaries(agent.device.id, PageRequest(10)).items
    assert [canary.passed for canary in canaries] == ([False] if off else [])
    assert ("8 % slower" in agent.device.reason) is off


def test_an_older_instance_holds_nothing_any_more(bench: Bench) -> None:
    agent = bench.agent()
    bench.submit(agent)
    assignment = agent.take()
    newer = control_pb2.AgentIdentity()
    newer.CopyFrom(agent.me)
    newer.instance_epoch += 1
    sync(agent.link, newer)
    report = control_pb2.LeaseReport(lease=assignment.lease, phase=control_pb2.PHASE_FETCHING)
    (verdict,) = agent.link.renew(control_pb2.RenewRequest(agent=agent.me, running=[report]), 5.0).verdicts
    assert verdict.order == control_pb2.LEASE_ORDER_LOST
    assert agent.sync().session == control_pb2.SESSION_STATE_TAKEN_OVER


def test_agents_beyond_the_polls_that_can_be_held_are_answered_at_once(
    sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    bench = Bench(sqlite_database, tmp_path, num_threads=4)  # holds three polls
    try:
        agent = bench.agent()
        said = capabilities(identity())
        request = control_pb2.SyncRequest(agent=agent.me, capabilities=said, free_slots=1, wait_s=20.0)
        held = [agent.link.sync(request) for _ in range(3)]
        deadline = time.monotonic() + 10.0
        while len(bench.faults.reports) < 3:
            assert time.monotonic() < deadline, "three polls are held"
            time.sleep(0.02)
        assert agent.link.sync(request).result().next_sync_s > 0.0
        for call in held:
            call.cancel()
    finally:
        bench.close()


def test_health_is_told(bench: Bench) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{bench.server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "hilnas.v1.AgentControl", "hilnas.v1.Artifacts"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1


def test_a_port_that_is_taken_is_an_error(bench: Bench) -> None:
    with pytest.raises(OSError, match="cannot listen"):
        start_rpc_server(bench.services, f"127.0.0.1:{bench.server.port}", num_threads=4)


def test_an_agent_outlives_its_server(farm: Farm) -> None:
    farm.start()
    farm.device()
    farm.server.stop(0.0)
    job = farm.submit(b"model")
    farm.serve_again()
    assert farm.final(job).state is JobState.DONE
    assert len(farm.devices()) == 1


def test_an_agent_whose_credential_was_revoked_enrols_again(farm: Farm) -> None:
    agent = farm.start()
    device = farm.device()
    farm.world.database.execute("UPDATE devices SET credential_sha256 = 'none', last_seen_at = 0")
    assert farm.final(farm.submit(b"model")).state is JobState.DONE
    assert "enrolling again" in agent.log
    assert farm.device().id == device.id


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_carries_jobs_and_strangers_are_kept_out(
    sqlite_database: TestDatabase, tmp_path: Path, mutual: bool
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    served, client = authority.issue("server"), authority.issue("agent")
    tls = TlsFiles(certificate=served.certificate, key=served.key, client_ca=authority.path if mutual else None)
    farm = Farm(sqlite_database, tmp_path, tls=tls)
    options = ["--ca", str(authority.path)]
    if mutual:
        options += ["--cert", str(client.certificate), "--key", str(client.key)]
    farm.start(*FAKE, *options, insecure=False)
    link = Link(LinkSettings(server=f"127.0.0.1:{farm.server.port}", ca_path=stranger.path))
    try:
        with pytest.raises(grpc.RpcError) as caught:
            link.enroll(control_pb2.EnrollRequest(enrolment_token=farm.world.secrets.enrolment_token, name="fooled"))
        assert code_of(caught) == "UNAVAILABLE"
        assert farm.final(farm.submit(b"model")).state is JobState.DONE
    finally:
        link.close()
        farm.close()
