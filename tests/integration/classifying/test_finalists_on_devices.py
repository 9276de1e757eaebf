"""The front of a search, classified with on a device: real handlers of the worker, a real agent with ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from nas_engine.domain.measuring.image_set import ImageSetFile
from nas_engine.domain.metrics import DEVICE_TOP1, TEST_TOP1
from server.access.tokens import Tokens
from server.bootstrap.agents import agent_services
from server.bootstrap.job_kinds import all_job_kinds
from server.candidates.states import EvaluationSource, SearchState
from server.classifying.classification import ClassificationQuery
from server.classifying.queries import Classifications
from server.core.paging import PageRequest
from server.fleet.device import DeviceQuery
from server.fleet.devices import Devices
from server.fleet.rpc_server import start_rpc_server
from server.measuring.canaries.canaries import Canaries
from tests.support.processes.agent_process import AgentProcess
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import EVALUATION, WorkerWorld

NUM_IMAGES = 40  # of 60 test images


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


@pytest.fixture
def agent(world: WorkerWorld, tmp_path: Path) -> Iterator[AgentProcess]:
    uow, wakeups = world.uow, world.database.wakeups
    made = Tokens(uow).bootstrap()
    assert made is not None
    devices = Devices(uow)
    services = agent_services(uow, wakeups, all_job_kinds(), world.artifacts, Canaries(uow))
    server = start_rpc_server(services, "127.0.0.1:0", num_threads=8)
    options = ("--runtime", "onnxruntime", "--device-type", "cpu", "--poll-s", "1")
    started = AgentProcess(tmp_path, server.port, *options, token=made.enrolment_token)
    try:
        deadline = time.monotonic() + 60.0
        while not devices.page(DeviceQuery(), PageRequest(1)).items:
            assert time.monotonic() < deadline, started.log
            time.sleep(0.05)
        yield started
    finally:
        started.end()
        server.stop(0.0)


def test_the_exported_networks_lose_nothing_on_onnx_runtime(world: WorkerWorld, agent: AgentProcess) -> None:
    search = world.search(
        supernet=world.ready_supernet().id,
        objectives=[{"metric": "top1"}, {"metric": "macs"}],
        budget={"num_candidates": 4},
        algorithm={"kind": "random", "batch_size": 4},
        evaluation=EVALUATION,
        device={"device_type": "cpu"},
        final={"on_device_accuracy": True, "num_images": NUM_IMAGES},
    )
    deadline = time.monotonic() + 120.0
    while not world.searches.get_search(search.id).state.final:
        assert time.monotonic() < deadline, agent.log[-2000:]
        if world.run() == 0:
            time.sleep(0.05)
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED
    finalists = [c for c in world.candidates(search) if c.value(TEST_TOP1) is not None]
    assert finalists
    found = (
        Classifications(world.uow)
        .page_of_classifications(ClassificationQuery(search_id=search.id), PageRequest(100))
        .items
    )
    by_device = {r.candidate_id: r for r in found if r.source is EvaluationSource.MEASURED}
    in_float = {r.candidate_id: r for r in found if r.source is EvaluationSource.EVALUATED}
    assert set(by_device) == set(in_float) == {c.id for c in finalists}
    (images_sha256,) = {r.images_sha256 for r in found}
    images = ImageSetFile(BytesIO(world.artifacts.read(images_sha256)))
    assert images.header.num_images == NUM_IMAGES
    for candidate in finalists:
        record = Classifications(world.uow).get_classification(by_device[candidate.id].id)
        right = np.count_nonzero(record.predictions_N() == images.labels_N)
        assert candidate.value(DEVICE_TOP1) == right / NUM_IMAGES
        assert (record.model_sha256, record.num_images) == (candidate.final_model_sha256, NUM_IMAGES)
        assert record.loss is not None
        assert record.loss.reference_id == in_float[candidate.id].id
        # Float rounding may turn an answer of equal outputs; nothing else differs between the two.
        assert record.loss.agreement >= 0.95
