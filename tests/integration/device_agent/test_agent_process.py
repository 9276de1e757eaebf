"""Real agent processes against the real gRPC servicers over real sockets; only the dispatch behind them is by hand."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from device_agent.runtime.golden import golden_onnx
from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.measurement import DeviceClass
from server.fleet.rpc_server import RpcServer, start_rpc_server
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobPhase
from tests.support.fakes.dispatch import ENROLMENT_TOKEN, FakeDispatch
from tests.support.processes.agent_process import AgentProcess

Start = Callable[..., AgentProcess]


@pytest.fixture
def dispatch() -> FakeDispatch:
    # Renewals every 0.1 s: orders reach a running job within the test's patience.
    return FakeDispatch(settings=LeaseSettings(ttl_s=5.0, accept_s=0.3, max_wait_s=5.0))


@pytest.fixture
def server(dispatch: FakeDispatch) -> Iterator[RpcServer]:
    running = start_rpc_server(dispatch.services(), "127.0.0.1:0", num_threads=16)
    yield running
    running.stop(0.0)


@pytest.fixture
def start(server: RpcServer, tmp_path: Path) -> Iterator[Start]:
    started: list[AgentProcess] = []

    def begin(*arguments: str, token: str = ENROLMENT_TOKEN) -> AgentProcess:
        agent = AgentProcess(tmp_path, server.port, *arguments, token=token)
        started.append(agent)
        return agent

    yield begin
    for agent in started:
        agent.end()


def fake_model(**script: object) -> bytes:
    return json.dumps({"hilnas_fake": 1, **script}).encode()


FAKE = ("--runtime", "fake", "--isolation", "none", "--device-type", "fake-board")
FAKE_CHILD = ("--runtime", "fake", "--device-type", "fake-board")


def test_an_agent_enrols_measures_and_reports(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(fake_model(latency_us=900.0))
    start(*FAKE, "--labels", "rack=3")
    dispatch.wait_until(lambda: job.done)
    (measurement,) = job.measurements
    assert measurement.stats(np.random.default_rng(0)).p50_us == pytest.approx(900.0, rel=0.02)
    assert measurement.flags == ()
    assert measurement.hardware_key.identity.device_class is DeviceClass.SIMULATED
    (device,) = dispatch.devices.values()
    assert (device.device_type, device.labels) == ("fake-board", {"rack": "3"})


def test_onnx_runtime_measures_in_a_child_process(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(golden_onnx())
    start("--runtime", "onnxruntime", "--device-type", "cpu")
    dispatch.wait_until(lambda: job.done)
    assert not job.failures
    (measurement,) = job.measurements
    assert measurement.hardware_key.identity.runtime == "onnxruntime"
    assert sum(len(b.e2e_ns) for b in measurement.blocks) >= 30
    assert measurement.environment.cpu_affinity
    assert all(b.cpu_time_ns is not None for b in measurement.blocks)


def test_a_model_that_wants_the_whole_board_fails_alone(dispatch: FakeDispatch, start: Start) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [2**28])  # a gibibyte of float32
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
            helper.make_node("ReduceSum", ["huge"], ["total"], keepdims=1),
            helper.make_node("Add", ["x", "total"], ["y"]),
        ],
        "greedy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [shape],
    )
    greedy = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    job = dispatch.add_job(greedy.SerializeToString())
    sound = dispatch.add_job(golden_onnx())
    start("--runtime", "onnxruntime", "--device-type", "cpu", "--model-memory", str(512 * 2**20))
    dispatch.wait_until(lambda: job.done and sound.done)
    assert [f.type for f in job.failures] == [FailureType.OUT_OF_MEMORY]
    assert sound.measurements


def test_a_broken_fetch_is_resumed_where_it_broke(dispatch: FakeDispatch, start: Start) -> None:
    model = bytes(range(256)) * 4096  # 1 MiB: four chunks
    dispatch.break_after_bytes = [512 * 1024, 256 * 1024]
    job = dispatch.add_job(model)
    start(*FAKE)
    dispatch.wait_until(lambda: job.done)
    assert job.measurements
    assert [offset for _, offset in dispatch.fetches] == [0, 512 * 1024, 768 * 1024]


def test_a_corrupt_transfer_is_noticed_and_fetched_again(dispatch: FakeDispatch, start: Start) -> None:
    dispatch.corrupt_fetches = 1
    job = dispatch.add_job(b"x" * 300_000)
    start(*FAKE)
    dispatch.wait_until(lambda: job.done)
    assert job.measurements
    assert [offset for _, offset in dispatch.fetches] == [0, 0]


def test_a_model_is_fetched_once_and_then_cached(dispatch: FakeDispatch, start: Start) -> None:
    first, second = dispatch.add_job(b"model"), dispatch.add_job(b"model")
    start(*FAKE)
    dispatch.wait_until(lambda: first.done and second.done)
    assert len(dispatch.fetches) == 1


def test_an_artifact_that_the_server_lost_fails_the_job_with_its_type(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(b"gone")
    dispatch.lost.add(job.payload.model_sha256)
    start(*FAKE)
    dispatch.wait_until(lambda: job.done)
    assert [f.type for f in job.failures] == [FailureType.FETCH_FAILED]


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("reject", FailureType.MODEL_REJECTED),
        ("init", FailureType.INIT_FAILED),
        ("oom", FailureType.OUT_OF_MEMORY),
        ("run", FailureType.RUN_FAILED),
        ("nan", FailureType.OUTPUT_MISMATCH),
    ],
)
def test_faults_of_a_model_come_back_with_their_type(
    dispatch: FakeDispatch, start: Start, fault: str, failure: FailureType
) -> None:
    job = dispatch.add_job(fake_model(fault=fault))
    start(*FAKE)
    dispatch.wait_until(lambda: job.done)
    assert [f.type for f in job.failures] == [failure]


def test_a_model_that_kills_its_process_leaves_the_agent_alive(dispatch: FakeDispatch, start: Start) -> None:
    poison = dispatch.add_job(fake_model(fault="crash"))
    sound = dispatch.add_job(fake_model(latency_us=100.0))
    start(*FAKE_CHILD)
    dispatch.wait_until(lambda: poison.done and sound.done)
    (failure,) = poison.failures
    assert failure.type is FailureType.RUNTIME_CRASHED
    assert "SIGABRT" in failure.message
    assert sound.measurements


def test_a_model_that_hangs_is_ended_at_its_time_limit(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(fake_model(fault="hang"), timeout_s=1.5)
    start(*FAKE_CHILD)
    dispatch.wait_until(lambda: job.done)
    assert [f.type for f in job.failures] == [FailureType.RUNTIME_TIMEOUT]


def test_a_result_that_was_not_sent_before_kill_9_is_sent_after_the_restart(
    dispatch: FakeDispatch, start: Start
) -> None:
    dispatch.refuse_results = 1000
    job = dispatch.add_job(fake_model(latency_us=500.0))
    agent = start(*FAKE)
    dispatch.wait_until(lambda: dispatch.refuse_results < 1000)  # it is on disk, and was tried
    agent.kill()
    dispatch.refuse_results = 0
    start(*FAKE)
    dispatch.wait_until(lambda: job.done)
    assert job.attempt == 1
    assert job.measurements
    dispatch.wait_until(lambda: bool(dispatch.reports) and dispatch.reports[-1].num_spooled_results == 0)


def test_a_result_whose_answer_was_lost_is_sent_again_and_counts_once(dispatch: FakeDispatch, start: Start) -> None:
    dispatch.hide_receipts = 1
    job = dispatch.add_job(fake_model())
    start(*FAKE)
    dispatch.wait_until(lambda: job.done)
    following = dispatch.add_job(fake_model(latency_us=70.0))
    dispatch.wait_until(lambda: following.done)
    assert len(job.measurements) == 1


def test_a_job_killed_in_mid_measurement_is_done_by_the_restarted_agent(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(fake_model(latency_us=100_000.0))
    agent = start(*FAKE_CHILD, "--fake-real-time")
    dispatch.wait_until(lambda: JobPhase.MEASURING in job.phases or JobPhase.WARMUP in job.phases)
    agent.kill()
    dispatch.expire(job)
    start(*FAKE_CHILD, "--fake-real-time")
    dispatch.wait_until(lambda: job.done)
    assert job.attempt == 2
    assert len(job.measurements) == 1


def test_a_cancelled_fetch_stops_and_says_how_far_it_got(dispatch: FakeDispatch, start: Start) -> None:
    dispatch.chunk_delay_s = 0.2
    job = dispatch.add_job(b"y" * (20 * 256 * 1024))
    start(*FAKE)
    dispatch.wait_until(lambda: JobPhase.FETCHING in job.phases)
    job.order = LeaseOrder.CANCEL
    dispatch.wait_until(lambda: job.done)
    assert [f.type for f in job.failures] == [FailureType.CANCELLED]
    assert JobPhase.MEASURING not in job.phases


@pytest.mark.parametrize("phase", [JobPhase.WARMUP, JobPhase.MEASURING])
def test_a_cancelled_measurement_stops(dispatch: FakeDispatch, start: Start, phase: JobPhase) -> None:
    profile = "standard"  # half a second of warm-up, a second at least of measuring
    job = dispatch.add_job(fake_model(latency_us=40_000.0), profile=profile)
    start(*FAKE_CHILD, "--fake-real-time")
    dispatch.wait_until(lambda: phase in job.phases)
    job.order = LeaseOrder.CANCEL
    dispatch.wait_until(lambda: job.done)
    assert [f.type for f in job.failures] == [FailureType.CANCELLED]


def test_a_job_whose_lease_is_lost_stops_and_reports_nothing(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(fake_model(latency_us=40_000.0), profile="standard")
    agent = start(*FAKE_CHILD, "--fake-real-time")
    dispatch.wait_until(lambda: JobPhase.WARMUP in job.phases)
    job.order = LeaseOrder.LOST
    other = dispatch.add_job(fake_model(latency_us=50.0))
    dispatch.wait_until(lambda: other.done)
    assert not job.failures
    assert not job.measurements
    assert "lease_lost" in agent.log


def test_sigterm_finishes_the_current_job_and_takes_no_more(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(fake_model(latency_us=100_000.0))
    agent = start(*FAKE_CHILD, "--fake-real-time")
    dispatch.wait_until(lambda: JobPhase.WARMUP in job.phases or JobPhase.MEASURING in job.phases)
    waiting = dispatch.add_job(fake_model())
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert job.measurements
    assert not waiting.done
    assert dispatch.reports[-1].leaving


def test_sigterm_while_fetching_finishes_the_job_as_well(dispatch: FakeDispatch, start: Start) -> None:
    dispatch.chunk_delay_s = 0.2
    job = dispatch.add_job(b"y" * (20 * 256 * 1024))
    agent = start(*FAKE)
    dispatch.wait_until(lambda: JobPhase.FETCHING in job.phases)
    agent.signal(signal.SIGTERM)
    assert agent.wait(60.0) == 0
    assert job.measurements
    assert dispatch.reports[-1].leaving


def test_a_second_sigterm_gives_the_current_job_back(dispatch: FakeDispatch, start: Start) -> None:
    job = dispatch.add_job(fake_model(latency_us=50_000.0), profile="standard")
    agent = start(*FAKE_CHILD, "--fake-real-time")
    dispatch.wait_until(lambda: JobPhase.WARMUP in job.phases)
    agent.signal(signal.SIGTERM)
    dispatch.wait_until(lambda: "draining" in agent.log)  # two pending signals of one kind would be merged into one
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert [f.type for f in job.returned] == [FailureType.AGENT_SHUTDOWN]
    assert not job.done


def test_an_idle_agent_leaves_at_once(dispatch: FakeDispatch, start: Start) -> None:
    agent = start(*FAKE)
    dispatch.wait_until(lambda: bool(dispatch.reports))
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert dispatch.reports[-1].leaving


def test_an_agent_that_is_taken_over_stops(dispatch: FakeDispatch, start: Start) -> None:
    agent = start(*FAKE)
    dispatch.wait_until(lambda: bool(dispatch.reports))
    dispatch.take_over()
    assert agent.wait() == 3
    assert not dispatch.reports[-1].leaving


def test_a_wrong_enrolment_token_is_said_and_not_hammered(dispatch: FakeDispatch, start: Start) -> None:
    agent = start(*FAKE, token="wrong-token-wrong-token")
    deadline_log = "refuses this device"
    dispatch.wait_until(lambda: deadline_log in agent.log)
    assert agent.log.count(deadline_log) == 1
    assert not dispatch.devices
