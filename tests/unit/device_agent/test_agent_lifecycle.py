"""An agent and its server: state, back-off, the stop token, renewal."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import grpc
import pytest

from device_agent.failures import AgentError, JobStoppedError
from device_agent.jobs import LeasedJob, LeaseKey
from device_agent.server_link.backoff import HEALTHY_AFTER_S, Backoff
from device_agent.server_link.renewal import Renewer
from device_agent.state import Enrolled, StateDirectory
from device_agent.stop import StopToken
from hilnas.v1 import control_pb2
from nas_engine.domain.job_protocol import FailureType


def test_every_start_has_a_higher_epoch_and_only_one_agent_has_the_directory(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "s")
    assert state.next_instance_epoch() == 1
    with pytest.raises(AgentError, match="another agent"):
        StateDirectory(tmp_path / "s")
    state.close()
    again = StateDirectory(tmp_path / "s")
    assert again.next_instance_epoch() == 2
    again.close()


def test_an_enrolment_is_kept_per_server_and_private(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.enrolled("a:1") is None
    state.remember(Enrolled("a:1", "dev_1", "secret"))
    assert state.enrolled("a:1") == Enrolled("a:1", "dev_1", "secret")
    assert state.enrolled("b:1") is None
    assert (tmp_path / "enrolment.json").stat().st_mode & 0o077 == 0
    state.close()


def test_back_off_grows_within_bounds_and_forgets_only_after_a_healthy_minute() -> None:
    backoff = Backoff(rng=random.Random(1))
    waits = [backoff.next_s() for _ in range(40)]
    assert all(0.25 <= w <= 60.0 for w in waits)
    assert max(waits[:3]) <= 2.0
    assert max(waits[10:]) > 20.0
    backoff.succeeded(0.0)
    backoff.succeeded(HEALTHY_AFTER_S - 1)
    assert max(Backoff(rng=random.Random(2)).next_s() for _ in range(10)) <= 0.5
    backoff.succeeded(HEALTHY_AFTER_S)
    assert backoff.next_s() <= 0.5
    assert 240.0 < backoff.refused_s() < 360.0


def test_a_token_is_set_once_and_interrupts_whoever_waits() -> None:
    token, called = StopToken(), []
    token.check()
    with token.interrupting(lambda: called.append(1)):
        token.stop(FailureType.CANCELLED, "first")
        token.stop(FailureType.LEASE_LOST, "second")
    assert called == [1]
    with token.interrupting(lambda: called.append(2)):
        assert called == [1, 2]
    with pytest.raises(JobStoppedError, match="first"):
        token.wait(10.0)


def job_of(ttl_s: float = 60.0) -> LeasedJob:
    return LeasedJob(lease=LeaseKey("job_1", 1, "lease_1", 7), order=None, ttl_s=ttl_s, timeout_s=1.0)


def test_renewal_accepts_at_once_and_obeys_the_server() -> None:
    requests: list[control_pb2.RenewRequest] = []
    answered = threading.Event()

    def renew(request: control_pb2.RenewRequest, timeout_s: float) -> control_pb2.RenewResponse:
        requests.append(request)
        answered.set()
        verdict = control_pb2.LeaseVerdict(lease_id="lease_1", order=control_pb2.LEASE_ORDER_LOST, reason="re-leased")
        return control_pb2.RenewResponse(verdicts=[verdict])

    job = job_of()
    renewer = Renewer(renew, control_pb2.AgentIdentity(agent_id="dev_1"), job, 15.0)
    renewer.start()
    assert answered.wait(5.0)
    renewer.end()
    assert requests[0].running[0].lease.fence == 7
    with pytest.raises(JobStoppedError, match="re-leased"):
        job.token.check()


def test_a_server_that_is_away_does_not_stop_a_job() -> None:
    calls: list[float] = []
    tried = threading.Event()

    def renew(request: control_pb2.RenewRequest, timeout_s: float) -> control_pb2.RenewResponse:
        calls.append(timeout_s)
        if len(calls) >= 2:
            tried.set()
        raise grpc.RpcError("unreachable")

    job = job_of(ttl_s=0.3)
    renewer = Renewer(renew, control_pb2.AgentIdentity(), job, 0.1)
    renewer.start()
    assert tried.wait(10.0)
    renewer.end()
    assert not job.token.stopped


def test_an_order_from_a_newer_server_means_going_on() -> None:
    answered = threading.Event()

    def renew(request: control_pb2.RenewRequest, timeout_s: float) -> control_pb2.RenewResponse:
        answered.set()
        verdict = control_pb2.LeaseVerdict(lease_id="lease_1")
        verdict.order = 99  # type: ignore[assignment]
        return control_pb2.RenewResponse(verdicts=[verdict])

    job = job_of()
    renewer = Renewer(renew, control_pb2.AgentIdentity(), job, 15.0)
    renewer.start()
    assert answered.wait(5.0)
    renewer.end()
    assert not job.token.stopped
