"""Real agent processes that classify image sets over real sockets: what they answer, and what stops them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.measurement import Dtype, HardwareKey
from server.artifacts.image_sets import image_set_head
from server.artifacts.model_check import ModelFacts
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationQuery
from server.core.paging import PageRequest
from server.fleet.rpc_server import RpcServer, start_rpc_server
from server.jobs.job import Job, JobQuery
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobPhase, JobState
from server.measuring.queries import ModelMeasurementSpec
from tests.integration.device_agent.test_agents_and_service import Farm
from tests.support.fakes.dispatch import FakeDispatch
from tests.support.processes.agent_process import AgentProcess
from tests.support.samples.classifying import LABELS, NUM_CLASSES, image_set, row_classifier, stored
from tests.support.worlds.databases import TestDatabase

Start = Callable[..., AgentProcess]
ORT = ("--runtime", "onnxruntime", "--device-type", "cpu", "--poll-s", "1")
FAKE_CHILD = ("--runtime", "fake", "--device-type", "fake-board", "--poll-s", "1")
SLOW_US = 50_000.0  # in real time, one image each: long enough to be seen at work, however slow the machine


@pytest.fixture
def dispatch() -> FakeDispatch:
    return FakeDispatch(settings=LeaseSettings(ttl_s=5.0, accept_s=0.3, max_wait_s=5.0))


@pytest.fixture
def server(dispatch: FakeDispatch) -> Iterator[RpcServer]:
    running = start_rpc_server(dispatch.services(), "127.0.0.1:0", num_threads=16)
    yield running
    running.stop(0.0)


@pytest.fixture
def start(server: RpcServer, tmp_path: Path) -> Iterator[Start]:
    started: list[AgentProcess] = []

    def begin(*arguments: str) -> AgentProcess:
        started.append(AgentProcess(tmp_path, server.port, *arguments))
        return started[-1]

    yield begin
    for agent in started:
        agent.end()


def scripted(**script: object) -> bytes:
    return json.dumps({"hilnas_fake": 1, "predictions": [0, 1, 2], "num_classes": NUM_CLASSES, **script}).encode()


def test_images_are_fetched_once_for_many_models_and_answered_right(dispatch: FakeDispatch, start: Start) -> None:
    images = image_set()
    right = dispatch.add_classify_job(row_classifier(), images, len(LABELS))
    wrong = dispatch.add_classify_job(row_classifier(wrong=True), images, len(LABELS))
    start(*ORT)
    dispatch.wait_until(lambda: right.done and wrong.done, 60.0)
    assert [failure.message for job in (right, wrong) for failure in job.failures] == []
    assert right.classifications[0].predictions.tolist() == list(LABELS)
    assert wrong.classifications[0].predictions.tolist() == [(label - 1) % NUM_CLASSES for label in LABELS]
    assert right.classifications[0].hardware_key.identity.runtime == "onnxruntime"
    of_images = dispatch.add_model(images)
    assert [sha256 for sha256, _ in dispatch.fetches].count(of_images) == 1


def test_a_model_that_fails_ends_its_job_with_the_reason_and_not_its_agent(
    dispatch: FakeDispatch, start: Start
) -> None:
    images = image_set()
    faults = {
        "crash": FailureType.RUNTIME_CRASHED,
        "nan": FailureType.OUTPUT_MISMATCH,
        "reject": FailureType.MODEL_REJECTED,
    }
    jobs = {fault: dispatch.add_classify_job(scripted(fault=fault), images, 10) for fault in faults}
    other = dispatch.add_classify_job(scripted(num_classes=7), images, 10)
    sound = dispatch.add_classify_job(scripted(), images, 10)
    start(*FAKE_CHILD)
    dispatch.wait_until(lambda: all(job.done for job in (*jobs.values(), other, sound)), 90.0)
    assert {fault: job.failures[0].type for fault, job in jobs.items()} == faults
    assert other.failures[0].type is FailureType.MODEL_REJECTED
    assert sound.classifications[0].predictions.tolist() == list(LABELS)


def test_a_cancelled_classification_stops(dispatch: FakeDispatch, start: Start) -> None:
    images = image_set(repeat=200)
    job = dispatch.add_classify_job(scripted(latency_us=SLOW_US), images, 200 * len(LABELS))
    start(*FAKE_CHILD, "--fake-real-time")
    dispatch.wait_until(lambda: JobPhase.MEASURING in job.phases, 60.0)
    job.order = LeaseOrder.CANCEL
    dispatch.wait_until(lambda: job.done, 60.0)
    assert [failure.type for failure in job.failures] == [FailureType.CANCELLED]
    assert not job.classifications


# ---- with the whole service behind the wire


@pytest.fixture
def farm(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Farm]:
    opened = Farm(sqlite_database, tmp_path)
    yield opened
    opened.close()


def order(farm: Farm, model: bytes, images: bytes, name: str, shape: tuple[int, ...] = (1, 1, 4, 4)) -> Job:
    """The classifying job of a model of one's own on devices like the one of that name."""
    device_type = farm.device(name).device_type
    wanted = ModelMeasurementSpec.model_validate(
        {
            "model_sha256": stored(farm.world, model),
            "device": {"device_type": device_type},
            "measurement": {"profile": "quick", "validity_policy": "accept_flagged"},
            "images": {"sha256": stored(farm.world, images)},
        }
    )
    assert wanted.images is not None
    heads = {wanted.images.sha256: image_set_head(farm.world.artifacts, wanted.images.sha256)[0]}
    facts = ModelFacts(input_shapes=(shape,), opset=17, size_bytes=len(model))
    farm.world.latencies.measure_model(wanted, facts, heads)
    query = JobQuery(kinds=(JobKind.CLASSIFY,))
    return farm.world.dispatch.page(query, PageRequest(10)).items[0]


