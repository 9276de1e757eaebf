"""The contracts of tokens, idempotency and transactions, against SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from server.access.token import Role
from server.artifacts.files import FileByteStore
from server.candidates.search import SearchQuery
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction
from server.core.errors import ConflictError, IdempotencyKeyReusedError, InvalidValueError, NotAuthenticatedError
from server.core.idempotency import Idempotency, IdempotencyScope, StoredResponse
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World
from tests.support.worlds.stored import new_search


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


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
        assert world.searches.count_searches(SearchQuery()) == 0
        answer = StoredResponse(status=200, headers=(), body="fine")
        assert idempotency.run(self.scope, "fp", lambda: answer).replayed is False


class TestTransactions:
    def test_an_error_rolls_everything_back(self, world: World) -> None:
        def work(tx: Transaction) -> None:
            SearchStore(tx).add_search(new_search())
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            world.uow.write(work)
        assert world.searches.count_searches(SearchQuery()) == 0

    def test_an_inner_write_joins_the_outer_one(self, world: World) -> None:
        def work(tx: Transaction) -> None:
            world.uow.write(lambda inner: SearchStore(inner).add_search(new_search()))
            assert world.uow.read(lambda inner: SearchStore(inner).count_searches(SearchQuery())) == 1
            raise ConflictError("no")

        with pytest.raises(ConflictError):
            world.uow.write(work)
        assert world.searches.count_searches(SearchQuery()) == 0

    def test_what_cannot_be_stored_is_refused_and_not_tried_again(self, world: World) -> None:
        tries = []

        def work(tx: Transaction) -> None:
            tries.append(1)
            SearchStore(tx).add_search(new_search(reason="a NUL \x00 character"))

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
        SearchStore(tx).add_search(search)
        tries.append(1)
        if len(tries) == 1:
            postgres_database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            tx.now()

    postgres_database.uow.write(work)
    assert len(tries) == 2
    assert postgres_database.uow.read(lambda tx: SearchStore(tx).get_search(search.id)) == search
