"""Workers that die over a package's data set while they train: what was trained ends with its name, by any job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.plugins.doors import PluginError
from server.candidates.states import SearchState
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.jobs.states import JobKind, JobState
from server.studies.spec import parse_ranking_study_spec
from server.studies.states import StudyEntryState, StudyState
from server.training.networks.network import parse_network_spec
from server.training.spec import parse_training_spec
from server.training.training import TrainingState, TrainPayload
from tests.integration.plugins.test_deaths import claimed, died
from tests.integration.searches.test_derive_jobs import ALGORITHM as DENSENAS
from tests.support.packages import find_packages, forget, lay_out
from tests.support.paths import ROOT
from tests.support.samples.shifting_searches import IMMEDIATE, shifting_spec
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.table_world import DENSE_SPACE
from tests.support.worlds.worker_world import TINY_SPACE, TRAINING, WorkerWorld

SHAPES = (ROOT / "docs" / "examples" / "dataset_shapes" / "hilnas_shapes.py").read_text()
SAID = "3 times the worker died, or hung, while it ran shapes of hilnas-shapes 1.0 (hilnas.datasets)"
ON_SHAPES = {**TRAINING, "dataset": "shapes"}
NETWORK = {
    "space": TINY_SPACE,
    "dataset": "shapes",
    "iterations": 4,
    "batch_size": 16,
    "strategy": {"architecture": [0, 0, 0]},
}
Ended = Callable[[], str]
"""Why what was ordered has failed; empty while it has not."""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    folder = tmp_path / "packages"
    folder.mkdir()
    lay_out(folder, "hilnas-shapes", "hilnas.datasets", "shapes", SHAPES, attribute="SHAPES")
    find_packages(monkeypatch, folder)
    yield folder
    forget()


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def next_of(world: WorkerWorld, kind: JobKind) -> Job:
    """Do what comes before, and lease the next of this kind."""
    while (job := claimed(world)).kind is not kind:
        world.do(job)
    return job


def supernet(world: WorkerWorld) -> Ended:
    made = world.supernets.create_supernet(parse_training_spec(ON_SHAPES))
    return _training(lambda: world.supernets.get_training(made.id))


def network(world: WorkerWorld) -> Ended:
    made = world.networks.create_network(parse_network_spec(NETWORK))
    return _training(lambda: world.networks.get_training(made.id))


def _training(look: Callable[[], object]) -> Ended:
    def ended() -> str:
        found = look()
        return found.reason if found.state is TrainingState.FAILED else ""  # type: ignore[attr-defined]

    return ended


def inline_supernet(world: WorkerWorld) -> Ended:
    return _search(world, objectives=[{"metric": "top1"}], supernet=ON_SHAPES)


def shifted(world: WorkerWorld) -> Ended:
    ready = world.ready_supernet(dataset="shapes")
    return _search(world, **shifting_spec(ready, shifting=dict(IMMEDIATE)))


def derived(world: WorkerWorld) -> Ended:
    parameters = {**DENSE_SPACE["parameters"], "num_classes": 3}
    algorithm = {**DENSENAS, "dataset": "shapes"}
    space = {**DENSE_SPACE, "parameters": parameters}
    return _search(world, space=space, algorithm=algorithm, objectives=[{"metric": "macs"}])


def _search(world: WorkerWorld, **changes: object) -> Ended:
    search = world.search(**changes)

    def ended() -> str:
        found = world.searches.get_search(search.id)
        return found.reason if found.state is SearchState.FAILED else ""

    return ended


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        (supernet, JobKind.TRAIN),
        (network, JobKind.TRAIN),
        (inline_supernet, JobKind.TRAIN),
        (shifted, JobKind.SHIFT),
        (derived, JobKind.DERIVE),
    ],
)
def test_it_fails_by_the_packages_name_after_three_deaths(
    world: WorkerWorld, order: Callable[[WorkerWorld], Ended], kind: JobKind
) -> None:
    ended = order(world)
    for _ in range(3):
        assert not ended()
        died(world, next_of(world, kind))
    assert SAID in ended()
    assert world.claim() is None


def test_what_dies_beside_a_training_loses_no_attempt(world: WorkerWorld) -> None:
    ended = supernet(world)
    beside = world.search()
    for deaths in range(1, 4):
        held = [claimed(world), claimed(world)]
        assert {job.kind for job in held} == {JobKind.TRAIN, JobKind.SEARCH_STEP}
        died(world, *held)
        step = world.dispatch.get(next(job.id for job in held if job.kind is JobKind.SEARCH_STEP))
        assert (step.attempt, step.failure_type) == (0, FailureType.AGENT_SHUTDOWN)
        assert "shapes of hilnas-shapes 1.0" in step.failure_message
        assert bool(ended()) == (deaths == 3)
    world.run()
    assert world.searches.get_search(beside.id).state is SearchState.COMPLETED


def test_deaths_over_one_training_are_not_held_against_another(world: WorkerWorld) -> None:
    first, second = supernet(world), network(world)
    doomed = {claimed(world).id: first, claimed(world).id: second}
    for id in doomed:
        world.database.kill_lease(id)
    world.dispatch.sweep()
    world.database.skip_backoff()
    died(world, claimed(world))  # one of the two for the second time: three deaths of trainings, two of it
    assert not first()
    assert not second()


def test_a_study_ends_after_three_architectures_ended_a_worker_each(world: WorkerWorld) -> None:
    document = {"supernet": world.ready_supernet(dataset="shapes").id, "num_architectures": 4, "num_local": 2}
    training = {"iterations": 4, "batch_size": 16, "augmentation": "none"}
    study = world.studies.create_study(parse_ranking_study_spec({**document, "training": training}))
    died_over = set()
    for _ in range(3):
        job = claimed(world)
        assert job.kind is JobKind.RANK
        died_over.add(job.id)
        world.database.kill_lease(job.id)
        world.dispatch.sweep()  # it waits before its next attempt: another architecture's turn comes first
    assert len(died_over) == 3
    failed = world.studies.get_study(study.id)
    assert failed.state is StudyState.FAILED
    assert SAID in failed.reason
    states = [entry.state for entry in world.studies.study_entries(study.id)]
    assert sorted(state.value for state in states) == ["cancelled"] * 3 + [StudyEntryState.FAILED.value]
    world.database.skip_backoff()
    assert world.claim() is None


def test_a_training_remembers_its_packages_and_another_version_refuses_it(world: WorkerWorld, packages: Path) -> None:
    ended = supernet(world)
    job = claimed(world)
    (used,) = read_payload(TrainPayload, job.payload).plugins
    assert (used.name, str(used.provider)) == ("shapes", "hilnas-shapes 1.0")
    (packages / "hilnas_shapes-1.0.dist-info").rename(packages / "hilnas_shapes-2.0.dist-info")
    metadata = packages / "hilnas_shapes-2.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "2.0"))
    forget()
    with pytest.raises(PluginError, match=r"shapes of hilnas-shapes 1\.0.*it is of hilnas-shapes 2\.0"):
        world.do(job)
    assert world.dispatch.get(job.id).state is JobState.LEASED
    assert not ended()


def test_a_training_that_was_queued_before_packages_were_remembered_is_done(world: WorkerWorld) -> None:
    assert read_payload(TrainPayload, {"supernet_id": "snet_1", "network_id": None}).plugins == ()