def test_a_model_of_ones_own_gets_its_accuracy_on_onnx_runtime(farm: Farm) -> None:
    farm.start(*ORT)
    job = farm.final(order(farm, row_classifier(), image_set(), "bench-1"))
    assert job.state is JobState.DONE, job.failure_message
    (record,) = farm.world.classifications.page_of_classifications(ClassificationQuery(), PageRequest(10)).items
    assert (record.top1.value, record.num_images, record.loss) == (1.0, len(LABELS), None)
    identity = farm.device("bench-1").capabilities.identity
    assert record.hardware == HardwareKey(identity=identity, dtype=Dtype.FP32)


def test_an_agent_killed_while_it_classifies_is_replaced_and_the_job_is_done_once(farm: Farm) -> None:
    images = image_set(repeat=200)
    slow = farm.start(*FAKE_CHILD, "--fake-real-time", name="slow")
    job = order(farm, scripted(latency_us=SLOW_US), images, "slow")
    farm.until(lambda: farm.world.dispatch.get(job.id).phase is JobPhase.MEASURING, 60.0)
    slow.kill()
    farm.lose(job)
    farm.start(*FAKE_CHILD, name="quick")
    done = farm.final(job)
    assert (done.state, done.attempt) == (JobState.DONE, 2)
    query = ClassificationQuery(include_superseded=True)
    (record,) = farm.world.classifications.page_of_classifications(query, PageRequest(10)).items
    assert record.device_id == farm.device("quick").id
    assert (record.num_images, record.source) == (200 * len(LABELS), EvaluationSource.SIMULATED)
    unscripted = farm.final(order(farm, b"no script", images, "quick"))
    assert (unscripted.state, unscripted.failure_type) == (JobState.FAILED, FailureType.UNSUPPORTED)


def test_a_simulated_rk3588_does_not_offer_to_classify(farm: Farm) -> None:
    farm.start("--runtime", "rk3588-sim", "--isolation", "none", "--poll-s", "1", name="sim")
    capabilities = farm.device("sim").capabilities
    assert capabilities.features == ("canary",)
