"""Metrics that a package brings: searched, stored and listed like ours; what one does wrong is named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_engine.domain.metrics import metric_named
from nas_engine.domain.plugins.doors import PluginError
from nas_engine.domain.search_space import Form
from nas_engine.evaluation.evaluated_metrics import evaluate_metric
from nas_engine.settings.evaluation import CalibrationMode
from nas_engine.training.data.augmentation import NO_AUGMENTATION
from nas_engine.training.data.stream import CalibrationBatches, PlainBatches, TrainingStream
from nas_engine.training.randomness import Randomness
from nas_engine.training.strategies.paths import decoded_graph
from server.candidates.candidate import CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import EvaluationSource, SearchState
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import tiny_space, tiny_weights
from tests.support.worlds.api_world import World
from tests.support.worlds.brought_metrics import brought_metrics, uninstalled
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import EVALUATION, WorkerWorld

SMALL: dict[str, Any] = {"algorithm": {"kind": "random", "batch_size": 3}, "budget": {"num_candidates": 6}}


@pytest.fixture(autouse=True)
def _brought(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with brought_metrics(tmp_path_factory.mktemp("brought")):
        yield


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def test_one_from_the_graph_is_an_objective_and_a_constraint(world: WorkerWorld) -> None:
    settings = {"every": 2}
    search = world.ran(
        **SMALL,
        objectives=[{"metric": "macs"}, {"metric": "num_nodes", "goal": "maximize", "settings": settings}],
        constraints=[{"metric": "num_nodes", "minimum": 5, "settings": settings}],
    )
    assert search.state is SearchState.COMPLETED, search.reason
    nodes = metric_named("num_nodes")
    for candidate in world.candidates(search):
        graph = world.spaces.graph(candidate.record.architecture)
        assert graph is not None
        assert candidate.value(nodes) == len(graph.nodes) // 2 >= 5
        assert candidate.current[nodes].source is EvaluationSource.GRAPH
        assert candidate.current[nodes].metric.unit == "nodes"
    query = CandidateQuery(search_id=search.id, order=nodes, descending=True)
    page = world.uow.read(lambda tx: CandidateStore(tx).page_of_candidates(query, PageRequest(50)))
    values = [candidate.values[nodes] for candidate in page.items]
    assert values == sorted(values, reverse=True)
    assert world.fronts.of_search(search.id).points


def test_one_that_a_worker_evaluates_is_an_objective(world: WorkerWorld) -> None:
    supernet = world.ready_supernet()
    search = world.ran(
        **SMALL,
        supernet=supernet.id,
        evaluation=EVALUATION,
        objectives=[{"metric": "top1"}, {"metric": "spread"}],
    )
    assert search.state is SearchState.COMPLETED, search.reason
    spread = metric_named("spread")
    candidates = world.candidates(search)
    assert all(candidate.values[spread] > 0 for candidate in candidates)
    found = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([candidates[0].id]))
    (evaluation,) = (one for one in found if one.metric == spread)
    assert (str(evaluation.provider), evaluation.supernet_version_id) == (
        "brought-metrics 1.2.3",
        supernet.latest_version_id,
    )


def _evaluated(name: str, timeout_s: float = 60.0) -> tuple[float, float | None]:
    space, dataset, cpu = tiny_space(), striped_dataset(), torch.device("cpu")
    stream = TrainingStream(dataset, batch_size=16, augmentation=NO_AUGMENTATION, randomness=Randomness(3), device=cpu)
    return evaluate_metric(
        metric_named(name),
        None,
        decoded_graph(space, (1, 3), Form.SUPERNET),
        tiny_weights(space),
        calibration_NCHW=CalibrationBatches(stream, 1),
        held_out=PlainBatches(dataset.validation, dataset.normalisation, batch_size=16, device=cpu),
        mode=CalibrationMode.CUMULATIVE,
        timeout_s=timeout_s,
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan", r"metric nan of brought-metrics 1\.2\.3 gave nan: it must be a finite number"),
        ("raises", r"raises of brought-metrics 1\.2\.3: computing it raised RuntimeError: no such thing"),
        ("hangs", r"hangs of brought-metrics 1\.2\.3: computing it did not return within 0\.5 s"),
    ],
)
def test_a_fault_is_named_with_the_package(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        _evaluated(name, timeout_s=0.5 if name == "hangs" else 60.0)


@pytest.mark.long
def test_one_from_the_graph_at_fault_is_named_where_a_search_is_launched(tmp_path: Path) -> None:
    world = World.open(tmp_path)
    spec = {"space": {"id": "spos"}, "objectives": [{"metric": "macs"}], "budget": {"num_candidates": 2}}
    said = {
        "broken": "metric broken of brought-metrics 1.2.3 gave nan: it must be a finite number",
        "stuck": "stuck of brought-metrics 1.2.3: computing it did not return within 10 s",
    }
    try:
        with world.client() as client:
            for name, reason in said.items():
                bounded = {**spec, "constraints": [{"metric": name, "maximum": 1}]}
                for _ in range(2):  # the second time it is not waited for
                    start_s = time.monotonic()
                    answer = client.post("/api/v1/searches", json=bounded)
                    took_s = time.monotonic() - start_s
                    assert answer.status_code == 422
                    (error,) = answer.json()["errors"]
                    assert error["pointer"] == "/constraints/0/metric"
                    assert reason in error["detail"]
                assert took_s < 9
            report = client.post("/api/v1/searches:validate", json=spec).json()
            assert report["valid"]
            named = {one["metric"] for one in report["metric_ranges"]}
            assert {"macs", "num_nodes"} <= named
            assert not named & said.keys()
            assert client.post("/api/v1/searches", json=spec).status_code == 202
    finally:
        world.close()


@pytest.mark.long
@pytest.mark.parametrize(("name", "reason"), [("broken", "gave nan"), ("stuck", "did not return within 10 s")])
def test_one_from_the_graph_at_fault_fails_its_own_search_in_the_worker(
    world: WorkerWorld, name: str, reason: str
) -> None:
    wanting = world.search(**SMALL, objectives=[{"metric": "macs"}, {"metric": name}])
    other = world.search(**SMALL, objectives=[{"metric": "macs"}])
    world.run_and_report()
    failed = world.searches.get_search(wanting.id)
    assert failed.state is SearchState.FAILED
    assert f"{name} of brought-metrics 1.2.3" in failed.reason
    assert reason in failed.reason
    assert world.searches.get_search(other.id).state is SearchState.COMPLETED


def test_bounds_are_held_against_the_range_with_the_settings_of_the_search(world: WorkerWorld) -> None:
    def bounded(settings: dict[str, int]) -> dict[str, Any]:
        return {**SMALL, "constraints": [{"metric": "num_nodes", "maximum": 12, "settings": settings}]}

    world.search(objectives=[{"metric": "macs"}], **bounded({"every": 100}))
    with pytest.raises(InvalidSpecError, match="no architecture of the space has num_nodes <= 12"):
        world.search(objectives=[{"metric": "macs"}], **bounded({}))


@pytest.mark.parametrize(
    ("objectives", "pointer", "message"),
    [
        ([{"metric": "nodes"}], "/objectives/0/metric", "use one of top1, latency_us, macs"),
        ([{"metric": "num_nodes", "settings": {"every": "x"}}], "/objectives/0/settings/every", "valid integer"),
        ([{"metric": "macs", "settings": {"every": 1}}], "/objectives/0/settings/every", "known are none"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_launched(
    world: WorkerWorld, objectives: list[dict[str, Any]], pointer: str, message: str
) -> None:
    with pytest.raises(InvalidSpecError) as refused:
        world.search(objectives=objectives)
    (violation,) = refused.value.violations
    assert violation.pointer == pointer
    assert message in violation.message


def test_every_metric_is_listed_with_the_schema_of_its_settings(tmp_path: Path) -> None:
    world = World.open(tmp_path)
    try:
        with world.client() as client:
            found = {one["name"]: one for one in client.get("/api/v1/metrics").json()["items"]}
    finally:
        world.close()
    assert found["top1"]["package"] == "hilnas"
    assert (found["top1"]["source"], found["top1"]["minimum"], found["top1"]["maximum"]) == ("evaluated", 0.0, 1.0)
    assert found["num_nodes"]["settings_schema"]["properties"]["every"]["default"] == 1
    assert (found["num_nodes"]["package"], found["num_nodes"]["version"]) == ("brought-metrics", "1.2.3")


def test_a_search_is_read_after_its_metric_is_gone(world: WorkerWorld) -> None:
    search = world.ran(**SMALL, objectives=[{"metric": "macs"}, {"metric": "num_nodes"}])
    with uninstalled():
        assert world.searches.get_search(search.id).spec.objectives[1].metric == "num_nodes"
        candidate = world.candidates(search)[0]
        assert {metric.name: metric.unit for metric in candidate.current}["num_nodes"] == "nodes"
        assert world.fronts.of_search(search.id).points
        with pytest.raises(InvalidSpecError):
            world.search(objectives=[{"metric": "num_nodes"}])
