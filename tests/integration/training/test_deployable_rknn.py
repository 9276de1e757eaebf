"""Files to ship, made by the real RKNN toolkit: of a retraining, and of a search's finalists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.artifacts import Artifacts
from server.candidates.states import SearchState
from server.training.deployables import DeployableModel, DeployableModels
from server.training.networks.network import parse_network_spec
from server.training.networks.networks import Networks
from server.training.training import DeployableState
from tests.support.processes.rknn_installation import RknnInstallation
from tests.support.samples.rknn_files import RKNN_PYTHON

pytestmark = pytest.mark.skipif(
    not RKNN_PYTHON.is_file(), reason=f"no RKNN converter environment at {RKNN_PYTHON}: make it with `make rknn`"
)
SPACE: dict[str, Any] = {
    "id": "spos",
    "parameters": {
        "num_classes": 10,
        "input_size": 32,
        "input_channels": 1,
        "stem_channels": 8,
        "stage_channels": [16, 32],
        "stage_repeats": [1, 2],
        "tail_channels": 32,
        "dropout": 0.0,
    },
}
TRAINING: dict[str, Any] = {
    "space": SPACE,
    "dataset": "fashion-mnist-12k",
    "iterations": 2,
    "batch_size": 16,
    "max_train_images": 200,
    "augmentation": "none",
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RknnInstallation]:
    opened = RknnInstallation(tmp_path_factory.mktemp("deployable"))
    yield opened
    opened.close()


def shipped(installation: RknnInstallation, model: DeployableModel) -> bytes:
    assert model.state is DeployableState.READY, model.reason
    assert model.sha256 is not None
    return installation.server.get(Artifacts).read(model.sha256)


@pytest.mark.parametrize(("dtype", "target"), [("fp16", "rk3588"), ("w8a8", "rk3588"), ("fp16", "rk3566")])
def test_a_retrained_network_is_converted_by_the_toolkit(
    installation: RknnInstallation, dtype: str, target: str
) -> None:
    process = installation.server
    strategy = {
        "kind": "retrain",
        "architecture": [0, 1, 2],
        "num_calibration_batches": 1,
        "formats": ["onnx", "rknn"],
        "rknn_dtype": dtype,
        "rknn_target": target,
    }
    made = process.get(Networks).create_network(parse_network_spec({**TRAINING, "strategy": strategy}))
    models = DeployableModels(process.uow)
    installation.until(lambda: process.get(Networks).get_training(made.id).state.final, 240.0)
    installation.until(
        lambda: all(m.state is not DeployableState.CONVERTING for m in models.of_network(made.id)), 240.0
    )
    onnx, rknn = models.of_network(made.id)
    assert (onnx.format, rknn.format) == (ModelFormat.ONNX, ModelFormat.RKNN)
    assert (rknn.dtype, rknn.target, rknn.weights) == (dtype, target, WeightsOrigin.RETRAINED)
    content = shipped(installation, rknn)
    assert content.startswith(b"RKNN")
    assert target.encode() in content


def test_the_front_of_a_search_on_an_rknn_device_has_rknn_files(installation: RknnInstallation) -> None:
    installation.start_board("rk3588-sim", "sim-1")
    search = installation.search(
        {
            "space": SPACE,
            "supernet": {**TRAINING, "strategy": {"kind": "uniform"}},
            "objectives": [{"metric": "top1"}, {"metric": "latency_us"}],
            "budget": {"num_candidates": 2},
            "algorithm": {"kind": "random", "batch_size": 2},
            "device": {"device_type": "rk3588-sim", "dtype": "fp16"},
            "measurement": {"profile": "quick"},
            "evaluation": {"num_calibration_batches": 1, "batch_size": 100, "num_validation_batches": 1},
        }
    )
    assert search.state is SearchState.COMPLETED, search.reason
    models = DeployableModels(installation.server.uow)
    finalists = [c for c in installation.candidates(search) if c.final_model_sha256 is not None]
    assert finalists
    for candidate in finalists:
        installation.until(lambda c=candidate: models.of_candidate(c.id)[1].state.value != "converting", 240.0)  # type: ignore[misc]
        onnx, rknn = models.of_candidate(candidate.id)
        assert (onnx.sha256, rknn.weights) == (candidate.final_model_sha256, WeightsOrigin.INHERITED)
        assert shipped(installation, rknn).startswith(b"RKNN")
