"""Searches whose front a device classifies with: ended, converted first, cancelled or refused, over real databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, Dtype
from nas_engine.domain.metrics import DEVICE_TOP1, TEST_TOP1
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.files import FileByteStore
from server.artifacts.image_sets import image_set_head
from server.candidates.candidate import Candidate, HeldOutAccuracy
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.states import SearchState
from server.classifying.classification import ReferencePredictions
from server.core.errors import InvalidSpecError
from server.jobs.failures import Failure
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.jobs.states import JobKind, JobState
from server.measuring.conversion import ConvertedModel
from server.measuring.payloads import ConvertPayload
from server.searches.steps.step import StepStatus
from tests.support.samples.classifying import (
    BOARD,
    LABELS,
    RIGHT,
    answer,
    answers,
    classifications,
    classifying_device,
    image_set,
    stored,
    take,
)
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, World, lease_of


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def finalist(world: World, **changes: Any) -> tuple[Search, Candidate, Job]:
    """A search whose one candidate is to be evaluated on test images, and that job, leased."""
    supernet = world.ready_supernet()
    search = world.search(
        **{
            "objectives": [{"metric": "top1"}, {"metric": "macs"}],
            "supernet": supernet.id,
            "budget": {"num_candidates": 1},
            "final": {"on_device_accuracy": True},
            **changes,
        }
    )
    step_and_evaluation = 2
    for _ in range(step_and_evaluation):
        job = world.dispatch.claim("worker", (JobKind.SEARCH_STEP, JobKind.EVALUATE))
        assert job is not None
        world.worker.do(job)
    (candidate,) = world.candidates(search)
    step = world.dispatch.claim("worker", (JobKind.SEARCH_STEP,))
    assert step is not None
    outcome = replace(
        world.worker.outcome(lease_of(step)), final_evaluations=(candidate.id,), status=StepStatus.CONTINUE
    )
    world.steps.commit(lease_of(step), outcome)
    evaluation = world.dispatch.claim("worker", (JobKind.EVALUATE,))
    assert evaluation is not None
    return search, candidate, evaluation


def record_test_accuracy(world: World, job: Job) -> None:
    """As a worker does: the float network's answers, one of them wrong, and the network itself."""
    head, labels_N = image_set_head(world.artifacts, stored(world, image_set()))
    found = ReferencePredictions(
        images_sha256=stored(world, image_set()),
        num_classes=head.num_classes,
        predictions=answers(1, *LABELS[1:]),
        labels=labels_N,
    )
    model = ConvertedModel(sha256=stored(world, b"onnx"), format=ModelFormat.ONNX, weights=WeightsOrigin.INHERITED)
    world.evaluations.record(lease_of(job), HeldOutAccuracy(top1=0.9, num_images=10), model, found)


def test_a_search_ends_once_its_device_has_classified_with_the_front(world: World) -> None:
    device = classifying_device(world)
    search, candidate, evaluation = finalist(world)
    record_test_accuracy(world, evaluation)
    assert world.worker.run() == 0, "the search waits for its device"
    job = take(device, JobKind.CLASSIFY)
    assert (job.search_id, job.candidate_id) == (search.id, candidate.id)
    answer(world.classification_results, device, job, answers(1, 2, *LABELS[2:]))
    (after,) = world.candidates(search)
    assert (after.value(TEST_TOP1), after.value(DEVICE_TOP1)) == (0.9, 0.8)
    (on_device,) = classifications(world, candidate_id=candidate.id, device_id=device.id)
    assert on_device.loss is not None
    assert on_device.loss.value == pytest.approx(0.1)
    assert on_device.loss.agreement == pytest.approx(0.9)
    found = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([candidate.id]))
    assert [(e.value, e.metric) for e in found if e.metric == DEVICE_TOP1] == [(0.8, DEVICE_TOP1)]
    world.worker.run()
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED


def test_a_finalist_that_no_device_can_classify_with_keeps_what_it_has_and_the_search_ends(world: World) -> None:
    device = classifying_device(world)
    search, _, evaluation = finalist(world)
    record_test_accuracy(world, evaluation)
    device.fail(take(device, JobKind.CLASSIFY), FailureType.MODEL_REJECTED, "wrong class count")
    world.worker.run()
    (after,) = world.candidates(search)
    assert (after.value(TEST_TOP1), after.value(DEVICE_TOP1)) == (0.9, None)
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED


@pytest.mark.parametrize("fails", [False, True])
def test_a_finalist_for_a_board_is_converted_first(world: World, fails: bool) -> None:
    device = classifying_device(world, identity=BOARD, dtypes=(Dtype.FP16,))
    search, candidate, evaluation = finalist(world, device={"device_type": "testboard", "dtype": "fp16"})
    record_test_accuracy(world, evaluation)
    converting = world.dispatch.claim("worker", (JobKind.CONVERT,), {"converter": "rknn"})
    assert converting is not None
    payload = read_payload(ConvertPayload, converting.payload)
    assert (payload.weights, payload.source_sha256) == ("inherited", stored(world, b"onnx"))
    if fails:
        world.dispatch.fail(lease_of(converting), Failure(FailureType.CONVERT_FAILED, "no such operator"))
    else:
        made = ConvertedModel(sha256=stored(world, b"rknn"), format=ModelFormat.RKNN, weights=WeightsOrigin.INHERITED)
        world.conversions.record(lease_of(converting), made)
        answer(world.classification_results, device, take(device, JobKind.CLASSIFY), RIGHT)
        (record,) = classifications(world, candidate_id=candidate.id, device_id=device.id)
        assert (record.model_sha256, record.source_sha256) == (made.sha256, stored(world, b"onnx"))
        assert (record.dtype, record.loss is not None) == (Dtype.FP16, True)
    world.worker.run()
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED
    assert world.candidates(search)[0].value(DEVICE_TOP1) == (None if fails else 1.0)


def test_a_cancelled_search_stops_its_device(world: World) -> None:
    device = classifying_device(world)
    search, _, evaluation = finalist(world)
    record_test_accuracy(world, evaluation)
    job = take(device, JobKind.CLASSIFY)
    world.searches.cancel(search.id)
    assert world.dispatch.get(job.id).cancel_requested
    answer(world.classification_results, device, job, RIGHT)
    assert world.dispatch.get(job.id).state is JobState.CANCELLED
    assert world.candidates(search)[0].value(DEVICE_TOP1) is None


@pytest.mark.parametrize(
    ("identity", "features", "device", "words"),
    [
        (IDENTITY, ("canary",), {}, "classifies images"),
        (replace(BOARD, runtime="rk3588-sim", device_class=DeviceClass.SIMULATED), (), {"dtype": "fp16"}, "execute"),
    ],
)
def test_a_search_is_refused_whose_device_could_never_tell(
    world: World, identity: Any, features: tuple[str, ...], device: dict[str, Any], words: str
) -> None:
    classifying_device(world, identity=identity, dtypes=tuple(Dtype), features=features)
    with pytest.raises(InvalidSpecError) as caught:
        finalist(world, device={"device_type": "testboard", **device})
    found = {violation.pointer: violation.message for violation in caught.value.violations}
    assert words in found["/final/on_device_accuracy"]


def test_a_search_without_a_device_or_a_supernet_cannot_ask_for_accuracy_on_one(world: World) -> None:
    with pytest.raises(InvalidSpecError, match="needs a device and a supernet"):
        world.spec(final={"on_device_accuracy": True})
