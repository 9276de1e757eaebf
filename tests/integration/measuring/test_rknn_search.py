"""Searches for RKNN boards: the real converter, real agent processes, the whole path; only the NPU is simulated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nas_engine.domain.measurement import DeviceClass
from nas_engine.domain.measuring.cycle_table import CycleTable
from nas_engine.domain.measuring.image_set import MEDIA_TYPE, Preprocessing, write_image_set
from nas_engine.domain.metrics import LATENCY_US
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from server.artifacts.artifact import ModelFormat
from server.artifacts.artifacts import Artifacts
from server.artifacts.image_sets import image_set_head
from server.artifacts.model_check import ModelCheck
from server.artifacts.store import ArtifactStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import CandidateState, SearchState
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from server.jobs.dispatch import Dispatch
from server.jobs.states import JobKind
from server.measuring.measurement import MeasurementKind, MeasurementQuery
from server.measuring.queries import Latencies, ModelMeasurementSpec
from server.searches.fronts.fronts import Fronts
from tests.support.processes.rknn_installation import RknnInstallation
from tests.support.samples.model_files import check_model
from tests.support.samples.rknn_files import NEEDS_CONVERTER
from tests.support.samples.sample_graphs import small_shufflenet

pytestmark = NEEDS_CONVERTER
SMALL = {
    "num_classes": 10,
    "input_size": 32,
    "input_channels": 1,
    "stem_channels": 8,
    "stage_channels": [16, 32],
    "stage_repeats": [1, 2],
    "tail_channels": 32,
}
SPEC: dict[str, Any] = {
    "space": {"id": "spos", "parameters": SMALL},
    "objectives": [{"metric": "latency_us"}, {"metric": "macs", "goal": "maximize"}],
    "budget": {"num_candidates": 2},
    "algorithm": {"kind": "random", "batch_size": 2},
    "device": {"device_type": "rk3588-sim", "dtype": "fp16", "npu_only": True},
    "measurement": {"profile": "quick"},
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RknnInstallation]:
    opened = RknnInstallation(tmp_path_factory.mktemp("rknn"))
    opened.start_board("rk3588-sim", "sim-1")
    yield opened
    opened.close()


def test_a_simulated_rk3588_gives_a_search_simulated_latencies_of_real_conversions(
    installation: RknnInstallation,
) -> None:
    search = installation.search(SPEC)
    assert search.state is SearchState.COMPLETED, search.reason
    candidates = installation.candidates(search)
    assert [c.state for c in candidates] == [CandidateState.COMPLETE] * 2
    process = installation.server
    simulated = MeasurementQuery(search_id=search.id, kinds=(MeasurementKind.SIMULATED,))
    records = {r.candidate_id: r for r in process.get(Latencies).page_of_measurements(simulated, PageRequest(10)).items}
    assert process.get(Latencies).count_measurements(MeasurementQuery(search_id=search.id)) == 0, (
        "nothing was measured on a board"
    )
    for candidate in candidates:
        record = records[candidate.id]
        assert record.device_class is DeviceClass.SIMULATED
        assert record.stats.p50_us == candidate.value(LATENCY_US)
        assert record.model_sha256 is not None
        table = CycleTable.from_json(process.get(Artifacts).read(record.model_sha256))
        assert record.stats.p50_us == pytest.approx(table.total_cycles / 1e3)
        exports = process.uow.read(lambda tx, c=candidate: ArtifactStore(tx).exports_of(c.arch_id))  # type: ignore[misc]
        assert {export.format for export in exports} == {ModelFormat.RKNN, ModelFormat.RKNN_CYCLES}
        (model,) = (export for export in exports if export.format is ModelFormat.RKNN)
        assert process.get(Artifacts).read(model.sha256).startswith(b"RKNN")


def test_w8a8_is_calibrated_with_images_of_the_search_s_data_set(installation: RknnInstallation) -> None:
    device = {"device_type": "rk3588-sim", "dtype": "w8a8"}
    search = installation.search(
        {**SPEC, "device": device, "dataset": "fashion-mnist-12k", "budget": {"num_candidates": 1}}
    )
    (candidate,) = installation.candidates(search)
    assert candidate.state is CandidateState.COMPLETE, candidate.reason
    assert candidate.value(LATENCY_US) is not None


def test_the_front_is_measured_once_more_before_the_search_ends(installation: RknnInstallation) -> None:
    search = installation.search({**SPEC, "seed": 1, "measurement": {"profile": "quick", "confirm": "front"}})
    assert search.state is SearchState.COMPLETED, search.reason
    process = installation.server
    front = {point.id for point in process.get(Fronts).of_search(search.id).points}
    for candidate in installation.candidates(search):
        found = process.uow.read(lambda tx, c=candidate: EvaluationStore(tx).evaluations_of_candidates([c.id]))  # type: ignore[misc]
        assert len(found) == (2 if candidate.id in front else 1)


def test_a_model_of_one_s_own_is_converted_and_then_measured(installation: RknnInstallation) -> None:
    process = installation.server
    graph = small_shufflenet()
    content = export_onnx(graph, *random_weights(graph, 0))
    stored = process.get(Artifacts).put(content, "application/onnx")
    wanted = ModelMeasurementSpec.model_validate(
        {
            "model_sha256": stored.sha256,
            "device": {"device_type": "rk3588-sim", "dtype": "fp16", "npu_only": True},
            "measurement": {"profile": "quick"},
        }
    )
    job = process.get(Latencies).measure_model(wanted, check_model(content, process.get(ModelCheck)))
    assert job.kind is JobKind.CONVERT
    installation.until(lambda: process.get(Dispatch).get(job.id).state.final, 120.0)
    converted = process.get(Dispatch).get(job.id)
    assert isinstance(converted.result, dict), converted.failure_message
    following = str(converted.result["next_job_id"])
    installation.until(lambda: process.get(Dispatch).get(following).state.final, 60.0)
    measured = process.get(Dispatch).get(following).result
    assert isinstance(measured, dict)
    record = process.get(Latencies).get_measurement(str(measured["measurement_id"]))
    assert (record.kind, record.latency_key) == (MeasurementKind.SIMULATED, stored.sha256)


def test_w8a8_is_calibrated_with_an_image_set_which_a_simulation_does_not_classify(
    installation: RknnInstallation,
) -> None:
    process = installation.server
    graph = small_shufflenet()
    content = export_onnx(graph, *random_weights(graph, 0))
    channels, height, width = graph.input_shape
    pixels_NHWC = np.random.default_rng(0).integers(0, 256, (4, height, width, channels)).astype(np.uint8)
    how = Preprocessing(mean=(120.0,) * channels, std=(60.0,) * channels)
    images = process.get(Artifacts).put(write_image_set("noise", pixels_NHWC, np.zeros(4, int), how, 10), MEDIA_TYPE)
    heads = {images.sha256: image_set_head(process.get(Artifacts), images.sha256)[0]}
    document = {
        "model_sha256": process.get(Artifacts).put(content, "application/onnx").sha256,
        "device": {"device_type": "rk3588-sim", "dtype": "w8a8"},
        "measurement": {"profile": "quick"},
        "calibration_images_sha256": images.sha256,
    }
    facts = check_model(content, process.get(ModelCheck))
    with_images = ModelMeasurementSpec.model_validate({**document, "images": {"sha256": images.sha256}})
    with pytest.raises(InvalidSpecError, match="simulated ones execute nothing"):
        process.get(Latencies).measure_model(with_images, facts, heads)
    job = process.get(Latencies).measure_model(ModelMeasurementSpec.model_validate(document), facts, heads)
    installation.until(lambda: process.get(Dispatch).get(job.id).state.final, 120.0)
    converted = process.get(Dispatch).get(job.id)
    assert isinstance(converted.result, dict), converted.failure_message
    assert "next_job_id" in converted.result
