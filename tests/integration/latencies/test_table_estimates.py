"""A latency table estimates what nobody measured, once its reports compare 20 networks, and says what it stands on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nas_engine.cost.calibrated_tables.served_table import MIN_NETWORKS
from nas_engine.spaces.registry import create_space
from server.fleet.device import Device
from server.latencies.predictors.predictors import Predictors
from server.latency_tables.keeper import BatchKeeper
from server.measuring.store import MeasurementStore
from tests.integration.latencies.test_query import GENOTYPES, ask, asked, fit
from tests.support.worlds.api_world import SMALL_PARAMETERS, SMALL_SPACE, World
from tests.support.worlds.databases import PostgresServer
from tests.support.worlds.table_world import StepWorker, complete_table, measure_by_formula, network_us

SPACE = create_space("spos", SMALL_PARAMETERS)
TABLE = {"space": SMALL_SPACE, "device": {"device_type": "rk3588", "batch": 1}}


class Tables:
    """A world with a board, and what happens to tables and reports there."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.client = world, world.client()
        self.worker, self.board = StepWorker(world, folder), world.enrol()
        self.predictors = world.process.get(Predictors)

    def complete(self) -> str:
        """Order a table, and have it measured; its id."""
        table_id = complete_table(self.world, self.client, self.worker, self.board, SPACE, TABLE)
        self.world.process.get(BatchKeeper).advance_all()
        return table_id

    def report(self, table_id: str, num_networks: int, seed: int = 0) -> str:
        """Have networks compared; the report's id."""
        wanted = {"num_networks": num_networks, "seed": seed}
        answer = self.client.post(f"/api/v1/latency-tables/{table_id}/reports", json=wanted)
        assert answer.status_code == 202, answer.text
        self.worker.run()
        measure_by_formula(self.world, self.board, SPACE, batch=1)
        self.world.process.get(BatchKeeper).advance_all()
        return str(answer.json()["id"])

    def unknown(self, num: int = 5) -> list[dict[str, Any]]:
        """Answers for some architectures that nobody measured."""
        found = ask(self.client, asked(*GENOTYPES[::2]))["answers"]
        unmeasured = [one for one in found if one["kind"] != "measured"]
        assert len(unmeasured) > num
        return unmeasured[:num]


def test_a_report_of_20_networks_makes_a_table_estimate(world: World, tmp_path: Path) -> None:
    tell(Tables(world, tmp_path))


@pytest.mark.postgres
def test_a_table_estimates_on_postgresql_too(tmp_path: Path, postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        world = World.open(tmp_path, database_url=url)
        tell(Tables(world, tmp_path))
        world.close()


def tell(tables: Tables) -> None:
    """From a table that estimates nothing to one that does, is stale, is made anew, and loses what it stood on."""
    predictors, client, started = tables.predictors, tables.client, datetime.now(UTC)
    assert predictors.advance() == 0
    table_id = tables.complete()
    assert predictors.advance() == 0
    order = f"hilnas tables report {table_id} --networks {MIN_NETWORKS}"
    (answer, *_) = tables.unknown()
    assert answer["kind"] == "measure_it"
    assert f"a report of {MIN_NETWORKS} networks makes it an estimate: {order}" in answer["reason"]
    small = tables.report(table_id, 4, seed=1)
    assert predictors.advance() == 0
    assert f"its reports compare 4 of the {MIN_NETWORKS} networks" in tables.unknown()[0]["reason"]

    report = tables.report(table_id, MIN_NETWORKS)
    assert predictors.advance() == 1
    assert "are being made" in tables.unknown()[0]["reason"]
    assert predictors.advance() == 1  # the job that waits already
    assert fit(tables.world) == 1
    assert predictors.advance() == 0
    estimated = tables.unknown()
    num_networks = estimated[0]["estimate"]["num_networks"]
    assert MIN_NETWORKS <= num_networks <= MIN_NETWORKS + 4  # the same network may be in both reports
    table = client.get(f"/api/v1/latency-tables/{table_id}").json()
    for one in estimated:
        said = one["estimate"]
        assert (one["kind"], said["method"], said["source_id"]) == ("estimated", "table", table_id)
        assert (said["num_operators"], said["num_left_out"]) == (table["num_operators"], num_networks)
        assert said["num_measurements"] == said["num_operators"] + num_networks
        assert (said["nominal"], said["is_stale"], one["measurement"]) == (0.9, False, None)
        assert 0.6 < said["coverage"] <= 1.0
        assert report in said["validation"]
        assert small in said["validation"]
        assert one["low_us"] < one["latency_us"] < one["high_us"]
        assert one["hardware_key"] == table["hardware_key"]
        assert one["latency_us"] == pytest.approx(true_us(client, one["arch_id"]), rel=0.02)
    (made,) = ask(client, asked(*GENOTYPES[::2]))["predictors"]
    listed = {one["method"]: one for one in client.get("/api/v1/latency-predictors").json()["items"]}
    assert listed["table"] == made == client.get(f"/api/v1/latency-predictors/{made['id']}").json()
    assert (made["table_id"], made["num_fitted"], made["model"]) == (table_id, num_networks, "table_choices")
    assert sorted(made["report_ids"]) == sorted([small, report])
    assert made["quality"]["mean_relative_error"] < 0.02
    assert estimated[0]["estimate"]["predictor_id"] == made["id"]
    assert (listed["predictor"]["num_seen"], listed["predictor"]["table_id"]) == (num_networks, None)

    another = tables.report(table_id, 5, seed=2)
    assert predictors.advance() == 1
    assert tables.unknown()[0]["estimate"]["is_stale"]
    assert fit(tables.world) == 1
    fresh = tables.unknown()[0]["estimate"]
    assert (fresh["is_stale"], another in fresh["validation"]) == (False, True)

    doubt(tables.world, tables.board, started)
    assert predictors.advance() == 0
    (lost, *_) = ask(client, asked(*GENOTYPES[::2]))["answers"]
    assert lost["kind"] == "measure_it"
    assert f"latency table {table_id} estimates nothing" in lost["reason"]
    assert "came to be doubted: order it again" in lost["reason"]


def true_us(client: httpx2.Client, arch_id: str) -> float:
    """What the board would take."""
    genotype = next(one for one in GENOTYPES if SPACE.decode(one).arch_id == arch_id)
    return network_us(SPACE, list(genotype))


def doubt(world: World, board: Device, since: datetime) -> None:
    """A canary ran badly: what the board measured since is suspect."""

    def mark(tx: Any) -> None:
        assert MeasurementStore(tx).mark_measurements_suspect(board.id, since) > 0

    world.process.uow.write(mark)
