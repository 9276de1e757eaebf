"""Who owns what after the upgrade: whoever made it where that is known, else the oldest admin; on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from server.bootstrap.schema import migrate
from tests.support.processes import first_release
from tests.support.worlds.databases import PostgresServer

pytestmark = pytest.mark.xdist_group("first-release-data")
Rows = dict[str, list[dict[str, Any]]]
SIGNED = ("searches", "supernets", "ranking_studies", "space_tables")
"""What names the token that created it."""
UNSIGNED = ("enrolment_tokens", "devices", "artifacts")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """The first release's database, in which every second thing was made with the engineer's token, revoked since."""
    first_release.unpack(tmp_path)
    old = sa.create_engine(f"sqlite:///{tmp_path / 'home' / 'hilnas.sqlite3'}")
    with old.begin() as connection:
        (engineer,) = connection.execute(sa.text("SELECT id FROM api_tokens WHERE name = 'to be revoked'")).one()
        for table in SIGNED:
            connection.execute(
                sa.text(
                    f"UPDATE {table} SET created_by = :engineer WHERE created_by IS NOT NULL AND id IN "
                    f"(SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {table}) WHERE n % 2 = 1)"
                ),
                {"engineer": engineer},
            )
    with ExitStack() as stack:
        found = old
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            found = sa.create_engine(stack.enter_context(server.database(migrated=False)))
            first_release.create_first_schema(found)
            first_release.copy_rows(old, found)
        yield found
        found.dispose()
        old.dispose()


def test_everything_belongs_to_whoever_made_it_else_to_the_admin(engine: sa.Engine) -> None:
    before = first_release.rows_of(engine)
    migrate(engine)
    after = first_release.rows_of(engine)
    names = {row["id"]: row["name"] for row in after["principals"]}
    assert sorted(names.values()) == ["first admin", "to be revoked", "viewer"]
    tokens = {row["id"]: names[row["principal_id"]] for row in after["api_tokens"]}
    assert tokens == {row["id"]: row["name"] for row in before["api_tokens"]}
    for table in SIGNED:
        moved = after["networks"] if table == "supernets" else []  # what was retrained is a network now
        owned = {row["id"]: names[row["owner_id"]] for row in (*after[table], *moved)}
        made = {row["id"]: tokens.get(row["created_by"], "first admin") for row in before[table]}
        assert owned == made, table
        assert "to be revoked" in owned.values(), table
    for table in UNSIGNED:
        assert {names[row["owner_id"]] for row in after[table]} == {"first admin"}, table
    _check_batches(before, after, names)
    owners = {id: names[row["owner_id"]] for table in SIGNED for row in after[table] if (id := row["id"])}
    jobs = {row["id"]: names[row["owner_id"]] for row in after["jobs"]}
    of_jobs = {row["id"]: _owner_of_job(row, before, owners) for row in before["jobs"]}
    assert {id: jobs[id] for id in of_jobs} == of_jobs
    kinds = {(row["kind"], jobs[row["id"]]) for row in before["jobs"]}
    for kind in ("search_step", "convert", "measure", "train", "rank"):
        assert kinds >= {(kind, "first admin"), (kind, "to be revoked")}, kind


def _check_batches(before: Rows, after: Rows, names: Mapping[str, str]) -> None:
    """A latency table or report was a search then: it is still its owner's."""
    searches = {row["id"]: names[row["owner_id"]] for row in after["searches"]}
    batches = {row["id"]: names[row["owner_id"]] for row in after["latency_batches"]}
    assert batches
    assert batches == {id: searches[id] for id in batches}
    assert set(batches.values()) == {"first admin", "to be revoked"}
    assert set(searches) == {row["id"] for row in before["searches"]}


def _owner_of_job(job: Mapping[str, Any], before: Rows, owners: Mapping[str, str]) -> str:
    searches = {row["id"]: row["search_id"] for row in before["candidates"]}
    served = job["search_id"] or searches.get(job["candidate_id"]) or job["supernet_id"]
    if job["kind"] == "rank":
        served = job["payload"]["study_id"]
    return owners.get(served, "first admin")
