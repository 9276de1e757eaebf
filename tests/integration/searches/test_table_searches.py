"""A table of results as a space of the service: registered, validated, searched by the same worker as any other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import LATENCY_US, MACS, TOP1, is_cheap
from nas_engine.domain.objective import Objective
from nas_engine.domain.uncertainty import value_text
from nas_engine.search.algorithm import Observation, SearchAlgorithm, SearchProblem
from nas_engine.search.cheap_filter import filter_of
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.algorithms import (
    Nsga2Settings,
    PredictorAssistedSettings,
    ScarletNsga2Settings,
)
from nas_engine.settings.base import CheckpointedSettings
from nas_engine.spaces.tables.document import parse_table
from nas_engine.spaces.tables.document import table_document as document_of
from nas_engine.spaces.tables.files import nas_bench_macro
from nas_engine.spaces.tables.space import TableSpace
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.candidates.states import EvaluationSource, SearchState
from server.core.errors import ConflictError, InvalidSpecError
from tests.support.samples.table_results import table_bytes, table_document
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import TINY_SPACE, WorkerWorld

OBJECTIVES: list[dict[str, Any]] = [{"metric": "top1"}, {"metric": "macs"}]
BUDGET = 60


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def register(world: WorkerWorld, content: bytes, space_id: str = "mine") -> TableSpace:
    stored = world.artifacts.put(content, "application/json")
    _, is_new = world.space_tables.register(space_id, stored.sha256, world.spaces)
    assert is_new
    return parse_table(content, space_id)


def table_search(world: WorkerWorld, **changes: Any) -> Search:
    document = {"space": {"id": "mine"}, "objectives": OBJECTIVES, "budget": {"num_candidates": BUDGET}, "seed": 7}
    search = world.searches.create_search(parse_search_spec({**document, **changes}))
    world.run()
    return world.searches.get_search(search.id)


def engine_alone(
    table: TableSpace, settings: Any, metrics: tuple[Metric, ...], dominance: Dominance = Dominance.POINT
) -> SearchAlgorithm:
    objectives = tuple(Objective(metric, metric.goal) for metric in metrics)
    algorithm = create_algorithm(
        settings,
        SearchProblem(space=table, objectives=objectives, cheap_filter=filter_of(table, ()), dominance=dominance),
        seed=7,
    )
    while algorithm.num_asked < BUDGET:
        batch = algorithm.ask(min(algorithm.batch_size, BUDGET - algorithm.num_asked))
        found = {genotype: table.lookup(genotype) for genotype in batch}
        algorithm.tell(
            [
                Observation(
                    genotype=genotype,
                    objectives={metric: row[metric].value for metric in metrics},
                    uncertainty={m: row[m].standard_error for m in metrics if not is_cheap(m)},
                )
                for genotype, row in found.items()
            ]
        )
    return algorithm


@pytest.mark.parametrize(
    ("algorithm", "config"),
    [
        ({"kind": "nsga2", "population_size": 12}, Nsga2Settings),
        ({"kind": "scarlet_nsga2", "population_size": 12}, ScarletNsga2Settings),
        ({"kind": "predictor_assisted", "num_initial": 20, "inner_generations": 3}, PredictorAssistedSettings),
    ],
)
def test_the_served_search_finds_the_front_of_the_engine_alone(
    world: WorkerWorld, algorithm: dict[str, Any], config: type[CheckpointedSettings]
) -> None:
    table = register(world, table_bytes())
    search = table_search(world, algorithm=algorithm)
    assert (search.state, search.hardware_key, search.supernet_id) == (SearchState.COMPLETED, None, None)
    settings = search.spec.algorithm
    assert isinstance(settings, config)
    alone = engine_alone(table, settings, (TOP1, MACS))
    assert [c.genotype for c in world.candidates(search)] == [observation.genotype for observation in alone.results]
    front = world.fronts.of_search(search.id)
    assert {c.genotype for c in front.points} == {observation.genotype for observation in alone.front()}
    assert len(front.points) > 3


def test_confident_dominance_is_the_same_served_and_alone_and_keeps_what_noise_could_have_hidden(
    world: WorkerWorld,
) -> None:
    table = register(world, table_bytes())
    search = table_search(world, algorithm={"kind": "nsga2", "population_size": 12}, dominance="confident")
    config = search.spec.algorithm
    alone = engine_alone(table, config, (TOP1, MACS), search.spec.dominance)
    front = world.fronts.of_search(search.id)
    assert front.dominance is Dominance.CONFIDENT
    assert {c.genotype for c in front.points} == {observation.genotype for observation in alone.front()}
    by_values = world.fronts.of_search(search.id, dominance=Dominance.POINT)
    assert {c.id for c in by_values.points} < {c.id for c in front.points}
    assert by_values.hypervolume == pytest.approx(front.hypervolume)


def test_values_come_from_the_row_and_say_so(world: WorkerWorld) -> None:
    table = register(world, table_bytes())
    objectives = [{"metric": "top1"}, {"metric": "latency_us"}]
    search = table_search(world, objectives=objectives, measurement={"confirm": "front"})
    assert search.state is SearchState.COMPLETED
    for candidate in world.candidates(search):
        row = table.lookup(candidate.genotype)
        assert candidate.value(TOP1) == pytest.approx(row[TOP1].value)
        assert candidate.value(LATENCY_US) == pytest.approx(row[LATENCY_US].value)
        assert candidate.record.values["macs"] == row[MACS].value
        assert candidate.latency_key is candidate.model_sha256 is None
        evaluations = world.uow.read(lambda tx, c=candidate: EvaluationStore(tx).evaluations_of_candidates([c.id]))  # type: ignore[misc]
        assert {e.metric: e.source for e in evaluations} == {
            TOP1: EvaluationSource.TABLE,
            LATENCY_US: EvaluationSource.TABLE,
        }
        errors = {e.metric: e.uncertainty for e in evaluations}
        assert errors[TOP1] == pytest.approx(row[TOP1].standard_error)
        assert errors[LATENCY_US] is None  # a single run says nothing of its spread


def test_a_search_stays_among_the_rows_and_within_its_constraints(world: WorkerWorld) -> None:
    document = table_document(4)
    rows = document["rows"]
    assert isinstance(rows, list)
    document["rows"] = rows[::3]
    table = register(world, json.dumps(document).encode())
    limit = 2_000_000
    search = table_search(world, constraints=[{"metric": "macs", "maximum": limit}])
    asked = [candidate.genotype for candidate in world.candidates(search)]
    admissible = [row for row in table.rows if table.lookup(row)[MACS].value <= limit]
    assert sorted(asked) == sorted(admissible)
    assert search.reason == "the space holds no further admissible architecture"


def test_everything_that_a_table_cannot_give_is_said_at_once(world: WorkerWorld) -> None:
    register(world, table_bytes(3))
    spec = {
        "space": {"id": "mine"},
        "objectives": [{"metric": "top1"}, {"metric": "peak_activation_bytes"}],
        "constraints": [{"metric": "macs", "maximum": 10}],
        "budget": {"num_candidates": 5},
        "device": {"device_type": "rk3588"},
        "dataset": "stripes",
        "supernet": "sup_1",
        "warm_start": {"measured": True},
    }
    report = world.searches.validate(parse_search_spec(spec))
    found = {violation.pointer: violation.message for violation in report.violations}
    assert set(found) >= {
        "/objectives/1/metric",
        "/constraints/0/maximum",
        "/device",
        "/dataset",
        "/supernet",
        "/warm_start/measured",
    }
    assert "without a column peak_activation_bytes: it holds" in found["/objectives/1/metric"]
    assert "feasible range is 1,000,000 to" in found["/constraints/0/maximum"]
    assert report.space_size == 27


def test_nothing_that_needs_a_network_works_and_each_says_why(world: WorkerWorld) -> None:
    table = register(world, table_bytes(3))
    architecture = table.decode(table.rows[5])
    assert world.spaces.latency_key(architecture, dtype=Dtype.FP32, batch=1) is None
    for refused in (world.spaces.picture_svg, world.spaces.layers):
        with pytest.raises(InvalidArchitectureError, match="table of results"):
            refused(architecture)
    with pytest.raises(InvalidArchitectureError, match="table of results"):
        world.spaces.export_onnx(architecture, batch=1, seed=0)
    training = {"space": {"id": "mine"}, "dataset": "stripes", "iterations": 1}
    with pytest.raises(InvalidSpecError, match="no networks that could be trained"):
        world.searches.create_search(
            parse_search_spec(
                {
                    "space": TINY_SPACE,
                    "objectives": OBJECTIVES,
                    "budget": {"num_candidates": 1},
                    "supernet": training,
                }
            )
        )


def test_registering_is_idempotent_and_an_id_never_changes_its_meaning(world: WorkerWorld) -> None:
    register(world, table_bytes(3))
    same = world.artifacts.put(table_bytes(3), "application/json")
    space, is_new = world.space_tables.register("mine", same.sha256, world.spaces)
    assert not is_new
    assert (space.id, space.num_rows, space.has_graphs) == ("mine", 27, False)
    assert [metric.name for metric in space.columns] == ["top1", "latency_us", "macs", "params"]
    other = world.artifacts.put(table_bytes(4), "application/json")
    with pytest.raises(ConflictError, match="never changes"):
        world.space_tables.register("mine", other.sha256, world.spaces)
    for taken in ("spos", "table"):
        with pytest.raises(ConflictError, match="built-in"):
            world.space_tables.register(taken, other.sha256, world.spaces)
    bad = world.artifacts.put(b"gene1,top1\n0,0.5\n1,57", "text/csv")
    with pytest.raises(InvalidSpaceError, match="row 2: top1 is 57"):
        world.space_tables.register("bad", bad.sha256, world.spaces)
    with pytest.raises(InvalidSpaceError, match="was uploaded"):
        world.space_tables.register("bad", "0" * 64, world.spaces)
    assert world.space_tables.ids() == ["mine"]
    assert list(world.spaces.space_ids())[-1] == "mine"


def test_a_killed_worker_asks_what_an_undisturbed_one_asks(world: WorkerWorld) -> None:
    register(world, table_bytes())
    whole = table_search(world, algorithm={"kind": "nsga2", "population_size": 10})
    disturbed = world.searches.create_search(whole.spec)
    for place in range(100):
        if (job := world.claim()) is None:
            break
        if place % 3 == 1:
            world.restart()
        world.do(job)
    assert [c.genotype for c in world.candidates(disturbed)] == [c.genotype for c in world.candidates(whole)]


@pytest.mark.data
def test_nas_bench_macro_is_searched_through_the_server_as_by_the_engine_alone(world: WorkerWorld) -> None:
    path = Path(os.environ.get("HILNAS_DATA", "/none")) / "nasbench_macro_cifar10.npz"
    if not path.is_file():
        pytest.skip(f"{path} is missing: set HILNAS_DATA to a folder with the public data sets")
    table = register(world, json.dumps(document_of(nas_bench_macro(path))).encode())
    assert len(table.rows) == 6561
    search = table_search(world, algorithm={"kind": "nsga2", "population_size": 20})
    alone = engine_alone(table, search.spec.algorithm, (TOP1, MACS))
    assert [c.genotype for c in world.candidates(search)] == [observation.genotype for observation in alone.results]
    front = world.fronts.of_search(search.id)
    assert {c.genotype for c in front.points} == {observation.genotype for observation in alone.front()}


def test_a_bound_that_no_row_meets_is_refused_at_once_with_the_nearest(world: WorkerWorld) -> None:
    table = register(world, table_bytes())
    best = max(table.rows, key=lambda genotype: table.lookup(genotype)[TOP1].value)
    reached = table.lookup(best)[TOP1].value
    bounds = [{"metric": "top1", "minimum": (reached + 1) / 2}]
    with pytest.raises(InvalidSpecError) as caught:
        table_search(world, constraints=bounds)
    (found,) = caught.value.violations
    assert found.pointer == "/constraints/0"
    least, nearest = (value_text(one, "fraction") for one in ((reached + 1) / 2, reached))
    assert found.message == (
        f"no row of the table meets validation accuracy >= {least}: nearest validation accuracy {nearest}, "
        f"genotype {list(best)}"
    )
    document = {"space": {"id": "mine"}, "objectives": OBJECTIVES, "budget": {"num_candidates": 1}}
    met = parse_search_spec({**document, "constraints": [{"metric": "top1", "minimum": reached}]})
    assert world.searches.validate(met).violations == ()
