"""Networks were supernets that are retrained: an upgrade moves them with all that belongs to them, a downgrade back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from server.artifacts.files import FileByteStore
from server.bootstrap.schema import migrate
from server.core.paging import PageRequest
from server.jobs.job import Job, JobQuery
from server.jobs.queue import JobStore
from server.training.networks.network import Network, parse_network_spec
from server.training.supernet import Supernet
from server.training.training import TrainingQuery
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import TRAINING, World

NETWORK = parse_network_spec({**TRAINING, "architecture": [0, 0, 0], "dropout": 0.1})
BEFORE = "0014_search_plugins"


def known(world: World) -> tuple[tuple[Network, ...], tuple[Supernet, ...], tuple[Job, ...]]:
    everything, page = TrainingQuery(), PageRequest(100)
    jobs = world.uow.read(lambda tx: JobStore(tx).page_of_jobs(JobQuery(), page).items)
    return (
        world.networks.page_of_trainings(everything, page).items,
        world.supernets.page_of_trainings(everything, page).items,
        tuple(replace(job, payload={k: v for k, v in job.payload.items() if v is not None}) for job in jobs),
    )


def rows(engine: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def _document(stored: Any) -> Any:
    return json.loads(stored) if isinstance(stored, str) else stored


def test_networks_move_with_weights_jobs_and_events(own_database: TestDatabase, tmp_path: Path) -> None:
    world = World(own_database, FileByteStore(tmp_path / "artifacts"))
    engine = own_database.engine
    supernet = world.ready_supernet()
    weights = world.artifacts.put(b"weights of one network", "application/octet-stream")
    queued = world.networks.create_network(NETWORK)
    ready = world.networks.register(NETWORK, weights.sha256, {"test_top1": 0.5})
    bare = world.networks.register(NETWORK, weights.sha256)
    before = known(world)
    events = "SELECT id, type, network_id, supernet_id FROM events ORDER BY id"
    events_before = rows(engine, events)

    migrate(engine, BEFORE)
    assert ready.weights is not None
    assert bare.weights is not None
    assert rows(engine, "SELECT id, latest_version_id FROM supernets ORDER BY id") == sorted(
        [
            (supernet.id, supernet.latest_version_id),
            (queued.id, None),
            (ready.id, ready.weights.id),
            (bare.id, bare.weights.id),
        ]
    )
    versions = "SELECT id, supernet_id, number, weights_sha256 FROM supernet_versions WHERE statistics IS NOT NULL"
    assert rows(engine, versions) == [(ready.weights.id, ready.id, 1, weights.sha256)]
    assert rows(engine, "SELECT supernet_id FROM jobs") == [(queued.id,)]

    # As the release before read them: what today's spec says itself stood in a strategy.
    specs = dict(rows(engine, "SELECT id, spec FROM supernets"))
    strategies = {id: _document(specs[id])["strategy"] for id in (queued.id, ready.id, bare.id)}
    assert {(one["kind"], tuple(one["architecture"]), one["dropout"]) for one in strategies.values()} == {
        ("retrain", (0, 0, 0), 0.1)
    }
    assert "architecture" not in _document(specs[queued.id])

    migrate(engine)
    assert known(world) == before
    assert rows(engine, events) == events_before
    assert {network_id for *_, network_id, _ in events_before} == {None, queued.id, ready.id, bare.id}
