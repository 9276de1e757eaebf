"""What retrainings and finalists give to be shipped: ONNX always, RKNN where it is asked for or the board runs it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from nas_engine.domain.errors import ConversionError, ConversionFailure
from nas_engine.domain.measurement import HardwareKey
from nas_engine.domain.measuring.cycle_table import CycleTable
from nas_engine.domain.measuring.environment import DeviceIdentity, Dtype
from nas_engine.export.rknn.cycle_table import parse_cycle_table
from nas_engine.export.rknn.settings import CalibrationBatch, RknnSettings
from server.access.tokens import Tokens
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.bootstrap import worker as worker_process
from server.bootstrap.job_kinds import all_job_kinds
from server.candidates.search import Search
from server.candidates.states import CandidateState, SearchState
from server.core.errors import ConflictError, InvalidSpecError, NotFoundError
from server.fleet.device import Device, DeviceCapabilities, Enrolment
from server.fleet.devices import Devices
from server.fleet.selection import converter_labels
from server.fleet.sessions import AgentReport, AgentSessions
from server.jobs.payloads import read_payload
from server.jobs.states import JobKind
from server.jobs.worker.handlers import failure_of
from server.measuring.payloads import MeasurePayload
from server.measuring.results import MeasurementResults
from server.measuring.worker.rknn import RknnMaker
from server.shipping.bundle.signing import SigningKey, new_key_pem
from server.shipping.bundle.verifying import verify_bundle
from server.shipping.bundles import EvidenceBundles, MadeBundle
from server.training.deployables import DeployableModel, DeployableModels
from server.training.networks.candidate_retraining import CandidateRetraining
from server.training.networks.candidate_retraining_spec import parse_candidate_retraining_spec
from server.training.networks.network import Network, parse_network_spec
from server.training.training import DeployableState, TrainingState
from tests.support.fakes.converter import TABLE
from tests.support.worlds.api_world import measurement
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, lease_of, put_measurement
from tests.support.worlds.worker_world import EVALUATION, TRAINING, WorkerWorld

ARCHITECTURE = [0, 2, 1]
NO_LABELS: Mapping[str, str] = {}
FAST: dict[str, Any] = {"iterations": 4, "batch_size": 16, "optimizer": {"learning_rate": 0.05}}


@dataclass(frozen=True)
class Converted:
    """What the fake converter gives."""

    model: bytes
    table: CycleTable
    log: str = ""


class FakeConverter:
    """Stands in for the toolkit: its "model" says what it was asked for."""

    def __init__(self) -> None:
        self.refuses = ""
        self.calibrations: list[CalibrationBatch | None] = []

    def convert(
        self, onnx: bytes, settings: RknnSettings, *, calibration: CalibrationBatch | None, arch_id: str | None
    ) -> Converted:
        if self.refuses:
            raise ConversionError(ConversionFailure.CONVERT_FAILED, self.refuses)
        self.calibrations.append(calibration)
        said = {"dtype": settings.dtype.value, "target": settings.target_platform, "arch_id": arch_id}
        return Converted(b"RKNN" + json.dumps(said).encode(), parse_cycle_table(TABLE), TABLE)

    def close(self) -> None:
        pass


class ConvertingWorld(WorkerWorld):
    """A worker with a converter."""

    def __init__(self, database: TestDatabase, folder: Path) -> None:
        super().__init__(database, folder)
        self.converter = FakeConverter()
        self.deployables = DeployableModels(self.uow)
        self.retraining = CandidateRetraining(self.uow, self.networks)
        maker = RknnMaker(self.converter, self.artifacts)  # type: ignore[arg-type]
        self.handlers = worker_process._handlers(self.settings, self.uow, self.dispatch.kinds, self.artifacts, maker)

    def convert(self) -> int:
        """Do what waits for the converter; failures are reported as the worker's loop does."""
        done = 0
        while (
            job := self.dispatch.claim("converter", (JobKind.CONVERT,), converter_labels(ModelFormat.RKNN))
        ) is not None:
            assert job.lease is not None
            done += 1
            try:
                self.do(job)
            except ConversionError as error:
                self.dispatch.fail(job.lease, failure_of(error))
        return done


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> ConvertingWorld:
    return ConvertingWorld(sqlite_database, tmp_path)


