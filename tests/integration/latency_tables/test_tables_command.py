"""``hilnas tables`` against a real server; the worker steps in this process, the board answers by formula."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas_engine.spaces.registry import create_space
from server.fleet.device import Device
from tests.support.commands import tables
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import World
from tests.support.worlds.table_world import DENSE_SPACE, OVERHEAD_US, StepWorker, measure_by_formula

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("tables") / "home") as running:
        yield running


@pytest.fixture(autouse=True)
def _found_by_environment(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_URL", server.url)
    monkeypatch.setenv("HILNAS_TOKEN", server.token)
    monkeypatch.setenv("COLUMNS", "200")


class Hands:
    """Worker and board, at work in a thread until `end`."""

    def __init__(self, world: World, board: Device, folder: Path) -> None:
        self._world, self._board, self._worker = world, board, StepWorker(world, folder)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        space = create_space(DENSE_SPACE["id"], DENSE_SPACE["parameters"])
        while not self._over.is_set():
            if self._worker.run() + measure_by_formula(self._world, self._board, space) == 0:
                self._over.wait(0.05)

    def end(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def hands(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    world = World.open(server.home)
    token = (server.home / "enrolment.token").read_text().strip()
    at_work = Hands(world, world.enrol("bench-1", enrolment_token=token), tmp_path_factory.mktemp("worker"))
    yield at_work
    at_work.end()
    world.close()


def _run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    status = tables.main(list(argv))
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(_run(capsys, *argv, "--json"))


def _rows(text: str) -> Sequence[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.timeout(180)
def test_a_table_is_measured_reported_and_exported(
    hands: Hands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "table.yaml"
    spec.write_text(yaml.safe_dump({"name": "operators", "space": DENSE_SPACE}), encoding="utf-8")
    options = ("--device-type", "rk3588", "--batch", "4")
    shown = _run(capsys, "create", str(spec), *options, "--follow")
    assert "block1.head.0-1" in shown
    (listed,) = _json(capsys, "list")
    assert (listed["name"], listed["state"], listed["batch"]) == ("operators", "completed", 4)
    assert listed["num_measured"] == listed["num_operators"]
    table_id = listed["id"]
    assert len(_rows(_run(capsys, "export", table_id))) == listed["num_operators"]
    assert _json(capsys, "show", table_id)["hardware_key"] == listed["hardware_key"]

    shown = _run(capsys, "report", table_id, "--networks", "5", "--logit-std", "4", "--follow")
    assert all(name in shown for name in ("chained", "local", "operators", "Kendall tau"))
    (made,) = _json(capsys, "reports", table_id)
    found = _json(capsys, "show-report", table_id, made["id"])
    by_name = {one["estimator"]: one for one in found["agreements"]}
    assert by_name["operators"]["mean_error_us"] == pytest.approx(-OVERHEAD_US, abs=0.1)
    rows = _rows(_run(capsys, "export", table_id, "--report", made["id"]))
    assert [row["candidate_id"] for row in rows] == [row["candidate_id"] for row in found["rows"]]
    lines = _run(capsys, "export", table_id, "--report", made["id"], "--format", "ndjson").splitlines()
    assert [json.loads(line) for line in lines] == found["rows"]


def test_what_cannot_be_measured_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["create", "--space", "densenas-mbv2"]) == 1
    assert "--device-type" in capsys.readouterr().err
    assert tables.main(["create", "--space", "densenas-mbv2", "--device-type", "nowhere"]) == 1
    assert "no device of type 'nowhere'" in capsys.readouterr().err
    assert tables.main(["report", "srch_01jd3x5w8k2v7m4q9r6t1y0z3a"]) == 1
    assert "latency table" in capsys.readouterr().err
