"""Latency tables in a world with the real worker's steps and conversions; boards answer by formula.

An operator takes as long as its MACs say, a network as long as its operators and an overhead: so what estimates must be
off by is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from nas_engine.cost.latency_table import operator_graphs
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.operator_graphs import cut_operators
from server.artifacts.artifacts import Artifacts
from server.bootstrap import worker as worker_process
from server.bootstrap.settings import Settings
from server.core.database.transaction import UnitOfWork
from server.fleet.device import Device
from server.jobs.dispatch import Dispatch
from server.jobs.payloads import read_payload
from server.jobs.states import JobKind
from server.measuring.payloads import MeasurePayload
from server.spaces.store import ArchitectureStore
from tests.support.worlds.api_world import World

OVERHEAD_US = 50.0
BATCH = 4
DENSE_SPACE: dict[str, Any] = {
    "id": "densenas-mbv2",
    "parameters": {
        "num_classes": 3,
        "input_size": 8,
        "input_channels": 1,
        "stem_stride": 1,
        "stem_channels": 4,
        "block_channels": [4, 6, 8, 12],
        "downsamplings": [0, 1, 1, 2],
        "stages": [0, 1, 1, 2, 3],
        "num_layers": [0, 1, 1, 1],
        "max_connections": 2,
        "last_channels": 16,
        "head_operators": ["mbconv_k3_t1", "mbconv_k3_t3"],
        "stack_operators": ["mbconv_k3_t1", "mbconv_k3_t3", "skip_connect"],
    },
}


class StepWorker:
    """The real worker's steps and conversions, one job at a time."""

    def __init__(self, world: World, folder: Path, datasets_file: Path | None = None) -> None:
        self._world = world
        process = world.process
        assert isinstance(process.uow, UnitOfWork)
        settings = Settings(home=folder, worker_device="cpu", datasets_file=datasets_file)
        self._handlers = worker_process._handlers(
            settings, process.uow, process.get(Dispatch).kinds, process.get(Artifacts), None
        )

    def run(self) -> int:
        """Do every job there is."""
        kinds = (JobKind.SEARCH_STEP, JobKind.CONVERT)
        num = 0
        while (job := self._world.dispatch.claim("worker", kinds)) is not None:
            assert job.lease is not None
            self._handlers[job.kind](job, job.lease, lambda: False)
            num += 1
        return num


def measure_by_formula(world: World, board: Device, space: SearchSpace, batch: int = BATCH) -> int:
    """Measure everything that waits; returns how many jobs."""
    operators = {o.key: macs_us(o.graph) for o in operator_graphs(space, batch=batch, dtype=Dtype.FP32)}
    num = 0
    while (job := world._assigned(board)) is not None:
        payload = read_payload(MeasurePayload, job.payload)
        latency_us = operators.get(payload.latency_key)
        if latency_us is None:
            assert payload.arch_id is not None
            record = world.process.uow.read(lambda tx, a=payload.arch_id: ArchitectureStore(tx).get_architecture(a))  # type: ignore[misc]
            latency_us = network_us(space, record.architecture.choices_value())
        world.put_result(board, job, latency_us)
        num += 1
    return num


def macs_us(graph: Any) -> float:
    """Latency of one operator."""
    return 10.0 + round(complexity(graph).macs / 1000, 3)


def network_us(space: SearchSpace, choices: Any) -> float:
    """Latency of a whole network."""
    graph = space.graph(space.parse(choices), Form.DEPLOYED)
    assert graph is not None
    return OVERHEAD_US + sum(macs_us(part.graph) for part in cut_operators(graph))


def complete_table(
    world: World, client: httpx2.Client, worker: StepWorker, board: Device, space: SearchSpace, spec: Mapping[str, Any]
) -> str:
    """A table ordered over REST and measured whole; its id."""
    batch = int(spec["device"].get("batch", 1))
    answer = client.post("/api/v1/latency-tables", json=spec)
    assert answer.status_code == 202, answer.text
    worker.run()
    measure_by_formula(world, board, space, batch)
    worker.run()
    table = client.get(answer.headers["Location"]).json()
    assert table["state"] == "completed", table
    return str(table["id"])
