"""Devices of the first release that called themselves boards: nobody vouches for them, and simulators are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from server.bootstrap.schema import migrate
from tests.support.processes import first_release
from tests.support.worlds.databases import PostgresServer

pytestmark = pytest.mark.xdist_group("first-release-data")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """The first release's database, with an onnxruntime and a fake device that called themselves boards."""
    first_release.unpack(tmp_path)
    old = sa.create_engine(f"sqlite:///{tmp_path / 'home' / 'hilnas.sqlite3'}")
    with old.begin() as connection:
        for name in ("bench-1", "bench-2"):
            (said,) = connection.execute(sa.text("SELECT capabilities FROM devices WHERE name = :n"), {"n": name}).one()
            document = json.loads(said)
            document["identity"]["device_class"] = "board"
            connection.execute(
                sa.text("UPDATE devices SET capabilities = :c WHERE name = :n"), {"c": json.dumps(document), "n": name}
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


def test_their_class_is_their_own_word_and_a_simulator_is_no_board(engine: sa.Engine) -> None:
    migrate(engine)
    rows = first_release.rows_of(engine)
    devices = {row["name"]: row for row in rows["devices"]}
    assert {row["class_source"] for row in devices.values()} == {"declared"}
    assert all(row["identity_since"] == row["enrolled_at"] for row in devices.values())
    board, simulator = devices["bench-2"], devices["bench-1"]
    assert (board["class_limit"], board["class_reason"]) == ("board", "")
    assert simulator["class_limit"] == simulator["capabilities"]["identity"]["device_class"] == "simulated"
    assert "'fake' computes its times" in simulator["class_reason"]
    assert {(row["device_class"], row["device_type"]) for row in rows["enrolment_tokens"]} == {("emulated", None)}
