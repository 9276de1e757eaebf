"""Accuracy on devices over HTTP: submitted with images, found by its job, listed with its loss, shown with a front."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from rich.console import Console

from hilnas.cli.shown.fronts import front_table
from hilnas.client.core.group import read
from nas_engine.domain.measurement import DeviceClass, Dtype, EnvironmentRecord, HardwareKey
from nas_engine.domain.measuring.classification import Classification, compress_predictions
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import DEVICE_TOP1, TEST_TOP1
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationRecord, Loss
from server.classifying.rpc import ClassifyingRpc
from server.classifying.store import ClassificationStore
from server.core.database.transaction import Transaction
from server.core.ids import IdPrefix, new_id
from server.fleet.device import Device
from server.jobs.job import Job
from server.jobs.states import JobKind
from server.searches.fronts.schemas import FrontResource
from tests.support.samples.classifying import LABELS, NUM_CLASSES, answers, image_set, row_classifier
from tests.support.worlds.api_world import ADMIN, World, capabilities, cheap_spec


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def device(world: World) -> Device:
    enrolled = world.enrol("bench-1", device_type="bench")
    able = replace(enrolled, capabilities=replace(capabilities(), features=("classify",)))
    world._assigned(able)  # a sync, by which the server learns of it
    return able


def upload(client: httpx2.Client, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    client.put(f"/api/v1/artifacts/{digest}", content=content).raise_for_status()
    return digest


def post(client: httpx2.Client, **images: Any) -> httpx2.Response:
    document = {"model_sha256": upload(client, row_classifier()), "label": "rows", "device": {"device_type": "bench"}}
    return client.post("/api/v1/measurements", json={**document, "images": images})


def answer(world: World, device: Device, job: Job, images_sha256: str) -> None:
    given = Classification(
        predictions=answers(2, *LABELS[1:]),
        num_classes=NUM_CLASSES,
        images_sha256=images_sha256,
        hardware_key=HardwareKey(identity=device.capabilities.identity, dtype=device.capabilities.dtypes[0]),
        environment=EnvironmentRecord(agent_version="1", protocol_version=1),
    )
    assert job.lease is not None
    classifying = world.process.agents.work[JobKind.CLASSIFY]
    assert isinstance(classifying, ClassifyingRpc)
    classifying.results.put(device.id, job.lease, "c" * 64, lambda _: given)


def test_a_model_with_images_has_a_classifying_job_beside_its_measuring_one(world: World, device: Device) -> None:
    with world.client() as client:
        sha256 = upload(client, image_set())
        accepted = post(client, sha256=sha256)
        assert accepted.status_code == 202, accepted.text
        assert accepted.json()["kind"] == "measure"
        classify_job_id = accepted.json()["classify_job_id"]
        job = world._assigned(device)
        assert job is not None
        assert job.id == classify_job_id
        answer(world, device, job, sha256)
        done = client.get(f"/api/v1/jobs/{classify_job_id}").json()
        assert (done["state"], done["kind"], done["result"]["top1"]) == ("done", "classify", 0.9)
        found = client.get(f"/api/v1/classifications/{done['result']['classification_id']}").json()
        assert found["predictions"] == [2, *LABELS[1:]]
        assert (found["top1"], found["num_correct"], found["source"], found["kind"]) == (0.9, 9, "measured", "measured")
        assert found["standard_error"] == pytest.approx((0.9 * 0.1 / 10) ** 0.5)
        listed = client.get("/api/v1/classifications", params={"images_sha256": sha256}).json()["items"]
        assert [one["id"] for one in listed] == [found["id"]]
        assert "predictions" not in listed[0]
        assert client.get("/api/v1/classifications", params={"device_type": "toaster"}).json()["items"] == []
        assert client.get("/api/v1/classifications/cls_none").status_code == 404
        assert client.get("/api/v1/classifications", params={"devicetype": "bench"}).status_code == 422


def test_what_is_no_image_set_is_refused_with_the_place_and_the_reason(world: World, device: Device) -> None:
    with world.client() as client:
        cut = post(client, sha256=upload(client, image_set()[:-1]))
        other = post(client, sha256=upload(client, b"not images"))
        for refused, words in ((cut, "it is cut"), (other, "not an image set")):
            assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (422, "invalid-measurement-spec")
            (error,) = refused.json()["errors"]
            assert error["pointer"] == "/images/sha256"
            assert words in error["detail"]
        assert post(client, sha256="0" * 64).status_code == 404
        too_many = post(client, sha256=upload(client, image_set()), num_images=11)
        assert too_many.json()["errors"][0]["pointer"] == "/images/num_images"
        assert client.get("/api/v1/jobs").json()["items"] == []


def _evaluation(candidate: Candidate, metric: Metric, value: float) -> Evaluation:
    return Evaluation(
        id=new_id(IdPrefix.EVALUATION),
        search_id=candidate.search_id,
        candidate_id=candidate.id,
        metric=metric,
        value=value,
        source=EvaluationSource.EVALUATED,
        created_at=candidate.created_at,
    )


def test_a_front_shows_what_its_devices_answer_beside_float(world: World, device: Device) -> None:
    with world.client() as client:
        search_id = client.post("/api/v1/searches", json=cheap_spec(1)).json()["id"]
        world.step([[0] * 4])
        world.step(last=True)

        def work(tx: Transaction) -> None:
            (candidate,) = CandidateStore(tx).all_complete_candidates(search_id)
            for metric, value in ((TEST_TOP1, 0.9), (DEVICE_TOP1, 0.8)):
                EvaluationStore(tx).add_evaluation(_evaluation(candidate, metric, value))
            reference = _record(search_id, candidate.id)
            ClassificationStore(tx).add_classification(reference)
            loss = Loss(reference_id=reference.id, value=0.1, standard_error=0.03, agreement=0.85)
            key = HardwareKey(identity=device.capabilities.identity, dtype=device.capabilities.dtypes[0])
            on_device = replace(
                _record(search_id, candidate.id),
                source=EvaluationSource.MEASURED,
                hardware=key,
                device_id=device.id,
                num_correct=8,
                loss=loss,
            )
            ClassificationStore(tx).add_classification(on_device)

        world.process.uow.write(work)
        front = client.get(f"/api/v1/searches/{search_id}/front").json()
        candidate = front["points"][0]["candidate"]
        assert (candidate["test_top1"], candidate["device_top1"]) == (0.9, 0.8)
        assert candidate["device_accuracy"]["loss"] == 0.1
        assert candidate["device_accuracy"]["device_class"] == DeviceClass.BOARD.value
        exported = client.get(f"/api/v1/searches/{search_id}/candidates", headers={"Accept": "text/csv"}).text
        header, row = exported.splitlines()[:2]
        assert dict(zip(header.split(","), row.split(","), strict=True))["device_loss"] == "0.1"
        assert client.post("/login", data={"token": ADMIN}, follow_redirects=False).status_code == 303
        page = client.get(f"/candidates/{candidate['id']}").text
        assert "loss against float" in page
        console = Console(width=200, file=StringIO())
        with console.capture() as shown:
            console.print(front_table(read(FrontResource, front)))
        assert "+10 ± 6" in shown.get()


def _record(search_id: str, candidate_id: str) -> ClassificationRecord:
    return ClassificationRecord(
        id=new_id(IdPrefix.CLASSIFICATION),
        source=EvaluationSource.EVALUATED,
        images_sha256="1" * 64,
        num_images=10,
        num_classes=NUM_CLASSES,
        num_correct=9,
        model_sha256="2" * 64,
        source_sha256="2" * 64,
        dtype=Dtype.FP32,
        batch=1,
        search_id=search_id,
        candidate_id=candidate_id,
        predictions=compress_predictions(answers(*LABELS)),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
