"""Lists by words and labels: the same things are found on every database, whatever letters they are written in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nas_engine.domain.metrics import LATENCY_US
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.access.principal import Principal
from server.access.store import PrincipalStore
from server.artifacts.files import FileByteStore
from server.bootstrap.schema import migrate
from server.candidates.candidate import CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import SearchQuery
from server.candidates.search_store import SearchStore
from server.candidates.spec import parse_search_spec
from server.candidates.states import CandidateState, SearchState
from server.core.database.transaction import Transaction
from server.core.finding import found_by, plain, words_of
from server.core.ids import IdPrefix, new_id
from server.core.paging import PageRequest
from server.training.networks.network import Network
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore
from server.training.supernet import Supernet
from server.training.training import TrainingQuery, TrainingState
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import SPEC, TRAINING, World
from tests.support.worlds.stored import add_searches, measured, new_candidate, new_search

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
ZOE = Principal(id="prin_zoe", name="Zoë Größe", created_at=WHEN)
NAMES = ("Spos on RK3588", "100% of_it", "STRASSE İstanbul", "Straße \u202eab", "a/b \\ c'\"")


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def named(name: str, **changes: Any) -> Any:
    labels: Mapping[str, str] = {"team": "Vision", "place": name[:3]}
    return new_search(spec=parse_search_spec({**SPEC, "name": name, "labels": labels}), **changes)


def num_searches(world: World, asked: str) -> int:
    query = SearchQuery(words=words_of(asked))
    return world.uow.read(lambda tx: SearchStore(tx).count_searches(query))


def num_trainings(world: World, query: TrainingQuery) -> list[int]:
    def work(tx: Transaction) -> list[int]:
        return [SupernetStore(tx).count_trainings(query), NetworkStore(tx).count_trainings(query)]

    return world.uow.read(work)


def candidates_of(world: World, query: CandidateQuery, size: int) -> list[int]:
    page = world.uow.read(lambda tx: CandidateStore(tx).page_of_candidates(query, PageRequest(size)))
    return [one.seq for one in page.items]


def num_candidates(world: World, query: CandidateQuery) -> int:
    return world.uow.read(lambda tx: CandidateStore(tx).count_candidates(query))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("spos rk3588", {0}),
        ("RK3588   SPOS", {0}),
        ("100% of_it", {1}),
        ("%", {1}),
        ("_it", {1}),
        ("1__%", set()),
        ("strasse", {2, 3}),
        ("straße", {2, 3}),
        ("\\", {4}),
        ("a/b", {4}),
        ("'", {4}),
        ("team:vision", {0, 1, 2, 3, 4}),
        ("place:100", {1}),
        ("zoë größe", {0}),
        ("ZOE\u0308 GRÖSSE", {0}),  # the same letters, spelled with a mark of their own
        ("toy random", {0, 1, 2, 3, 4}),
        ("paused", {4}),
        ("toy unknown", set()),
        ("   ", {0, 1, 2, 3, 4}),
    ],
)
def test_every_word_is_found_somewhere_in_a_search(world: World, asked: str, wanted: set[int]) -> None:
    world.uow.write(lambda tx: PrincipalStore(tx).put_principal(ZOE))
    made = [named(name, **({"owner": ZOE} if number == 0 else {})) for number, name in enumerate(NAMES[:4])]
    made.append(named(NAMES[4], state=SearchState.PAUSED))
    add_searches(world, made)
    query = SearchQuery(words=words_of(asked))
    found = world.uow.read(lambda tx: SearchStore(tx).page_of_searches(query, PageRequest(50))).items
    assert {made.index(one) for one in found} == wanted
    assert num_searches(world, asked) == len(wanted)


def test_a_search_is_found_by_what_it_was_amended_to(world: World) -> None:
    search = named("before")
    add_searches(world, [search])

    def rename(tx: Transaction) -> None:
        locked = SearchStore(tx).lock_search(search.id)
        spec = locked.spec.model_copy(update={"labels": {"stage": "After"}})
        SearchStore(tx).save_search(replace(locked, spec=spec))

    world.uow.write(rename)
    for asked, num in (("stage:after", 1), ("team:vision", 0), (search.id[-8:], 1)):
        assert num_searches(world, asked) == num, asked


def test_supernets_and_networks_are_found_by_words_and_labels(world: World) -> None:
    labels = {"team": "Vision", "odd": "a:b%"}
    supernet = Supernet(
        id=new_id(IdPrefix.SUPERNET),
        spec=TrainingSpec.model_validate({**TRAINING, "name": "Big One", "labels": labels}),
        state=TrainingState.QUEUED,
        created_at=WHEN,
    )
    network = Network(
        id=new_id(IdPrefix.NETWORK),
        spec=NetworkSpec.model_validate({**TRAINING, "name": "Small One", "labels": labels, "architecture": [0, 0, 0]}),
        state=TrainingState.READY,
        created_at=WHEN,
    )

    def add(tx: Transaction) -> None:
        SupernetStore(tx).add_training(supernet)
        NetworkStore(tx).add_training(network)

    world.uow.write(add)
    for query, wanted in (
        (TrainingQuery(words=words_of("one VISION digits")), [1, 1]),
        (TrainingQuery(words=words_of("big uniform")), [1, 0]),
        (TrainingQuery(words=words_of("ready")), [0, 1]),
        (TrainingQuery(labels={"team": "Vision", "odd": "a:b%"}), [1, 1]),
        (TrainingQuery(labels={"team": "vision"}), [0, 0]),
        (TrainingQuery(labels={"odd": "a:b_"}), [0, 0]),
    ):
        assert num_trainings(world, query) == wanted, query


def test_candidates_are_found_by_id_architecture_genotype_and_state(world: World) -> None:
    search = named("of candidates")
    add_searches(world, [search])
    made = [
        new_candidate(search, seq, state=CandidateState.COMPLETE, current=measured(100.0 - seq)) for seq in (1, 2, 3)
    ] + [new_candidate(search, 4)]
    world.uow.write(lambda tx: CandidateStore(tx).add_candidates(made))
    genotype = ",".join(map(str, made[1].genotype))
    for asked, wanted in (
        (made[0].id, [1]),
        (made[2].arch_id[:20].upper(), [3]),
        (genotype, [2]),
        (f"[{genotype}] complete", [2]),
        (f"{genotype} infeasible", []),
        ("complete", [1, 2, 3]),
        ("%", []),
    ):
        query = CandidateQuery(search_id=search.id, words=words_of(asked))
        assert candidates_of(world, query, 50) == wanted, asked
        assert num_candidates(world, query) == len(wanted), asked
    query = CandidateQuery(search_id=search.id, words=words_of("complete"), order=LATENCY_US)
    assert candidates_of(world, query, 2) == [3, 2]


def test_what_was_there_before_is_found_after_the_migration(own_database: TestDatabase) -> None:
    migrate(own_database.engine, "0022_latency_predictors")
    spec = {**SPEC, "name": "Großes", "labels": {"team": "Vision"}, "algorithm": {"kind": "random"}}
    own_database.execute("INSERT INTO principals (id, name, created_at) VALUES ('prin_zoe', 'Zoë', 1)")
    common = {"id": "srch_1", "spec": json.dumps(spec), "owner": "prin_zoe"}
    own_database.execute(
        "INSERT INTO searches (id, spec, state, desired_state, reason, space_id, checkpoint_seq, progress, owner_id,"
        " created_at, version) VALUES (:id, :spec, 'completed', 'running', '', 'toy', 0, '{}', :owner, 1, 1)",
        **common,
    )
    own_database.execute(
        "INSERT INTO supernets (id, spec, space_id, dataset, state, desired_state, reason, progress, resume_step,"
        " owner_id, created_at, version) VALUES (:id, :spec, 'toy', 'digits', 'ready', 'running', '', '{}', 0, :owner,"
        " 1, 1)",
        **{**common, "id": "sup_1", "spec": json.dumps({**TRAINING, "name": "Netz", "labels": {"team": "Vision"}})},
    )
    migrate(own_database.engine)
    with own_database.engine.connect() as connection:
        (of_search,) = connection.execute(sa.text("SELECT words FROM searches")).scalars()
        (of_supernet,) = connection.execute(sa.text("SELECT words FROM supernets")).scalars()
        labels = connection.execute(sa.text("SELECT owner_id, key, value FROM labels")).all()
    assert {"grosses", "srch_1", "toy", "random", "zoë", "team:vision"} <= set(of_search.split("\n"))
    assert {"netz", "sup_1", "toy", "digits", "zoë", "team:vision"} <= set(of_supernet.split("\n"))
    assert [tuple(row) for row in labels] == [("sup_1", "team", "Vision")]


def test_texts_are_compared_without_case_and_spelling() -> None:
    assert plain("ÉCOLE ﬁ") == plain("e\u0301cole FI")
    assert words_of(None) == words_of(" \t ") == ()
    assert words_of("B a b") == ("b", "a")
    assert found_by("X", None, "", labels={"Team": "A:b"}) == "x\nteam:a:b"
