"""Real agent processes against the real service over real sockets, with faults at its door: what becomes of a job."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from device_agent.runtime.golden import golden_onnx
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, decompress_blocks
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.jobs.states import JobPhase, JobState
from server.measuring.payloads import MeasurePayload
from server.measuring.store import MeasurementStore
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import EAGER, FAKE, FAKE_CHILD, ONNXRUNTIME, Farm, fake_model

REAL_TIME = (*FAKE_CHILD, "--fake-real-time")


@pytest.fixture
def farm(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Farm]:
    opened = Farm(sqlite_database, tmp_path, leases=EAGER)
    yield opened
    opened.close()


def fetched(farm: Farm, job: Job) -> list[int]:
    """Offsets at which a job's model was fetched."""
    wanted = read_payload(MeasurePayload, job.payload).model_sha256
    return [offset for sha256, offset in farm.faults.fetches if sha256 == wanted]


def test_an_agent_enrols_measures_and_reports(farm: Farm) -> None:
    farm.start(*FAKE, "--labels", "rack=3")
    job = farm.final(farm.submit(fake_model(latency_us=900.0)))
    (measurement,) = farm.measurements(job)
    assert measurement.stats.p50_us == pytest.approx(900.0, rel=0.02)
    assert measurement.flags == ()
    assert measurement.device_class is DeviceClass.SIMULATED
    (device,) = farm.devices()
    assert (device.device_type, device.labels) == ("fake-board", {"rack": "3"})


def test_onnx_runtime_measures_in_a_child_process(farm: Farm) -> None:
    farm.start(*ONNXRUNTIME)
    job = farm.final(farm.submit(golden_onnx()))
    assert not farm.failures(job)
    (measurement,) = farm.measurements(job)
    assert measurement.hardware.identity.runtime == "onnxruntime"
    assert isinstance(measurement.environment, dict)
    assert measurement.environment["cpu_affinity"]
    samples = farm.world.uow.read(lambda tx: MeasurementStore(tx).samples_of_measurement(measurement.id))
    assert samples is not None
    blocks = decompress_blocks(samples)
    assert sum(len(b.e2e_ns) for b in blocks) >= 30
    assert all(b.cpu_time_ns is not None for b in blocks)


def test_a_model_that_wants_the_whole_board_fails_alone(farm: Farm) -> None:
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
    farm.start(*ONNXRUNTIME, "--model-memory", str(512 * 2**20))
    job = farm.submit(greedy.SerializeToString(), max_attempts=1)
    sound = farm.submit(golden_onnx())
    failed = farm.final(job)
    assert failed.failure_type is FailureType.OUT_OF_MEMORY
    assert (
        "more memory than the device has left for it; what helps is a smaller batch or input" in failed.failure_message
    )
    assert farm.measurements(farm.final(sound))


def test_a_broken_fetch_is_resumed_where_it_broke(farm: Farm) -> None:
    model = bytes(range(256)) * 4096  # 1 MiB: four chunks
    farm.faults.break_after_bytes = [512 * 1024, 256 * 1024]
    farm.start()
    job = farm.final(farm.submit(model))
    assert farm.measurements(job)
    assert fetched(farm, job) == [0, 512 * 1024, 768 * 1024]


def test_a_corrupt_transfer_is_noticed_and_fetched_again(farm: Farm) -> None:
    farm.faults.corrupt_fetches = 1
    farm.start()
    job = farm.final(farm.submit(b"x" * 300_000))
    assert farm.measurements(job)
    assert fetched(farm, job) == [0, 0]


def test_a_model_is_fetched_once_and_then_cached(farm: Farm) -> None:
    farm.start()
    first, second = farm.final(farm.submit(b"model")), farm.final(farm.submit(b"model"))
    assert len(farm.measurements(first) + farm.measurements(second)) == 2
    assert fetched(farm, first) == [0]


def test_an_artifact_that_the_server_lost_fails_the_job_with_its_type(farm: Farm, tmp_path: Path) -> None:
    farm.start()
    device = farm.device()
    farm.world.devices.reserve(device.id, "the test", farm.world.uow.read(lambda tx: tx.now()) + timedelta(hours=1))
    job = farm.submit(b"gone", max_attempts=1)
    (stored,) = (tmp_path / "artifacts").rglob(f"*{read_payload(MeasurePayload, job.payload).model_sha256[8:]}*")
    stored.unlink()
    farm.world.devices.release(device.id)
    assert farm.final(job).failure_type is FailureType.FETCH_FAILED


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
def test_faults_of_a_model_come_back_with_their_type(farm: Farm, fault: str, failure: FailureType) -> None:
    farm.start()
    job = farm.final(farm.submit(fake_model(fault=fault), max_attempts=1))
    assert farm.failures(job) == [failure]


def test_a_model_that_kills_its_process_leaves_the_agent_alive(farm: Farm) -> None:
    farm.start(*FAKE_CHILD)
    poison = farm.final(farm.submit(fake_model(fault="crash"), max_attempts=1))
    assert poison.failure_type is FailureType.RUNTIME_CRASHED
    assert "SIGABRT" in poison.failure_message
    assert farm.measurements(farm.final(farm.submit(fake_model(latency_us=100.0))))


def test_a_model_that_hangs_is_ended_at_its_time_limit(farm: Farm) -> None:
    farm.start(*FAKE_CHILD)
    job = farm.final(farm.submit(fake_model(fault="hang"), timeout_s=1.5, max_attempts=1))
    assert farm.failures(job) == [FailureType.RUNTIME_TIMEOUT]


