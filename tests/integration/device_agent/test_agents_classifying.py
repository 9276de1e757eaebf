"""Real agent processes that classify image sets over real sockets: what they answer, and what stops them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, HardwareKey
from nas_engine.domain.measuring.classification import decompress_predictions
from server.artifacts.image_sets import image_set_head
from server.artifacts.model_check import ModelFacts
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationQuery, ClassificationRecord
from server.core.paging import PageRequest
from server.fleet.device import KNOWN_DEVICE_FEATURE, LOOK_AHEAD_FEATURE
from server.jobs.job import Job, JobQuery
from server.jobs.states import JobKind, JobPhase, JobState
from server.measuring.queries import ModelMeasurementSpec
from tests.support.samples.classifying import LABELS, NUM_CLASSES, image_set, row_classifier, stored
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import EAGER, FAKE_CHILD, ONNXRUNTIME, Farm

SLOW_US = 50_000.0  # in real time, one image each: long enough to be seen at work, however slow the machine


@pytest.fixture
def farm(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Farm]:
    opened = Farm(sqlite_database, tmp_path, leases=EAGER)
    yield opened
    opened.close()


def scripted(**script: object) -> bytes:
    return json.dumps({"hilnas_fake": 1, "predictions": [0, 1, 2], "num_classes": NUM_CLASSES, **script}).encode()


def classified(farm: Farm, job: Job) -> list[ClassificationRecord]:
    query = ClassificationQuery(include_superseded=True)
    page = farm.world.classifications.page_of_classifications(query, PageRequest(100))
    return [farm.world.classifications.get_classification(one.id) for one in page.items if one.job_id == job.id]


def predicted(farm: Farm, job: Job) -> list[int]:
    """The classes that a job's one record holds."""
    (record,) = classified(farm, farm.final(job))
    return list(decompress_predictions(record.predictions, record.num_images).tolist())


def test_images_are_fetched_once_for_many_models_and_answered_right(farm: Farm) -> None:
    images = image_set()
    farm.start(*ONNXRUNTIME)
    right = farm.submit_images(row_classifier(), images, len(LABELS))
    wrong = farm.submit_images(row_classifier(wrong=True), images, len(LABELS))
    assert predicted(farm, right) == list(LABELS)
    assert predicted(farm, wrong) == [(label - 1) % NUM_CLASSES for label in LABELS]
    assert [sha256 for sha256, _ in farm.faults.fetches].count(hashlib.sha256(images).hexdigest()) == 1


def test_a_model_that_fails_ends_its_job_with_the_reason_and_not_its_agent(farm: Farm) -> None:
    images = image_set()
    faults = {
        "crash": FailureType.RUNTIME_CRASHED,
        "nan": FailureType.OUTPUT_MISMATCH,
        "reject": FailureType.MODEL_REJECTED,
    }
    farm.start(*FAKE_CHILD)
    jobs = {fault: farm.submit_images(scripted(fault=fault), images, 10) for fault in faults}
    other = farm.submit_images(scripted(num_classes=7), images, 10)
    sound = farm.submit_images(scripted(), images, 10)
    assert {fault: farm.final(job).failure_type for fault, job in jobs.items()} == faults
    assert farm.final(other).failure_type is FailureType.MODEL_REJECTED
    assert predicted(farm, sound) == list(LABELS)


def test_a_cancelled_classification_stops(farm: Farm) -> None:
    images = image_set(repeat=200)
    farm.start(*FAKE_CHILD, "--fake-real-time")
    job = farm.submit_images(scripted(latency_us=SLOW_US), images, 200 * len(LABELS))
    farm.until_in(job, JobPhase.MEASURING)
    farm.world.dispatch.cancel(job.id)
    assert farm.final(job).state is JobState.CANCELLED
    assert farm.failures(job) == [FailureType.CANCELLED]
    assert not classified(farm, job)


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
    farm.start(*ONNXRUNTIME)
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
    farm.until_in(job, JobPhase.MEASURING)
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
    assert capabilities.features == ("canary", KNOWN_DEVICE_FEATURE, LOOK_AHEAD_FEATURE)
