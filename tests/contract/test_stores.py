"""The contracts of the stores, against SQLite and PostgreSQL."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nas_engine.domain.measurement import Dtype, Validity, ValidityFlag
from nas_engine.domain.objective import Metric
from server.artifacts.files import FileByteStore
from server.service.errors import (
    ConflictError,
    IdempotencyKeyReusedError,
    InvalidValueError,
    NotAuthenticatedError,
    NotFoundError,
    NotPermittedError,
)
from server.service.idempotency import Idempotency
from server.service.ids import IdPrefix, new_id
from server.service.paging import Page, PageRequest
from server.service.ports.unit_of_work import Transaction
from server.service.spec import parse_search_spec
from server.service.states import (
    CandidateState,
    DesiredState,
    DeviceState,
    EvaluationSource,
    MeasurementKind,
    Role,
    SearchState,
)
from server.service.values.candidate import (
    AwaitedEvaluation,
    Candidate,
    CandidateOrder,
    CandidateQuery,
    Evaluation,
    MetricBound,
)
from server.service.values.device import DeviceCapabilities, DeviceQuery, Enrolment
from server.service.values.measurement import MeasurementQuery
from server.service.values.search import Search, SearchQuery
from server.service.values.space_table import SpaceTable
from server.service.values.token import IdempotencyScope, StoredResponse
from tests.databases import TestDatabase
from tests.fakes_service import toy_record
from tests.service_world import IDENTITY, SPEC, World, run_to_end


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def new_search(**changes: Any) -> Search:
    values: dict[str, Any] = {
        "id": new_id(IdPrefix.SEARCH),
        "spec": parse_search_spec(SPEC),
        "state": SearchState.RUNNING,
        "desired_state": DesiredState.RUNNING,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Search(**{**values, **changes})


def add_searches(world: World, searches: list[Search]) -> None:
    def work(tx: Transaction) -> None:
        for search in searches:
            tx.searches.add(search)

    world.uow.write(work)


def new_candidate(search: Search, seq: int, **changes: Any) -> Candidate:
    genotype = (seq // 64 % 4, seq // 16 % 4, seq // 4 % 4, seq % 4)
    values: dict[str, Any] = {
        "id": new_id(IdPrefix.CANDIDATE),
        "search_id": search.id,
        "seq": seq,
        "generation": 0,
        "record": toy_record(genotype),
        "genotype": genotype,
        "created_at": search.created_at,
    }
    return Candidate(**{**values, **changes})


def every_page(fetch: Any, size: int) -> list[Any]:
    """Follow a listing to its end."""
    items: list[Any] = []
    request = PageRequest(size)
    while True:
        page: Page[Any] = fetch(request)
        assert len(page.items) <= size
        items += page.items
        if page.next is None:
            return items
        request = PageRequest(size, page.next)


class TestSearches:
    def test_a_search_comes_back_as_it_was_stored(self, world: World) -> None:
        search = new_search(reason="because", state=SearchState.PAUSED)
        world.uow.write(lambda tx: tx.searches.add(search))
        assert world.searches.get(search.id) == search

    def test_saving_counts_versions(self, world: World) -> None:
        search = new_search()
        world.uow.write(lambda tx: tx.searches.add(search))
        saved = world.uow.write(
            lambda tx: tx.searches.save(dataclasses.replace(tx.searches.lock(search.id), reason="x"))
        )
        assert (saved.version, saved.reason) == (2, "x")
        assert world.searches.get(search.id) == saved

    def test_what_is_not_there_is_named(self, world: World) -> None:
        with pytest.raises(NotFoundError, match="srch_none"):
            world.searches.get("srch_none")

    def test_pages_hold_every_search_once_newest_first(self, world: World) -> None:
        searches = [new_search() for _ in range(7)]
        add_searches(world, searches)
        listed = every_page(lambda page: world.searches.page(SearchQuery(), page), 3)
        assert [s.id for s in listed] == sorted((s.id for s in searches), reverse=True)

    def test_a_page_does_not_move_when_something_is_added(self, world: World) -> None:
        first = [new_search() for _ in range(4)]
        add_searches(world, first)
        page = world.searches.page(SearchQuery(), PageRequest(2))
        world.uow.write(lambda tx: tx.searches.add(new_search()))
        rest = world.searches.page(SearchQuery(), PageRequest(10, page.next))
        assert {s.id for s in (*page.items, *rest.items)} == {s.id for s in first}

    def test_filters_by_state_and_labels(self, world: World) -> None:
        spec = parse_search_spec({**SPEC, "labels": {"team": "vision", "x": "1"}})
        labelled = new_search(spec=spec, state=SearchState.FAILED)
        add_searches(world, [labelled, new_search()])
        by_label = SearchQuery(labels={"team": "vision"})
        assert [s.id for s in world.searches.page(by_label, PageRequest()).items] == [labelled.id]
        assert world.searches.count(SearchQuery(states=(SearchState.FAILED,))) == 1
        assert world.searches.count(SearchQuery(labels={"team": "audio"})) == 0


class TestCandidates:
    def add(self, world: World, count: int = 10) -> Search:
        search = new_search()
        candidates = [
            new_candidate(search, seq, latency_us=None if seq % 3 == 0 else float(100 - seq))
            for seq in range(1, count + 1)
        ]

        def work(tx: Transaction) -> None:
            tx.searches.add(search)
            tx.candidates.add_many(candidates)

        world.uow.write(work)
        return search

    def test_the_same_architecture_twice_in_a_search_is_refused_and_nothing_is_stored(self, world: World) -> None:
        search = self.add(world, 2)
        again = [new_candidate(search, 3), dataclasses.replace(new_candidate(search, 1), seq=4)]
        with pytest.raises(ConflictError):
            world.uow.write(lambda tx: tx.candidates.add_many(again))
        assert len(world.candidates(search)) == 2

    def test_the_same_architecture_in_two_searches_is_fine(self, world: World) -> None:
        first, second = self.add(world, 3), self.add(world, 3)
        assert [c.arch_id for c in world.candidates(first)] == [c.arch_id for c in world.candidates(second)]

    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_by_a_metric_hold_everything_once_and_unknown_last(self, world: World, descending: bool) -> None:
        search = self.add(world)
        query = CandidateQuery(search_id=search.id, order=CandidateOrder.LATENCY_US, descending=descending)
        listed = every_page(lambda page: world.uow.read(lambda tx: tx.candidates.page(query, page)), 3)
        assert len({c.id for c in listed}) == 10
        known = [c.latency_us for c in listed if c.latency_us is not None]
        assert known == sorted(known, reverse=descending)
        assert [c.latency_us for c in listed[len(known) :]] == [None] * 3

    def test_bounds_keep_what_lies_within_and_is_known(self, world: World) -> None:
        search = self.add(world)
        bounds = (MetricBound(metric=Metric.LATENCY_US, minimum=92, maximum=98),)
        query = CandidateQuery(search_id=search.id, bounds=bounds)
        found = world.uow.read(lambda tx: tx.candidates.page(query, PageRequest())).items
        assert [c.latency_us for c in found] == [98.0, 96.0, 95.0, 93.0, 92.0]
        assert world.uow.read(lambda tx: tx.candidates.count(query)) == 5

    def test_marking_told_counts_only_new_ones(self, world: World) -> None:
        search = self.add(world, 3)
        ids = [c.id for c in world.candidates(search)]
        assert world.uow.write(lambda tx: tx.candidates.mark_told(search.id, ids[:2], 1)) == 2
        assert world.uow.write(lambda tx: tx.candidates.mark_told(search.id, ids, 2)) == 1
        assert [c.told_seq for c in world.candidates(search)] == [1, 1, 2]


class TestEvaluations:
    def one(self, world: World) -> tuple[Search, Candidate]:
        search = new_search()
        candidate = new_candidate(search, 1)

        def work(tx: Transaction) -> None:
            tx.searches.add(search)
            tx.candidates.add_many([candidate])

        world.uow.write(work)
        return search, candidate

    def evaluation(self, candidate: Candidate, **changes: Any) -> Evaluation:
        values: dict[str, Any] = {
            "id": new_id(IdPrefix.EVALUATION),
            "search_id": candidate.search_id,
            "candidate_id": candidate.id,
            "metric": Metric.TOP1,
            "value": 0.5,
            "source": EvaluationSource.EVALUATED,
            "created_at": candidate.created_at,
        }
        return Evaluation(**{**values, **changes})

    def test_an_attempt_is_stored_once(self, world: World) -> None:
        _, candidate = self.one(world)
        first, second = self.evaluation(candidate), self.evaluation(candidate, value=0.9)
        assert world.uow.write(lambda tx: tx.evaluations.add(first)) is True
        assert world.uow.write(lambda tx: tx.evaluations.add(second)) is False
        assert world.uow.read(lambda tx: tx.evaluations.of_candidates([candidate.id])) == (first,)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_non_finite_values_are_refused_by_the_value_and_by_the_database(self, world: World, value: float) -> None:
        _, candidate = self.one(world)
        with pytest.raises(InvalidValueError, match="only finite values"):
            self.evaluation(candidate, value=value)
        good = self.evaluation(candidate)
        world.uow.write(lambda tx: tx.evaluations.add(good))
        for table, column in (("evaluations", "value"), ("evaluations", "uncertainty"), ("candidates", "latency_us")):
            if world.database.name == "sqlite" and math.isnan(value) and column != "value":
                continue  # SQLite turns NaN into NULL, which these columns may be: no NaN is stored either way
            with pytest.raises(sa.exc.IntegrityError):
                world.database.execute(f"UPDATE {table} SET {column} = :v", v=value)

    def test_what_is_awaited_is_counted_and_settled(self, world: World) -> None:
        search, candidate = self.one(world)
        latency, hardware = "1" * 64, "2" * 64
        awaited = [
            AwaitedEvaluation(search_id=search.id, candidate_id=candidate.id, metric=Metric.TOP1),
            AwaitedEvaluation(
                search_id=search.id,
                candidate_id=candidate.id,
                metric=Metric.LATENCY_US,
                latency_key=latency,
                hardware_key=hardware,
            ),
        ]
        world.uow.write(lambda tx: tx.evaluations.await_many(awaited))
        assert world.uow.read(lambda tx: tx.evaluations.num_awaited(search.id)) == 2
        assert world.uow.read(lambda tx: tx.evaluations.awaited_under(latency, hardware)) == (awaited[1],)
        assert world.uow.write(lambda tx: tx.evaluations.settle(candidate.id, Metric.TOP1)) is True
        assert world.uow.write(lambda tx: tx.evaluations.settle(candidate.id, Metric.TOP1)) is False
        assert world.uow.read(lambda tx: tx.evaluations.awaited_of(candidate.id)) == (awaited[1],)


class TestMeasurements:
    def test_filters_find_what_they_name(self, world: World) -> None:
        device = world.enrol()
        search = run_to_end(world, device, world.search())
        one = world.latencies.page(MeasurementQuery(), PageRequest(1)).items[0]
        total = world.latencies.count(MeasurementQuery())
        assert total == 6
        for found in (
            MeasurementQuery(device_type="testboard"),
            MeasurementQuery(device_id=device.id),
            MeasurementQuery(hardware_key=one.hardware_key),
            MeasurementQuery(search_id=search.id),
            MeasurementQuery(space_id="toy"),
            MeasurementQuery(validities=(Validity.VALID,)),
            MeasurementQuery(device_class=one.device_class),
            MeasurementQuery(since=one.created_at - timedelta(hours=1), until=one.created_at + timedelta(hours=1)),
        ):
            assert world.latencies.count(found) == total
        assert world.latencies.count(MeasurementQuery(arch_id=one.arch_id)) == 1
        assert world.latencies.count(MeasurementQuery(latency_key=one.latency_key)) == 1
        for nothing in (
            MeasurementQuery(device_type="other"),
            MeasurementQuery(kinds=(MeasurementKind.SIMULATED,)),
            MeasurementQuery(validities=(Validity.NOISY,)),
            MeasurementQuery(space_id="spos"),
            MeasurementQuery(until=one.created_at - timedelta(hours=1)),
        ):
            assert world.latencies.count(nothing) == 0

    def test_pages_hold_every_measurement_once_newest_first(self, world: World) -> None:
        run_to_end(world, world.enrol(), world.search())
        listed = every_page(lambda page: world.latencies.page(MeasurementQuery(), page), 2)
        assert [m.id for m in listed] == sorted({m.id for m in listed}, reverse=True)
        assert len(listed) == 6

    def test_a_measurement_comes_back_with_its_statistics_and_hardware(self, world: World) -> None:
        device = world.enrol()
        world.search()
        world.worker.run()
        job = device.take()
        assert job is not None
        flags = (ValidityFlag(Validity.NOISY, "wide interval"), ValidityFlag(Validity.UNPINNED, "no clocks"))
        receipt = device.measure(job, latency_us=321.0, flags=flags)
        found = world.latencies.get(str(receipt.measurement_id))
        assert found.stats.p50_us == 321.0
        assert found.stats.p90_us is None
        assert found.flags == flags
        assert found.validity is Validity.UNPINNED
        assert found.hardware.digest == found.hardware_key
        assert found.hardware.dtype is Dtype.FP32
        assert found.kind is MeasurementKind.MEASURED
        assert isinstance(found.environment, dict)
        assert found.environment["agent_version"] == "1"


class TestDevices:
    def test_names_are_unique_while_the_device_lives(self, world: World) -> None:
        first = world.enrol("bench")
        with pytest.raises(ConflictError, match="live device"):
            world.devices.enrol(
                world.secrets.enrolment_token,
                dataclasses.replace(enrolment_of(first.device.name), boot_id="another host"),
            )

    def test_the_same_host_enrols_again_as_itself(self, world: World) -> None:
        first, again = world.enrol("bench"), world.enrol("bench")
        assert again.id == first.id
        assert world.devices.authenticate(again.credential).id == first.id
        with pytest.raises(NotAuthenticatedError):
            world.devices.authenticate(first.credential)

    @pytest.mark.parametrize(
        "wrong",
        [{"name": ""}, {"name": "a\x00b"}, {"name": "x" * 201}, {"device_type": "rk 3588"}, {"labels": {"a": "\n"}}],
    )
    def test_text_that_cannot_be_stored_or_shown_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(InvalidValueError):
            dataclasses.replace(enrolment_of("bench"), **wrong)

    def test_a_wrong_enrolment_token_is_refused(self, world: World) -> None:
        with pytest.raises(NotAuthenticatedError):
            world.devices.enrol("nas_enr_wrong", enrolment_of("bench"))

    def test_an_enrolment_token_ends_with_its_uses(self, world: World) -> None:
        _, secret = world.devices.create_enrolment_token("two boards", max_uses=1, labels={"rack": "b"})
        device, _ = world.devices.enrol(secret, enrolment_of("one"))
        assert device.all_labels["rack"] == "b"
        with pytest.raises(NotAuthenticatedError, match="used up"):
            world.devices.enrol(secret, enrolment_of("two"))

    def test_a_retired_device_is_shut_out(self, world: World) -> None:
        device = world.enrol()
        world.devices.set_state(device.id, DeviceState.RETIRED, "sold")
        with pytest.raises(NotPermittedError):
            world.devices.authenticate(device.credential)

    def test_filters_by_type_state_and_labels(self, world: World) -> None:
        world.enrol("a")
        labelled = world.enrol("b", labels={"rack": "b"})
        world.devices.set_state(labelled.id, DeviceState.DRAINING)
        for query in (DeviceQuery(labels={"rack": "b"}), DeviceQuery(states=(DeviceState.DRAINING,))):
            assert [d.name for d in world.devices.page(query, PageRequest()).items] == ["b"]
        assert [d.name for d in world.devices.page(DeviceQuery(device_type="testboard"), PageRequest()).items] == [
            "a",
            "b",
        ]
        assert world.devices.types() == {"testboard": 2}

    def test_a_device_that_says_nothing_new_keeps_its_version(self, world: World) -> None:
        device = world.enrol()
        device.sync()
        before = world.devices.get(device.id)
        device.sync()
        after = world.devices.get(device.id)
        assert after.version == before.version
        assert after.last_seen_at >= before.last_seen_at

    def test_utilisation_counts_leased_time(self, world: World) -> None:
        device = world.enrol()
        world.search(budget={"num_candidates": 1})
        world.worker.run()
        assert device.take() is not None
        assert 0.0 < world.devices.utilisation(device.id, timedelta(hours=1)) <= 1.0


class TestSpaceTables:
    def test_an_id_stands_for_the_table_it_was_registered_with(self, world: World) -> None:
        now = datetime(2026, 1, 2, tzinfo=UTC)
        mine = SpaceTable(id="mine", sha256="a" * 64, created_by="tok_1", created_at=now)
        other = dataclasses.replace(mine, sha256="b" * 64)
        assert world.uow.write(lambda tx: [tx.space_tables.add(mine), tx.space_tables.add(other)]) == [True, False]
        world.uow.write(lambda tx: tx.space_tables.add(dataclasses.replace(other, id="another")))
        assert world.uow.read(lambda tx: tx.space_tables.find("mine")) == mine
        assert world.uow.read(lambda tx: tx.space_tables.find("nobody")) is None
        assert [one.id for one in world.uow.read(lambda tx: tx.space_tables.all())] == ["another", "mine"]

    @pytest.mark.parametrize("wrong", [{"id": "a/b"}, {"id": ""}, {"id": "x" * 101}, {"sha256": "short"}])
    def test_an_id_that_no_spec_could_name_is_refused(self, wrong: dict[str, str]) -> None:
        with pytest.raises(InvalidValueError):
            SpaceTable(**{"id": "mine", "sha256": "a" * 64, "created_at": datetime.now(UTC), **wrong})  # type: ignore[arg-type]


class TestTokens:
    def test_only_the_first_start_makes_tokens(self, world: World) -> None:
        assert world.tokens.bootstrap() is None
        assert world.tokens.authenticate(world.secrets.admin_token).permits(Role.ADMIN)

    def test_secrets_are_not_stored(self, world: World) -> None:
        token, secret = world.tokens.create("ci", [Role.VIEWER])
        assert token.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
        assert not world.tokens.authenticate(secret).permits(Role.ENGINEER)
        with world.database.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT * FROM api_tokens")).all()
        assert secret not in str(rows)

    def test_a_revoked_or_expired_token_is_refused(self, world: World) -> None:
        revoked, secret = world.tokens.create("a", [Role.VIEWER])
        world.tokens.revoke(revoked.id)
        now = world.uow.read(lambda tx: tx.now())
        _, short = world.tokens.create("b", [Role.VIEWER], now + timedelta(hours=1))
        world.database.execute("UPDATE api_tokens SET expires_at = 1 WHERE name = 'b'")
        for gone in (secret, short, "nas_api_unknown"):
            with pytest.raises(NotAuthenticatedError):
                world.tokens.authenticate(gone)


class TestIdempotency:
    scope = IdempotencyScope(caller="tok", method="POST", path="/x", key="k")

    def test_the_second_call_is_answered_from_the_store(self, world: World) -> None:
        idempotency, calls = Idempotency(world.uow), []

        def action() -> StoredResponse:
            calls.append(1)
            return StoredResponse(status=202, headers=(("Location", "/x/1"),), body='{"a":1}')

        first = idempotency.run(self.scope, "fp", action)
        second = idempotency.run(self.scope, "fp", action)
        assert (first.replayed, second.replayed) == (False, True)
        assert first.response == second.response
        assert len(calls) == 1

    def test_other_content_under_the_same_key_is_refused(self, world: World) -> None:
        idempotency = Idempotency(world.uow)
        answer = StoredResponse(status=200, headers=(), body="")
        idempotency.run(self.scope, "fp", lambda: answer)
        with pytest.raises(IdempotencyKeyReusedError):
            idempotency.run(self.scope, "other", lambda: answer)

    def test_an_action_that_fails_leaves_no_trace(self, world: World) -> None:
        idempotency = Idempotency(world.uow)
        world.enrol()

        def fails() -> StoredResponse:
            world.search()
            raise ConflictError("after the effect")

        with pytest.raises(ConflictError):
            idempotency.run(self.scope, "fp", fails)
        assert world.searches.count(SearchQuery()) == 0
        answer = StoredResponse(status=200, headers=(), body="fine")
        assert idempotency.run(self.scope, "fp", lambda: answer).replayed is False


class TestTransactions:
    def test_an_error_rolls_everything_back(self, world: World) -> None:
        def work(tx: Transaction) -> None:
            tx.searches.add(new_search())
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            world.uow.write(work)
        assert world.searches.count(SearchQuery()) == 0

    def test_an_inner_write_joins_the_outer_one(self, world: World) -> None:
        def work(tx: Transaction) -> None:
            world.uow.write(lambda inner: inner.searches.add(new_search()))
            assert world.uow.read(lambda inner: inner.searches.count(SearchQuery())) == 1
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            world.uow.write(work)
        assert world.searches.count(SearchQuery()) == 0

    def test_what_cannot_be_stored_is_refused_and_not_tried_again(self, world: World) -> None:
        tries = []

        def work(tx: Transaction) -> None:
            tries.append(1)
            tx.searches.add(new_search(reason="a NUL \x00 character"))

        if world.database.name == "sqlite":
            world.uow.write(work)
        else:
            with pytest.raises(InvalidValueError, match="cannot be stored"):
                world.uow.write(work)
        assert len(tries) == 1

    def test_the_clock_is_utc_and_does_not_stand_still(self, world: World) -> None:
        first = world.uow.read(lambda tx: tx.now())
        second = world.uow.read(lambda tx: tx.now())
        assert first.tzinfo is not None
        assert second >= first
        assert abs(first - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.postgres
def test_a_lost_connection_is_replaced_and_the_work_done_again(postgres_database: TestDatabase) -> None:
    search, tries = new_search(), []

    def work(tx: Transaction) -> None:
        tx.searches.add(search)
        tries.append(1)
        if len(tries) == 1:
            postgres_database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            tx.now()

    postgres_database.uow.write(work)
    assert len(tries) == 2
    assert postgres_database.uow.read(lambda tx: tx.searches.get(search.id)) == search


class TestCandidateStates:
    def test_states_are_counted(self, world: World) -> None:
        search = run_to_end(world, world.enrol(), world.search())
        counts = world.uow.read(lambda tx: tx.candidates.count_states(search.id))
        assert counts == {CandidateState.COMPLETE: 6}


def enrolment_of(name: str) -> Enrolment:
    return Enrolment(name=name, device_type="testboard", capabilities=DeviceCapabilities(identity=IDENTITY))