def test_a_result_that_was_not_sent_before_kill_9_is_sent_after_the_restart(farm: Farm) -> None:
    farm.faults.refuse_results = 1000
    agent = farm.start()
    job = farm.submit(fake_model(latency_us=500.0))
    farm.until(lambda: farm.faults.refuse_results < 1000)  # it is on disk, and was tried
    agent.kill()
    farm.faults.refuse_results = 0
    farm.start()
    done = farm.final(job)
    assert done.attempt == 1
    assert farm.measurements(done)
    farm.until(lambda: farm.faults.reports[-1].num_spooled_results == 0)


def test_a_result_whose_answer_was_lost_is_sent_again_and_counts_once(farm: Farm) -> None:
    farm.faults.hide_receipts = 1
    farm.start()
    job = farm.final(farm.submit(fake_model()))
    farm.final(farm.submit(fake_model(latency_us=70.0)))
    assert farm.faults.hide_receipts == 0
    assert len(farm.measurements(job)) == 1


def test_a_job_killed_in_mid_measurement_is_done_by_the_restarted_agent(farm: Farm) -> None:
    agent = farm.start(*REAL_TIME)
    job = farm.submit(fake_model(latency_us=100_000.0))
    farm.until_in(job, JobPhase.WARMUP, JobPhase.MEASURING)
    agent.kill()
    farm.lose(job)
    farm.start(*REAL_TIME)
    done = farm.final(job)
    assert (done.state, done.attempt) == (JobState.DONE, 2)
    assert len(farm.measurements(done)) == 1


def test_a_cancelled_fetch_stops_and_says_how_far_it_got(farm: Farm) -> None:
    farm.faults.chunk_delay_s = 0.2
    farm.start()
    job = farm.submit(b"y" * (20 * 256 * 1024))
    farm.until_in(job, JobPhase.FETCHING)
    farm.world.dispatch.cancel(job.id)
    assert farm.final(job).state is JobState.CANCELLED
    assert farm.failures(job) == [FailureType.CANCELLED]
    assert JobPhase.MEASURING not in farm.faults.phases[job.id]


@pytest.mark.parametrize("phase", [JobPhase.WARMUP, JobPhase.MEASURING])
def test_a_cancelled_measurement_stops(farm: Farm, phase: JobPhase) -> None:
    farm.start(*REAL_TIME)
    profile = "standard"  # half a second of warm-up, a second at least of measuring
    job = farm.submit(fake_model(latency_us=40_000.0), profile=profile)
    farm.until_in(job, phase)
    farm.world.dispatch.cancel(job.id)
    assert farm.final(job).state is JobState.CANCELLED
    assert farm.failures(job) == [FailureType.CANCELLED]


def test_a_job_whose_lease_is_lost_stops_and_reports_nothing(farm: Farm) -> None:
    agent = farm.start(*REAL_TIME)
    job = farm.submit(fake_model(latency_us=40_000.0), profile="standard")
    farm.until_in(job, JobPhase.WARMUP)
    farm.lose(job)
    farm.world.dispatch.cancel(job.id)
    assert farm.measurements(farm.final(farm.submit(fake_model(latency_us=50.0))))
    assert farm.failures(job) == [FailureType.LEASE_LOST]
    assert not farm.measurements(job)
    assert "lease_lost" in agent.log


def test_sigterm_finishes_the_current_job_and_takes_no_more(farm: Farm) -> None:
    agent = farm.start(*REAL_TIME)
    job = farm.submit(fake_model(latency_us=100_000.0))
    farm.until_in(job, JobPhase.WARMUP, JobPhase.MEASURING)
    waiting = farm.submit(fake_model())
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert farm.measurements(job)
    assert farm.world.dispatch.get(waiting.id).state is JobState.QUEUED
    assert farm.faults.reports[-1].leaving


def test_sigterm_while_fetching_finishes_the_job_as_well(farm: Farm) -> None:
    farm.faults.chunk_delay_s = 0.2
    agent = farm.start()
    job = farm.submit(b"y" * (20 * 256 * 1024))
    farm.until_in(job, JobPhase.FETCHING)
    agent.signal(signal.SIGTERM)
    assert agent.wait(60.0) == 0
    assert farm.measurements(job)
    assert farm.faults.reports[-1].leaving


def test_a_second_sigterm_gives_the_current_job_back(farm: Farm) -> None:
    agent = farm.start(*REAL_TIME)
    job = farm.submit(fake_model(latency_us=50_000.0), profile="standard")
    farm.until_in(job, JobPhase.WARMUP)
    agent.signal(signal.SIGTERM)
    farm.until(lambda: "draining" in agent.log)  # two pending signals of one kind would be merged into one
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert farm.failures(job) == [FailureType.AGENT_SHUTDOWN]
    assert farm.world.dispatch.get(job.id).state is JobState.QUEUED


def test_an_idle_agent_leaves_at_once(farm: Farm) -> None:
    agent = farm.start()
    farm.until(lambda: bool(farm.faults.reports))
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert farm.faults.reports[-1].leaving


def test_an_agent_that_is_taken_over_stops(farm: Farm) -> None:
    agent = farm.start()
    farm.until(lambda: bool(farm.faults.reports))
    farm.world.database.execute("UPDATE devices SET instance_epoch = instance_epoch + 1")
    assert agent.wait() == 3
    assert not farm.faults.reports[-1].leaving


def test_a_wrong_enrolment_token_is_said_and_ends_the_agent(farm: Farm) -> None:
    agent = farm.start(token="wrong-token-wrong-token")
    assert agent.wait() == 2
    assert agent.log.count("the enrolment token") == 1
    assert not farm.devices()