def retrained(world: ConvertingWorld, labels: Mapping[str, str] = NO_LABELS, **strategy: Any) -> Network:
    settings = {"kind": "retrain", "architecture": ARCHITECTURE, **strategy}
    document = {**TRAINING, **FAST, "labels": dict(labels), "strategy": settings}
    made = world.networks.create_network(parse_network_spec(document))
    world.run()
    done = world.networks.get_training(made.id)
    assert done.state is TrainingState.READY, done.reason
    return done


def test_a_network_gives_an_onnx_file_to_be_found_at_it(world: ConvertingWorld) -> None:
    done = retrained(world)
    (model,) = world.deployables.of_network(done.id)
    assert (model.format, model.state, model.weights) == (
        ModelFormat.ONNX,
        DeployableState.READY,
        WeightsOrigin.RETRAINED,
    )
    assert model.sha256 is not None
    session = onnxruntime.InferenceSession(world.artifacts.read(model.sha256), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 3]
    assert world.convert() == 0, "nobody asked for RKNN"


def test_rknn_waits_for_a_worker_with_the_converter(world: ConvertingWorld) -> None:
    done = retrained(world, formats=["onnx", "rknn"], rknn_target="rk3576")
    onnx, waiting = world.deployables.of_network(done.id)
    assert (onnx.state, waiting.state, waiting.sha256) == (DeployableState.READY, DeployableState.CONVERTING, None)
    assert world.convert() == 1
    made = world.deployables.of_network(done.id)[1]
    assert (made.format, made.dtype, made.target) == (ModelFormat.RKNN, "fp16", "rk3576")
    said = json.loads(content(world, made).removeprefix(b"RKNN"))
    assert done.weights is not None
    arch_id = str(statistics(world, done)["arch_id"])
    assert said == {"dtype": "fp16", "target": "rk3576", "arch_id": arch_id}
    exports = world.uow.read(lambda tx: ArtifactStore(tx).exports_of(arch_id))
    assert {(e.format, e.weights, e.supernet_version_id) for e in exports} == {
        (ModelFormat.RKNN, WeightsOrigin.RETRAINED, done.weights.id),
        (ModelFormat.RKNN_CYCLES, WeightsOrigin.RETRAINED, done.weights.id),
    }


def test_w8a8_is_calibrated_with_training_images_of_the_data_set(world: ConvertingWorld) -> None:
    done = retrained(world, formats=["rknn"], rknn_dtype="w8a8")
    world.convert()
    (calibration,) = world.converter.calibrations
    assert calibration is not None
    assert calibration.images_NCHW.shape[1:] == (1, 8, 8)
    assert world.deployables.of_network(done.id)[1].dtype == Dtype.W8A8.value


def test_a_conversion_that_is_refused_says_why_and_leaves_the_onnx_file(world: ConvertingWorld) -> None:
    world.converter.refuses = "unsupported operator Erf"
    done = retrained(world, formats=["rknn"])
    world.convert()
    onnx, failed = world.deployables.of_network(done.id)
    assert onnx.state is DeployableState.READY
    assert (failed.state, failed.sha256) == (DeployableState.FAILED, None)
    assert "Erf" in failed.reason
    assert world.networks.get_training(done.id).state is TrainingState.READY


def statistics(world: ConvertingWorld, network: Network) -> Any:
    weights = world.networks.get_training(network.id).weights
    assert weights is not None
    return weights.statistics


def content(world: ConvertingWorld, model: DeployableModel) -> bytes:
    assert model.sha256 is not None
    return world.artifacts.read(model.sha256)


def bundled(
    world: ConvertingWorld, make: Callable[[EvidenceBundles, str], MadeBundle], id: str
) -> tuple[dict[str, bytes], Mapping[str, Any]]:
    """Every file of a bundle by its path, and its subject; the bundle is checked as its readers do."""
    path = world.folder / "bundle.zip"
    bundles = EvidenceBundles(world.uow, world.artifacts, world.deployables, SigningKey(new_key_pem()))
    with make(bundles, id).file as made:
        path.write_bytes(made.read())
    manifest = verify_bundle(path).manifest
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}, manifest.subject


