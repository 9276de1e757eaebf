"""TRAIN jobs that several processes share: the same numbers, progress, cancellation, resumption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from nas_engine.domain.errors import TrainingError
from nas_engine.training.data.source import DatasetSource
from server.core.event_type import EventType
from server.core.events import EventQuery, EventStore
from server.jobs.job import Job
from server.training.networks.network import Network, parse_network_spec
from server.training.spec import parse_training_spec
from server.training.supernet import Supernet
from server.training.training import TrainingState
from server.training.worker.order import TrainingOrder
from server.training.worker.part import EXIT_ORPHANED
from server.training.worker.processes import num_processes_on
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import TRAINING, WorkerWorld

# Sums of two halves round otherwise than the sum of the whole. For a dozen steps that stays in the last bits; later
# one activation falls on the other side of zero, and from then on the runs are two.
NUM_STEPS = 12
SPEC: dict[str, Any] = {
    **TRAINING,
    "iterations": NUM_STEPS,
    "optimizer": {"learning_rate": 0.05},
    "checkpoint_every_steps": 4,
    "synchronised_norm": True,
    "num_threads": 1,
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def ordered(world: WorkerWorld, **changes: Any) -> Supernet:
    return world.supernets.create_supernet(parse_training_spec({**SPEC, **changes}))


def trained(world: WorkerWorld, **changes: Any) -> Supernet:
    supernet = ordered(world, **changes)
    world.run()
    done = world.supernets.get_training(supernet.id)
    assert done.state is TrainingState.READY, done.reason
    return done


def weights(world: WorkerWorld, supernet: Supernet) -> dict[str, torch.Tensor]:
    version = world.supernets.versions_of_supernet(supernet.id)[-1]
    return load(world.artifacts.read(version.weights_sha256))


def assert_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        np.testing.assert_allclose(two[name].numpy(), tensor.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


def leased(world: WorkerWorld) -> Job:
    job = world.claim()
    assert job is not None
    return job


def test_two_processes_train_what_one_process_trains_with_the_whole_batch(world: WorkerWorld) -> None:
    one, two = trained(world), trained(world, num_processes=2)
    assert_equal(weights(world, one), weights(world, two))
    assert two.progress.step == NUM_STEPS
    assert two.progress.loss == pytest.approx(one.progress.loss, rel=1e-3)
    told = world.uow.read(lambda tx: EventStore(tx).events_after(0, EventQuery(supernet_id=two.id), 500))
    steps = [event.payload["step"] for event in told if event.type is EventType.TRAINING]
    assert steps == list(range(1, NUM_STEPS + 1))
    assert not list((world.folder / "worker" / "training").iterdir()), "nothing is left behind"


def test_a_cancelled_run_of_two_processes_goes_on_from_its_checkpoint(world: WorkerWorld) -> None:
    undisturbed = trained(world, num_processes=2, iterations=24)
    supernet = ordered(world, num_processes=2, iterations=24)
    job = leased(world)
    assert job.lease is not None
    world.handlers[job.kind](job, job.lease, after_step(world, supernet, 2))
    stopped = world.supernets.get_training(supernet.id)
    assert stopped.state is TrainingState.TRAINING
    assert stopped.resume_artifact_sha256 is not None
    world.restart()
    world.do(job)
    assert world.supernets.get_training(supernet.id).state is TrainingState.READY
    assert_equal(weights(world, undisturbed), weights(world, supernet))


def after_step(world: WorkerWorld, supernet: Supernet, step: int) -> Callable[[], bool]:
    return lambda: world.supernets.get_training(supernet.id).progress.step >= step


def test_a_process_that_dies_fails_the_job_and_ends_the_others(world: WorkerWorld) -> None:
    ordered(world, num_processes=2, iterations=100_000)
    job = leased(world)
    assert job.lease is not None
    killed: list[int] = []

    def kill_one() -> bool:
        if not killed and (found := children(world)):
            killed.append(found[-1])
            os.kill(found[-1], signal.SIGKILL)
        return False

    with pytest.raises(TrainingError, match="killed by SIGKILL|connection|Connection|closed|reset"):
        world.handlers[job.kind](job, job.lease, kill_one)
    assert killed
    assert children(world) == []


def children(world: WorkerWorld) -> list[int]:
    """Process ids of this run's training processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"server.training.worker.child" in command and str(world.folder).encode() in command:
                found.append(int(entry.name))
    return sorted(found)


def test_a_training_process_ends_with_its_worker_even_while_it_waits_for_the_others(tmp_path: Path) -> None:
    order = TrainingOrder(
        spec=parse_training_spec(SPEC),
        dataset_name="none",
        dataset=DatasetSource(),
        inherited=None,
        checkpoint=tmp_path / "checkpoint",
        folder=tmp_path,
        rendezvous=tmp_path / "rendezvous",
        device="cpu",
        num_threads=1,
        host_lock=None,
    )
    file = tmp_path / "order.json"
    file.write_text(order.model_dump_json(), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "server.training.worker.child", str(file)],
        stdin=subprocess.PIPE,
        env=os.environ | {"RANK": "0", "WORLD_SIZE": "2"},
    )
    assert process.stdin is not None
    process.stdin.close()  # what the kernel does when the worker is killed
    assert process.wait(120) == EXIT_ORPHANED


def test_two_processes_retrain_an_architecture(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    strategy = {"kind": "retrain", "architecture": [0, 2, 1], "inherit_from": supernet.latest_version_id}
    networks: list[Network] = []
    for num_processes in (1, 2):
        spec = parse_network_spec({**SPEC, "strategy": strategy, "num_processes": num_processes})
        made = world.networks.create_network(spec)
        world.run()
        networks.append(world.networks.get_training(made.id))
    found = [network.weights for network in networks]
    one, two = (load(world.artifacts.read(each.sha256)) for each in found if each is not None)
    assert_equal(one, two)
    reports: list[Any] = [each.statistics for each in found if each is not None]
    assert reports[1]["test_top1"] == pytest.approx(reports[0]["test_top1"], abs=0.05)
    assert world.artifacts.read(reports[1]["model_sha256"])


def test_a_worker_on_the_cpu_cannot_count_its_gpus() -> None:
    spec = parse_training_spec({**SPEC, "num_processes": "gpus"})
    with pytest.raises(TrainingError, match="give a number"):
        num_processes_on(torch.device("cpu"), spec)


def test_a_limited_number_of_training_images_is_another_run(world: WorkerWorld) -> None:
    whole, part = trained(world), trained(world, max_train_images=48)
    told: list[Any] = [world.supernets.versions_of_supernet(s.id)[-1].statistics for s in (whole, part)]
    assert told[0]["dataset_fingerprint"] != told[1]["dataset_fingerprint"]
