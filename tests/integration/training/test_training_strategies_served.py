"""Every training strategy through the service and the real worker, on small images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.training import NetworkSpec
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from server.jobs.job import JobQuery
from server.jobs.queue import JobStore
from server.training.networks.network import Network, parse_network_spec
from server.training.presets import training_preset
from server.training.spec import parse_training_spec
from server.training.supernet import Supernet
from server.training.training import TrainingState
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import TINY_SPACE, TRAINING, WorkerWorld

ARCHITECTURE = [0, 2, 1]


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def trained(world: WorkerWorld, **changes: Any) -> Supernet:
    spec = parse_training_spec({**TRAINING, "optimizer": {"learning_rate": 0.05}, **changes})
    supernet = world.supernets.create_supernet(spec)
    world.run()
    return world.supernets.get_training(supernet.id)


def statistics(world: WorkerWorld, supernet: Supernet) -> Any:
    return world.supernets.versions_of_supernet(supernet.id)[-1].statistics


def retrained(world: WorkerWorld, **changes: Any) -> Network:
    spec = parse_network_spec({**TRAINING, "optimizer": {"learning_rate": 0.05}, **changes})
    network = world.networks.create_network(spec)
    world.run()
    return world.networks.get_training(network.id)


def report_of(network: Network) -> Any:
    assert network.weights is not None
    return network.weights.statistics


@pytest.mark.parametrize(
    "strategy",
    [
        {"kind": "uniform"},
        {"kind": "flops_binned"},
        {"kind": "fair"},
        {"kind": "sandwich"},
        {"kind": "sandwich", "distillation": "kl", "temperature": 2.0},
        {"kind": "sandwich", "distillation": "soft-targets", "num_random": 1},
        {"kind": "sandwich", "distillation": "fixed-alpha", "alpha": -1.0},
    ],
    ids=lambda strategy: "-".join(str(v) for v in strategy.values()),
)
def test_a_strategy_of_the_spec_trains_a_supernet(world: WorkerWorld, strategy: dict[str, Any]) -> None:
    supernet = trained(world, strategy=strategy)
    assert supernet.state is TrainingState.READY, supernet.reason
    assert supernet.progress.step == 4
    assert statistics(world, supernet)["num_parameters"] > 0


@pytest.mark.parametrize("micro_batch", [8, "auto"])
def test_a_supernet_is_trained_in_micro_batches(world: WorkerWorld, micro_batch: int | str) -> None:
    supernet = trained(world, micro_batch=micro_batch)
    assert (supernet.state, supernet.progress.step) == (TrainingState.READY, 4), supernet.reason


def test_a_training_that_fits_no_memory_is_refused_before_it_starts_and_not_tried_again(world: WorkerWorld) -> None:
    large = {**TINY_SPACE["parameters"], "stem_channels": 4096, "stage_channels": [8192], "input_size": 1024}
    spec = {**TRAINING, "space": {"id": "spos", "parameters": large}}
    supernet = world.supernets.create_supernet(parse_training_spec(spec))
    world.run_and_report()
    supernet = world.supernets.get_training(supernet.id)
    assert (supernet.state, supernet.progress.step) == (TrainingState.FAILED, 0)
    assert "not even one image at a time fits" in supernet.reason or "would fit" in supernet.reason
    assert "GiB" in supernet.reason
    (job,) = world.uow.read(lambda tx: JobStore(tx).page_of_jobs(JobQuery(), PageRequest(10))).items
    assert (job.failure_type, job.attempt) == (FailureType.INVALID_INPUT, 1)


def test_fairness_is_refused_where_layers_differ_in_their_choices(world: WorkerWorld) -> None:
    spec = parse_training_spec({**TRAINING, "space": {"id": "attentivenas"}, "strategy": {"kind": "fair"}})
    with pytest.raises(InvalidSpecError, match="strict fairness"):
        world.supernets.create_supernet(spec)


def test_an_architecture_is_retrained_with_its_test_accuracy_and_a_deployable_model(world: WorkerWorld) -> None:
    strategy = {"kind": "retrain", "architecture": ARCHITECTURE, "num_calibration_batches": 2}
    done = retrained(world, strategy=strategy, iterations=60, augmentation="none")
    assert done.state is TrainingState.READY, done.reason
    report = report_of(done)
    assert report["num_test_images"] == 60
    assert 1 / 3 < report["test_top1"] <= 1.0  # three classes, and the stripes can be learned
    model = world.artifacts.read(report["model_sha256"])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 3]
    assert session.get_modelmeta().custom_metadata_map["hilnas.weights"] == "retrained"


def test_a_retraining_may_inherit_the_weights_of_a_supernet(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    strategy = {"kind": "retrain", "architecture": ARCHITECTURE, "inherit_from": supernet.latest_version_id}
    done = retrained(world, strategy=strategy)
    assert done.state is TrainingState.READY, done.reason
    assert report_of(done)["model_sha256"]


def test_an_unknown_architecture_cannot_be_retrained(world: WorkerWorld) -> None:
    spec = parse_network_spec({**TRAINING, "strategy": {"kind": "retrain", "architecture": "nothing"}})
    with pytest.raises(InvalidSpecError, match="nothing"):
        world.networks.create_network(spec)


def test_a_retraining_preset_without_an_architecture_is_refused_until_one_is_given(world: WorkerWorld) -> None:
    retraining = training_preset("shifting-imagenet100-retrain").spec
    assert isinstance(retraining, NetworkSpec)
    preset = retraining.model_copy(update={"space": SpaceSpec.model_validate(TINY_SPACE), "dataset": "stripes"})
    with pytest.raises(InvalidSpecError, match="which architecture"):
        world.networks.create_network(preset)
    given = preset.model_copy(update={"architecture": ARCHITECTURE})
    assert world.networks.create_network(given).state is TrainingState.QUEUED


def test_weights_to_inherit_must_be_there(world: WorkerWorld) -> None:
    strategy = {"kind": "retrain", "architecture": ARCHITECTURE, "inherit_from": "supv_none"}
    with pytest.raises(InvalidSpecError, match="supv_none"):
        world.networks.create_network(parse_network_spec({**TRAINING, "strategy": strategy}))


def test_a_search_cannot_take_its_weights_from_a_network(world: WorkerWorld) -> None:
    strategy = {"kind": "retrain", "architecture": ARCHITECTURE}
    done = retrained(world, strategy=strategy)
    with pytest.raises(InvalidSpecError, match="there is no supernet"):
        world.search(supernet=done.id, objectives=[{"metric": "top1"}])
    with pytest.raises(InvalidSpecError, match="expected tags"):
        world.search(supernet={**TRAINING, "strategy": strategy}, objectives=[{"metric": "top1"}])
