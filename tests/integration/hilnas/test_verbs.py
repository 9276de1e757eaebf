"""What each noun's verbs do against a real server, with names where ids stand; found by HILNAS_HOME alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hilnas.cli.main import main
from nas_engine.domain.measurement import DeviceClass
from server.jobs.states import JobKind
from server.training.networks.networks import Networks
from server.training.supernets import Supernets
from server.training.training import TrainingProgress
from tests.integration.measuring.test_measure_model import model_bytes
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import SMALL_PARAMETERS, World, cheap_spec
from tests.support.worlds.enrolment_tokens import token_for

ZONED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d")
BOARD, KIND = "bench-7", "verb-board"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("verbs") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def hands(server: RunningServer) -> Iterator[World]:
    """Worker and board on the server's database."""
    world = World.open(server.home)
    token = token_for(world.process.uow, DeviceClass.EMULATED, KIND)
    world.enrol(BOARD, KIND, DeviceClass.EMULATED, token)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def _found_by_the_home_folder(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HILNAS_URL", "HILNAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HILNAS_HOME", str(server.home))
    monkeypatch.setenv("COLUMNS", "220")


def _run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    status = main(argv)
    printed = capsys.readouterr()
    assert status == 0, printed.err or printed.out
    return printed.out


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(_run(capsys, *argv, "--json"))


def test_the_server_that_is_meant_is_named(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"from {server.home / 'server.json'}" in _run(capsys, "server", "status")
    found = _json(capsys, "server", "status")
    assert found["url"] == server.url
    assert found["token_from"].endswith("admin.token")
    assert server.token not in json.dumps(found)


def test_jobs_of_an_owner_are_listed_shown_and_cancelled_together(
    hands: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(model_bytes())
    made = [
        _json(capsys, "measurements", "create", str(model), "--device-type", KIND, "--profile", profile)["id"]
        for profile in ("quick", "standard", "audit")
    ]
    _json(capsys, "search", "create", _spec(tmp_path, cheap_spec()))  # its jobs are no orders of their own
    listed = _json(capsys, "jobs", "list", "--owner", "first admin", "--kind", "measure")
    assert {one["id"] for one in listed} == set(made)
    assert ZONED.search(_run(capsys, "jobs", "list"))
    assert "itself" in _run(capsys, "jobs", "show", made[0])
    assert _json(capsys, "jobs", "get", made[0]) == _json(capsys, "jobs", "show", made[0])
    assert made[0] in _run(capsys, "devices", "queue", BOARD)
    assert "about to go [s]" in _run(capsys, "devices", "queue", "--device-type", KIND)
    assert [one["id"] for one in _json(capsys, "devices", "queue", BOARD)] == made
    assert [one["state"] for one in _json(capsys, "jobs", "cancel", *made[:1])] == ["cancelled"]
    assert [one["id"] for one in _json(capsys, "jobs", "cancel", "--owner", "first admin")] == list(reversed(made[1:]))
    assert _run(capsys, "jobs", "cancel", "--owner", "first admin") == "nothing of first admin waits\n"
    assert main(["jobs", "cancel"]) == 1
    assert "give jobs, or --owner" in capsys.readouterr().err
    assert main(["jobs", "follow", made[0]]) == 1
    assert "cancelled" in capsys.readouterr().err


def _spec(folder: Path, spec: object, name: str = "spec.yaml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return str(path)


def test_a_search_is_named_shown_and_several_are_cancelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first of two", "second of two"):
        _run(capsys, "search", "create", _spec(tmp_path, {**cheap_spec(), "name": name}))
    assert "first of two" in _run(capsys, "search", "show", "first of two")
    shown, read = (_json(capsys, "search", verb, "first of two") for verb in ("show", "get"))
    assert {**shown, "time": None} == {**read, "time": None}  # which went on between
    ended = _json(capsys, "search", "cancel", "first of two", "second of two")
    assert [(one["name"], one["state"]) for one in ended] == [
        ("first of two", "cancelled"),
        ("second of two", "cancelled"),
    ]
    assert ZONED.search(_run(capsys, "search", "list"))


def test_trainings_are_listed_shown_and_cancelled_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"id": "spos", "parameters": {**SMALL_PARAMETERS, "input_channels": 1}}
    file = _spec(tmp_path, {"space": space, "dataset": "fashion-mnist-12k", "epochs": 1})
    _run(capsys, "supernets", "train", file, "--name", "shared")
    _run(capsys, "networks", "train", file, "--name", "alone", "-a", json.dumps([0] * 4))
    shared_id = _json(capsys, "supernets", "get", "shared")["id"]
    for noun, name in (("supernets", "shared"), ("networks", "alone")):
        (listed,) = _json(capsys, noun, "list")
        assert (listed["name"], listed["state"]) == (name, "queued")
        assert "fashion-mnist-12k" in _run(capsys, noun, "list", "--state", "queued", "--space", "spos")
        assert name in _run(capsys, noun, "show", name)
        assert _json(capsys, noun, "get", name)["id"] == listed["id"]
        assert "cancelled" in _run(capsys, noun, "cancel", name)
        assert _json(capsys, noun, "list", "--state", "queued") == []
        assert main([noun, "follow", name]) == 1
        assert "is cancelled" in capsys.readouterr().err
    assert _json(capsys, "supernets", "versions", "shared") == []
    search = _spec(tmp_path, {**cheap_spec(), "space": space, "objectives": [{"metric": "top1"}]}, "search.yaml")
    assert main(["search", "create", search, "--supernet", "shared"]) == 1
    assert f"supernet {shared_id}" in capsys.readouterr().err.replace("'", ""), "refused for what it is, by its id"
    assert main(["search", "create", search, "--supernet", "nobody"]) == 1
    assert "there is no supernet" in capsys.readouterr().err
    assert _json(capsys, "networks", "models", "alone") == []
    supernet = _spec(tmp_path, {"space": space, "dataset": "d", "epochs": 1, "strategy": {"kind": "uniform"}})
    assert main(["networks", "train", supernet]) == 1
    assert "`hilnas supernets train` takes it" in capsys.readouterr().err


def test_what_a_training_reported_is_listed_by_step(
    hands: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"id": "spos", "parameters": {**SMALL_PARAMETERS, "input_channels": 1}}
    file = _spec(tmp_path, {"space": space, "dataset": "fashion-mnist-12k", "epochs": 1})
    _run(capsys, "supernets", "train", file, "--name", "curved")
    _run(capsys, "networks", "train", file, "--name", "curved too", "-a", json.dumps([0] * 4))
    named: tuple[tuple[str, str, Supernets | Networks], ...] = (
        ("supernets", "curved", hands.process.get(Supernets)),
        ("networks", "curved too", hands.process.get(Networks)),
    )
    for noun, name, trainings in named:
        assert _run(capsys, noun, "curve", name) == "Nothing has been reported of it yet.\n"
        job = hands.dispatch.claim("worker-1", (JobKind.TRAIN,))
        assert job is not None
        assert job.lease is not None
        trainings.start_training(job.lease)
        for step in range(1, 31):
            known = {"top1": 0.25, "learning_rate": 0.05, "images_per_s": 640.5}
            trainings.record_progress(
                job.lease, TrainingProgress(step=step, num_steps=30, loss=1.0 / step, metrics=known)
            )
        shown = _run(capsys, noun, "curve", name)
        for title in ("training loss", "training top1 [%]", "learning rate", "throughput [images/s]"):
            assert title in shown
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "640.5" in line]
        assert rows[0][:5] == ["1", "1", "25", "0.05", "640.5"]
        assert (len(rows), rows[-1][0]) == (20, "30")
        assert "20 of the 30 points that are kept" in shown
        read = _json(capsys, noun, "curve", name)
        assert [point["step"] for point in read["points"]] == list(range(1, 31))
        assert [one["step"] for one in _json(capsys, noun, "curve", name, "--max-points", "2")["points"]] == [1, 30]
        _run(capsys, noun, "cancel", name)


def test_a_board_is_steered_by_its_name(hands: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert "draining" in _run(capsys, "devices", "drain", BOARD, "--reason", "new fan")
    assert "new fan" in _run(capsys, "devices", "show", BOARD)
    assert _json(capsys, "devices", "resume", BOARD)["state"] == "active"
    reserved = _run(capsys, "devices", "reserve", BOARD, "--for", "Ada", "--minutes", "5")
    assert ZONED.search(reserved), "the end of a reservation has its zone"
    _run(capsys, "devices", "release", BOARD)
    assert _json(capsys, "devices", "label", BOARD, "rack=3", "room=b")["labels"] == {"rack": "3", "room": "b"}
    assert "rack=3, room=b" in _run(capsys, "devices", "show", BOARD)
    assert main(["devices", "label", BOARD, "rack"]) == 1
    assert "write KEY=VALUE" in capsys.readouterr().err
    assert _json(capsys, "devices", "canaries", BOARD) == []


def test_presets_and_data_sets_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {one["kind"] for one in _json(capsys, "presets", "list")}
    assert kinds == {"search", "supernet", "network"}
    shown = _run(capsys, "presets", "show", "fashion-mnist-demo")
    assert yaml.safe_load(shown) == _json(capsys, "presets", "get", "fashion-mnist-demo")["spec"]
    assert [one["name"] for one in _json(capsys, "datasets", "list")] == ["fashion-mnist-12k"]
    assert _json(capsys, "datasets", "get", "fashion-mnist-12k")["num_classes"] == 10
    assert main(["datasets", "show", "fashion-mnist"]) == 1
    assert "did you mean fashion-mnist-12k?" in capsys.readouterr().err


def test_files_are_stored_listed_and_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("measured on a Tuesday")
    digest = _run(capsys, "artifacts", "upload", str(file)).strip()
    assert digest in {one["sha256"] for one in _json(capsys, "artifacts", "list")}
    _run(capsys, "artifacts", "download", digest, "--out", str(tmp_path / "back.txt"))
    assert (tmp_path / "back.txt").read_text() == file.read_text()


def test_tokens_are_shown_and_enrolments_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    made = _json(capsys, "tokens", "create", "short lived", "--days", "1")
    assert made["secret"] not in _run(capsys, "tokens", "show", "short lived")
    assert ZONED.search(_run(capsys, "tokens", "show", made["id"]))
    _run(capsys, "tokens", "revoke", "short lived")
    assert _json(capsys, "tokens", "get", made["id"])["revoked_at"] is not None
    enrolment = _json(capsys, "tokens", "enrolment", "one rack")
    _run(capsys, "tokens", "revoke", enrolment["id"], "--enrolment")
    revoked = {one["id"]: one["revoked_at"] for one in _json(capsys, "tokens", "enrolments")}
    assert revoked[enrolment["id"]] is not None


def test_a_token_that_is_not_accepted_is_named_by_where_it_was_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: RunningServer
) -> None:
    monkeypatch.setenv("HILNAS_TOKEN", "nas_wrong")
    assert main(["search", "list"]) == 1
    said = capsys.readouterr().err
    assert "does not accept the token (from HILNAS_TOKEN)" in said
    assert "bearer" not in said
    monkeypatch.delenv("HILNAS_TOKEN")
    monkeypatch.setenv("HILNAS_HOME", str(tmp_path))
    assert main(["search", "list", "--server", server.url]) == 1
    assert f"none in HILNAS_TOKEN or {tmp_path / 'admin.token'}" in capsys.readouterr().err


@pytest.mark.parametrize("strange", ["../../../etc/passwd", "a b", "x?y=1", "50%", "#"])
def test_an_id_is_sent_as_it_is(strange: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "get", strange]) == 1
    said = capsys.readouterr().err
    assert "at /etc/passwd" not in said
    assert "not-found" in said
