"""Data sets smaller than a batch: refused at launch where their size is known, else invalid input of the first job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.job_protocol import FailureType
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from server.jobs.job import Job, JobQuery
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.studies.spec import parse_ranking_study_spec
from server.training.networks.network import parse_network_spec
from server.training.spec import parse_training_spec
from server.training.training import TrainingState
from tests.support.samples.shifting_searches import SHIFTING, shifting_spec
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.table_world import DENSE_SPACE
from tests.support.worlds.worker_world import TINY_SPACE, TRAINING, WorkerWorld

FASHION_SPACE: dict[str, Any] = {**TINY_SPACE, "parameters": {**TINY_SPACE["parameters"], "num_classes": 10}}
FASHION: dict[str, Any] = {**TRAINING, "space": FASHION_SPACE, "dataset": "fashion-mnist-12k"}
TOO_FEW = "batch_size 8500 exceeds the 8000 training images of data set 'fashion-mnist-12k'"
RETRAIN = {"kind": "retrain", "architecture": [0, 0, 0]}
DERIVE: dict[str, Any] = {
    "kind": "densenas",
    "cost_base": 1.5,
    "dataset": "stripes",
    "epochs": 2,
    "first_architecture_epoch": 1,
    "augmentation": "none",
}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def refused(error: pytest.ExceptionInfo[InvalidSpecError]) -> list[tuple[str, str]]:
    """Pointer and message of each violation, the advice at its end left out."""
    return [(one.pointer, one.message.partition(":")[0]) for one in error.value.violations]


def jobs_of(world: WorkerWorld, kind: JobKind) -> tuple[Job, ...]:
    return world.uow.read(lambda tx: JobStore(tx).page_of_jobs(JobQuery(kinds=(kind,)), PageRequest(10))).items


def test_trainings_are_refused_at_launch_where_the_size_is_known(world: WorkerWorld) -> None:
    with pytest.raises(InvalidSpecError) as supernet:
        world.supernets.create_supernet(parse_training_spec({**FASHION, "batch_size": 8500}))
    with pytest.raises(InvalidSpecError) as network:
        world.networks.create_network(parse_network_spec({**FASHION, "batch_size": 8500, "strategy": RETRAIN}))
    assert refused(supernet) == refused(network) == [("/batch_size", TOO_FEW)]
    assert world.supernets.create_supernet(parse_training_spec({**FASHION, "batch_size": 8000})).reason == ""


def test_searches_and_studies_are_refused_at_launch_where_the_size_is_known(world: WorkerWorld) -> None:
    supernet = world.ready_supernet(**FASHION)
    shifting = {**SHIFTING, "batch_size": 8500, "images_per_candidate": 8500}
    with pytest.raises(InvalidSpecError) as shifted:
        world.search(**shifting_spec(supernet, space=FASHION_SPACE, shifting=shifting))
    assert refused(shifted) == [("/shifting/batch_size", TOO_FEW)]
    with pytest.raises(InvalidSpecError) as trained:
        world.search(space=FASHION_SPACE, supernet={**FASHION, "batch_size": 8500})
    assert refused(trained) == [("/supernet/batch_size", TOO_FEW)]
    dense = {**DENSE_SPACE, "parameters": {**DENSE_SPACE["parameters"], "num_classes": 10}}
    algorithm = {**DERIVE, "dataset": "fashion-mnist-12k", "batch_size": 8500}
    with pytest.raises(InvalidSpecError) as derived:
        world.search(space=dense, algorithm=algorithm, objectives=[{"metric": "macs"}])
    assert refused(derived) == [("/algorithm/batch_size", TOO_FEW)]
    study = {"supernet": supernet.id, "num_architectures": 3, "training": {"iterations": 2, "batch_size": 8500}}
    with pytest.raises(InvalidSpecError) as compared:
        world.studies.create_study(parse_ranking_study_spec(study))
    assert refused(compared) == [("/training/batch_size", TOO_FEW)]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_training_that_finds_too_few_images_is_invalid_input_and_not_tried_again(
    world: WorkerWorld, num_processes: int
) -> None:
    spec = {**TRAINING, "batch_size": 98, "num_processes": num_processes}
    supernet = world.supernets.create_supernet(parse_training_spec(spec))
    world.run_and_report()
    (job,) = jobs_of(world, JobKind.TRAIN)
    assert (job.state, job.failure_type, job.attempt) == (JobState.FAILED, FailureType.INVALID_INPUT, 1)
    failed = world.supernets.get_training(supernet.id)
    assert failed.state is TrainingState.FAILED
    assert "batch_size 98 exceeds the 96 training images of data set 'stripes'" in failed.reason


def test_architecture_steps_need_a_batch_of_validation_images(world: WorkerWorld) -> None:
    algorithm = {**DERIVE, "batch_size": 30}  # of 96 training images, and 24 for validation
    search = world.search(space=DENSE_SPACE, algorithm=algorithm, objectives=[{"metric": "macs"}])
    world.run_and_report()
    (job,) = jobs_of(world, JobKind.DERIVE)
    assert (job.failure_type, job.attempt) == (FailureType.INVALID_INPUT, 1)
    reason = world.searches.get_search(search.id).reason
    assert "batch_size 30 exceeds the 24 validation images of data set 'stripes'" in reason