def test_a_network_that_no_search_found_has_a_bundle_with_what_the_converter_printed(world: ConvertingWorld) -> None:
    done = retrained(world, formats=["onnx", "rknn"])
    world.convert()
    onnx, rknn = world.deployables.of_network(done.id)
    found, subject = bundled(world, EvidenceBundles.make_of_network, done.id)
    assert subject["network_id"] == done.id
    assert "candidate_id" not in subject
    assert (subject["weights"], subject["model_sha256"]) == ("retrained", onnx.sha256)
    assert found[f"models/{onnx.file_name}"] == content(world, onnx)
    assert found[f"models/{rknn.file_name}"] == content(world, rknn)
    assert found[f"conversions/{rknn.job_id}.log.txt"].decode() == TABLE
    assert json.loads(found["network.json"])["statistics"]["arch_id"] == subject["arch_id"]
    assert "candidate.json" not in found


def test_a_retrained_candidate_has_a_bundle_with_its_search(world: ConvertingWorld) -> None:
    search = searched(world)
    candidate = world.candidates(search)[0]
    made = world.retraining.create(candidate.id, parse_candidate_retraining_spec(FAST))
    with pytest.raises(ConflictError, match="its training is not done"):
        bundled(world, EvidenceBundles.make_of_network, made.id)
    world.run()
    found, subject = bundled(world, EvidenceBundles.make_of_network, made.id)
    assert (subject["candidate_id"], subject["network_id"]) == (candidate.id, made.id)
    assert subject["search_id"] == search.id
    assert {"candidate.json", "evaluations.json", "search.json", "supernet.json", "network.json"} <= set(found)
    assert subject["weights"] == "retrained"


def test_a_network_whose_label_names_a_candidate_of_another_architecture_is_not_called_that(
    world: ConvertingWorld,
) -> None:
    search = searched(world)
    other = next(one for one in world.candidates(search) if list(one.genotype) != ARCHITECTURE)
    done = retrained(world, labels={"candidate": other.id})
    _, subject = bundled(world, EvidenceBundles.make_of_network, done.id)
    assert "candidate_id" not in subject


def test_a_supernet_has_no_file_to_ship(world: ConvertingWorld) -> None:
    with pytest.raises(NotFoundError):
        world.deployables.of_network(world.ready_supernet().id)


def searched(world: ConvertingWorld, **changes: Any) -> Search:
    search = world.ran(
        supernet=world.ready_supernet().id,
        objectives=[{"metric": "top1"}, {"metric": "macs"}],
        evaluation=EVALUATION,
        budget={"num_candidates": 4},
        algorithm={"kind": "random", "batch_size": 4},
        **changes,
    )
    assert search.state is SearchState.COMPLETED, search.reason
    return search


def test_a_candidate_is_retrained_without_copying_its_genotype(world: ConvertingWorld) -> None:
    search = searched(world)
    candidate = world.candidates(search)[0]
    wanted = {**FAST, "inherit": True, "dropout": 0.1, "formats": ["onnx", "rknn"], "labels": {"team": "vision"}}
    made = world.retraining.create(candidate.id, parse_candidate_retraining_spec(wanted))
    strategy = made.spec
    assert strategy.architecture == list(candidate.genotype)
    assert strategy.inherit_from == search.supernet_version_id
    assert (strategy.dropout, strategy.wants_rknn) == (0.1, True)
    assert (made.spec.dataset, made.spec.iterations) == ("stripes", 4)
    assert made.spec.labels == {"team": "vision", "search": search.id, "candidate": candidate.id}
    world.run()
    done = world.networks.get_training(made.id)
    assert done.state is TrainingState.READY, done.reason
    assert statistics(world, done)["arch_id"] == candidate.arch_id


def test_a_candidate_that_cannot_be_retrained_as_asked_is_refused_with_the_place(world: ConvertingWorld) -> None:
    search = world.ran()  # cheap metrics alone: no supernet, no data set
    candidate = world.candidates(search)[0]
    for changes, pointer in (({"inherit": True}, "/inherit"), ({}, "/dataset"), ({"dataset": "bands"}, "/space")):
        spec = parse_candidate_retraining_spec({**FAST, **changes})
        with pytest.raises(InvalidSpecError) as refused:
            world.retraining.create(candidate.id, spec)
        assert any(v.pointer.startswith(pointer) for v in refused.value.violations)
    with pytest.raises(InvalidSpecError, match="epochs and iterations"):
        parse_candidate_retraining_spec({"batch_size": 16})
    with pytest.raises(NotFoundError):
        world.retraining.create("cand_none", parse_candidate_retraining_spec(FAST))


