"""Accuracy on devices, over real databases: counted by the server, fenced, paired with float, never made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, HardwareKey
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.files import FileByteStore
from server.artifacts.image_sets import image_set_head
from server.artifacts.model_check import ModelFacts
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from server.fleet.device import DeviceState
from server.jobs.job import Job, JobQuery
from server.jobs.payloads import read_payload
from server.jobs.results import ResultStatus
from server.jobs.states import JobKind, JobState
from server.measuring.conversion import ConvertedModel
from server.measuring.payloads import ClassifyPayload, ConvertPayload, MeasurePayload
from server.measuring.queries import ModelMeasurementSpec
from tests.support.samples.classifying import (
    BOARD,
    LABELS,
    NUM_CLASSES,
    RIGHT,
    answer,
    answers,
    classifications,
    classifying_device,
    image_set,
    spec,
    stored,
    take,
)
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, World, lease_of, measurement, put_measurement

TWO_WRONG = answers(1, 2, *LABELS[2:])


FACTS = ModelFacts(input_shapes=((1, 1, 4, 4),), opset=17, size_bytes=1000)


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def measure(world: World, wanted: ModelMeasurementSpec, facts: ModelFacts = FACTS) -> Job:
    named = [wanted.calibration_images_sha256, None if wanted.images is None else wanted.images.sha256]
    heads = {sha256: image_set_head(world.artifacts, sha256)[0] for sha256 in named if sha256 is not None}
    return world.latencies.measure_model(wanted, facts, heads)


def test_right_answers_are_counted_by_the_server(world: World) -> None:
    device = classifying_device(world)
    measuring = measure(world, spec(world))
    classifying = take(device, JobKind.CLASSIFY)
    assert read_payload(MeasurePayload, measuring.payload).classify_job_id == classifying.id
    assert answer(world.classification_results, device, classifying, TWO_WRONG).status is ResultStatus.ACCEPTED
    done = world.dispatch.get(classifying.id)
    (record,) = classifications(world)
    assert done.result == {"classification_id": record.id, "top1": 0.8}
    assert (record.top1.value, record.num_images, record.device_id) == (0.8, 10, device.id)
    assert record.predictions_N().tolist() == TWO_WRONG.tolist()
    assert device.measure(take(device, JobKind.MEASURE)).status is ResultStatus.ACCEPTED


def test_fewer_images_may_be_asked_for_than_the_set_holds(world: World) -> None:
    device = classifying_device(world)
    images = {"sha256": stored(world, image_set()), "num_images": 4}
    measure(world, spec(world, images=images))
    answer(world.classification_results, device, take(device, JobKind.CLASSIFY), TWO_WRONG[:4])
    (record,) = classifications(world)
    assert (record.num_correct, record.num_images) == (2, 4)


def test_a_result_sent_twice_is_one_result_and_another_one_is_none(world: World) -> None:
    device = classifying_device(world)
    measure(world, spec(world))
    job = take(device, JobKind.CLASSIFY)
    results = world.classification_results
    assert answer(results, device, job, RIGHT).status is ResultStatus.ACCEPTED
    assert answer(results, device, job, RIGHT).status is ResultStatus.DUPLICATE
    assert answer(results, device, job, TWO_WRONG).status is ResultStatus.REJECTED
    assert [record.num_correct for record in classifications(world)] == [10]


def test_a_late_result_is_kept_and_steers_nothing(world: World) -> None:
    first, second = classifying_device(world), classifying_device(world, "bench-2")
    measure(world, spec(world))
    lost = take(first, JobKind.CLASSIFY)
    world.database.kill_lease(lost.id)
    world.dispatch.sweep()
    world.database.skip_backoff()
    again = take(second, JobKind.CLASSIFY)
    assert again.id == lost.id
    assert answer(world.classification_results, first, lost, TWO_WRONG).status is ResultStatus.SUPERSEDED
    assert answer(world.classification_results, second, again, RIGHT).status is ResultStatus.ACCEPTED
    assert [record.device_id for record in classifications(world)] == [second.id]
    assert len(classifications(world, include_superseded=True)) == 2


def test_a_cancelled_job_ends_as_cancelled_though_its_answers_arrive(world: World) -> None:
    device = classifying_device(world)
    measure(world, spec(world))
    job = take(device, JobKind.CLASSIFY)
    world.dispatch.cancel(job.id)
    assert answer(world.classification_results, device, job, RIGHT).status is ResultStatus.ACCEPTED
    assert world.dispatch.get(job.id).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("predictions", "changes", "words"),
    [
        (RIGHT[:9], {}, "9 answers to 10 images"),
        (RIGHT, {"num_classes": 4}, "4 classes"),
        (RIGHT, {"images_sha256": "0" * 64}, "image set 000000000000"),
        (RIGHT, {"hardware_key": HardwareKey(identity=IDENTITY, dtype=Dtype.FP16, batch=1)}, "as fp16"),
        (RIGHT, {"hardware_key": HardwareKey(identity=BOARD, dtype=Dtype.FP32, batch=1)}, "hardware key"),
    ],
)
def test_answers_that_are_not_the_jobs_are_the_devices_fault_and_never_an_accuracy(
    world: World, predictions: Any, changes: dict[str, Any], words: str
) -> None:
    device = classifying_device(world)
    measure(world, spec(world))
    job = take(device, JobKind.CLASSIFY)
    receipt = answer(world.classification_results, device, job, predictions, **changes)
    assert receipt.status is ResultStatus.REJECTED
    assert words in receipt.reason
    assert classifications(world, include_superseded=True) == ()
    after = world.dispatch.get(job.id)
    assert (after.state, after.failure_type) == (JobState.QUEUED, FailureType.INVALID_RESULT)
    assert world.devices.get(device.id).num_failures_in_a_row == 1


def test_a_measurement_is_no_answer_to_images_nor_the_other_way_round(world: World) -> None:
    device = classifying_device(world)
    measure(world, spec(world))
    job = take(device, JobKind.CLASSIFY)
    receipt = put_measurement(world.results, device.id, lease_of(job), measurement(100.0), "a" * 64)
    assert (receipt.status, "asks for no measurement" in receipt.reason) == (ResultStatus.REJECTED, True)


def test_a_loss_is_taken_against_the_float_model_whichever_was_measured_first(world: World) -> None:
    device = classifying_device(world, dtypes=(Dtype.FP32, Dtype.W8A8))
    quantised = {"device_type": "testboard", "dtype": "w8a8"}
    plain = {"device_type": "testboard"}
    for on, predictions in ((quantised, TWO_WRONG), (plain, RIGHT), (quantised, RIGHT)):
        measure(world, spec(world, device=on), replace(FACTS, dtype=Dtype(on.get("dtype", "fp32"))))
        answer(world.classification_results, device, take(device, JobKind.CLASSIFY), predictions)
        device.fail(take(device, JobKind.MEASURE), FailureType.UNSUPPORTED)
    third, reference, first = classifications(world)
    assert reference.loss is None
    assert first.loss is not None
    assert third.loss is not None
    assert (first.loss.reference_id, third.loss.reference_id) == (reference.id, reference.id)
    assert first.loss.value == pytest.approx(0.2)
    assert first.loss.agreement == pytest.approx(0.8)
    assert first.loss.standard_error == pytest.approx((2 - 0.4) ** 0.5 / 10)
    assert (third.loss.value, third.loss.standard_error, third.loss.agreement) == (0.0, 0.0, 1.0)


def test_another_model_or_other_images_are_not_compared(world: World) -> None:
    device = classifying_device(world)
    for number, wanted in enumerate((spec(world), spec(world, model=b"other"))):
        measure(world, wanted)
        answer(world.classification_results, device, take(device, JobKind.CLASSIFY), answers(*LABELS))
        device.measure(take(device, JobKind.MEASURE), 100.0 + number)
    assert [record.loss for record in classifications(world)] == [None, None]


def test_an_agent_that_does_not_know_the_job_is_not_given_it(world: World) -> None:
    old = classifying_device(world, "old", features=("canary",))
    classifying_device(world, "new")
    measuring = measure(world, spec(world))
    place = world.dispatch.place(str(read_payload(MeasurePayload, measuring.payload).classify_job_id))
    assert place is not None
    assert place.num_takers == 1
    assert take(old, JobKind.MEASURE).id == measuring.id
    assert old.take() is None


@pytest.mark.parametrize(
    ("changes", "facts", "pointer", "words"),
    [
        ({}, replace(FACTS, input_shapes=((1, 4, 4, 1),)), "/images/sha256", "(1, 4, 4, 1)"),
        ({"device": {"device_type": "testboard", "batch": 2}}, None, "/images/sha256", "(2, 1, 4, 4)"),
        ({"num_images": 11}, FACTS, "/images/num_images", "has 10 images"),
    ],
)
def test_images_that_do_not_fit_the_model_are_refused_at_submission(
    world: World, changes: dict[str, Any], facts: ModelFacts | None, pointer: str, words: str
) -> None:
    classifying_device(world)
    if "num_images" in changes:
        changes = {"images": {"sha256": stored(world, image_set()), **changes}}
    with pytest.raises(InvalidSpecError) as caught:
        measure(world, spec(world, **changes), facts or replace(FACTS, input_shapes=((2, 4, 4, 1),)))
    (violation,) = caught.value.violations
    assert violation.pointer == pointer
    assert words in violation.message
    assert world.dispatch.page(JobQuery(), PageRequest(10)).items == ()


def test_images_are_refused_where_no_device_executes_models(world: World) -> None:
    classifying_device(world, features=("canary",))
    with pytest.raises(InvalidSpecError) as caught:
        measure(world, spec(world))
    assert "classifies images" in caught.value.violations[0].message


def test_a_device_that_does_not_take_jobs_now_is_waited_for(world: World) -> None:
    device = classifying_device(world)
    world.devices.set_state(device.id, DeviceState.DRAINING)
    measure(world, spec(world))
    assert device.take() is None
    world.devices.set_state(device.id, DeviceState.ACTIVE)
    take(device, JobKind.CLASSIFY)


def test_a_board_classifies_with_what_the_converter_made(world: World) -> None:
    device = classifying_device(world, identity=BOARD, dtypes=(Dtype.W8A8,))
    wanted = spec(world, device={"device_type": "testboard", "dtype": "w8a8"})
    with pytest.raises(InvalidSpecError, match="calibration images"):
        measure(world, wanted)
    calibrated = wanted.model_copy(update={"calibration_images_sha256": stored(world, image_set())})
    converting = measure(world, calibrated)
    assert converting.kind is JobKind.CONVERT
    assert read_payload(ConvertPayload, converting.payload).calibration_images_sha256 is not None
    claimed = world.dispatch.claim("worker", (JobKind.CONVERT,), {"converter": "rknn"})
    assert claimed is not None
    made = ConvertedModel(sha256=stored(world, b"rknn"), format=ModelFormat.RKNN, weights=WeightsOrigin.INHERITED)
    world.conversions.record(lease_of(claimed), made)
    classifying = take(device, JobKind.CLASSIFY)
    payload = read_payload(ClassifyPayload, classifying.payload)
    assert (payload.model_sha256, payload.model_format) == (made.sha256, ModelFormat.RKNN)
    assert payload.source_sha256 == calibrated.model_sha256
    assert world.dispatch.get(converting.id).result == {
        "sha256": made.sha256,
        "cpu_operators": [],
        "classify_job_id": classifying.id,
        "next_job_id": take(device, JobKind.MEASURE).id,
    }


def test_only_image_sets_have_a_head(world: World) -> None:
    header, labels_N = image_set_head(world.artifacts, stored(world, image_set()))
    assert (header.num_classes, labels_N.tolist()) == (NUM_CLASSES, list(LABELS))