def test_finalists_of_a_search_for_rknn_boards_get_their_rknn_files(world: ConvertingWorld) -> None:
    board = enrol(world, replace(IDENTITY, runtime="rknnlite"))
    search = measured(world, board, device={"device_type": "testboard", "dtype": "fp16"})
    finalists = [c for c in world.candidates(search) if c.final_model_sha256 is not None]
    assert finalists
    before = [world.deployables.of_candidate(c.id)[1].state for c in finalists]
    assert set(before) == {DeployableState.CONVERTING}
    assert world.convert() == len(finalists)
    for candidate in world.candidates(search):
        models = world.deployables.of_candidate(candidate.id)
        if candidate.final_model_sha256 is None:
            assert models == ()
            continue
        onnx, rknn = models
        assert (onnx.sha256, onnx.weights) == (candidate.final_model_sha256, WeightsOrigin.INHERITED)
        assert (rknn.state, rknn.weights) == (DeployableState.READY, WeightsOrigin.INHERITED), rknn.reason
        assert json.loads(content(world, rknn).removeprefix(b"RKNN"))["arch_id"] == candidate.arch_id
        assert candidate.state is CandidateState.COMPLETE
        found, _ = bundled(world, EvidenceBundles.make, candidate.id)
        assert found[f"conversions/{rknn.job_id}.log.txt"].decode() == TABLE
        assert "candidate.json" in found


def test_finalists_of_a_search_for_other_boards_are_not_converted(world: ConvertingWorld) -> None:
    board = enrol(world, IDENTITY)
    search = measured(world, board, device={"device_type": "testboard"})
    finalists = [c for c in world.candidates(search) if c.final_model_sha256 is not None]
    assert finalists
    assert world.convert() == 0
    assert all(len(world.deployables.of_candidate(c.id)) == 1 for c in finalists)


def measured(world: ConvertingWorld, board: Device, **changes: Any) -> Search:
    """A search for accuracy and latency on a board, run to its end; conversions for shipping are left."""
    search = world.search(
        supernet=world.ready_supernet().id,
        objectives=[{"metric": "top1"}, {"metric": "latency_us"}],
        evaluation=EVALUATION,
        budget={"num_candidates": 3},
        algorithm={"kind": "random", "batch_size": 3},
        measurement={"profile": "quick", "validity_policy": "accept_flagged"},
        **changes,
    )
    for _ in range(10):  # a few rounds of work, conversion, measuring
        world.run()
        if world.searches.get_search(search.id).state.final:
            break
        world.convert()
        measure_all(world, board)
    done = world.searches.get_search(search.id)
    assert done.state is SearchState.COMPLETED, done.reason
    return done


def measure_all(world: ConvertingWorld, board: Device) -> None:
    sessions = AgentSessions(world.uow, world.database.wakeups, all_job_kinds(), world.settings.leases)
    report = AgentReport(
        device_id=board.id,
        boot_id=board.boot_id,
        instance_epoch=1,
        agent_version="1",
        capabilities=board.capabilities,
        free_slots=1,
    )
    while orders := sessions.sync(report).assignments:
        job = orders[0]
        payload = read_payload(MeasurePayload, job.payload)
        key = HardwareKey(identity=board.capabilities.identity, dtype=Dtype(payload.dtype), batch=1)
        taken = measurement(key, 100.0 + int(payload.latency_key[:4], 16) / 100)
        digest = hashlib.sha256(job.id.encode()).hexdigest()
        put_measurement(MeasurementResults(world.uow, all_job_kinds()), board.id, lease_of(job), taken, digest)


def enrol(world: ConvertingWorld, identity: DeviceIdentity) -> Device:
    made = Tokens(world.uow).bootstrap()
    assert made is not None
    capabilities = DeviceCapabilities(identity=identity, dtypes=(Dtype.FP32, Dtype.FP16))
    enrolment = Enrolment(
        name="bench-1", device_type="testboard", capabilities=capabilities, boot_id="boot", instance_epoch=1
    )
    return Devices(world.uow, world.settings.leases).enrol(made.enrolment_token, enrolment)[0]
