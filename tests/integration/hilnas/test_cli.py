"""The hilnas command against a real server; the worker and the board are played by hand on the same database."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass, ValidityFlag
from server.fleet.device import Device
from tests.support.commands import devices, measurements, search, tokens, train
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import NOISY, SMALL_PARAMETERS, World, latency_spec

Main = Callable[[Sequence[str]], int]
_GENOTYPES = ([0, 0, 0, 0], [1, 1, 1, 1], [3, 3, 3, 3])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("cli") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def hands(server: RunningServer) -> Iterator[World]:
    """Worker and board on the server's database."""
    world = World.open(server.home)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def _found_by_environment(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_URL", server.url)
    monkeypatch.setenv("HILNAS_TOKEN", server.token)
    monkeypatch.setenv("COLUMNS", "200")


def _run(main: Main, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    status = main(list(argv))
    printed = capsys.readouterr()
    assert status == 0, printed.err or printed.out
    return printed.out


def _json(main: Main, capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(_run(main, capsys, *argv, "--json"))


def _spec_file(folder: Path, spec: dict[str, JsonValue]) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def _finish(world: World, device: Device, flags: tuple[ValidityFlag, ...] = NOISY) -> None:
    """Do everything a worker and a board would do for one search."""
    world.step(_GENOTYPES)
    world.convert_all()
    world.measure_all(device, flags=flags)
    world.step(last=True)


def test_a_search_is_followed_to_its_front(
    server: RunningServer, hands: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = hands.enrol("bench-1", "rk3588")
    spec = _spec_file(tmp_path, latency_spec(measurement={"validity_policy": "accept_flagged"}))
    search_id = _run(search.main, capsys, "create", str(spec)).strip()
    player = threading.Thread(target=_finish, args=(hands, board))
    player.start()
    shown = _run(search.main, capsys, "follow", search_id)
    player.join(30)
    assert "completed" in shown
    assert "Pareto front" in shown
    assert "measured latency on a board)" in shown
    assert "noisy" in shown
    listed = _json(search.main, capsys, "list", "--state", "completed")
    assert [one["id"] for one in listed] == [search_id]
    found = _json(search.main, capsys, "candidates", search_id, "--order-by", "-macs")
    assert [one["macs"] for one in found] == sorted((one["macs"] for one in found), reverse=True)
    bound = str(found[1]["macs"])
    assert len(_json(search.main, capsys, "candidates", search_id, "--where", f"macs:le:{bound}")) == 2
    assert "±" in _run(search.main, capsys, "candidates", search_id)
    assert _json(search.main, capsys, "front", search_id)["latency_kind"] == "measured"
    events = [json.loads(line) for line in _run(search.main, capsys, "events", search_id).splitlines()]
    assert [event["type"] for event in events if event["type"] in {"state", "generation"}][-1] == "state"
    rows = list(csv.DictReader(io.StringIO(_run(measurements.main, capsys, "export", "--search", search_id))))
    assert len(rows) == 3
    assert {row["validity"] for row in rows} == {"noisy"}


def test_an_empty_listing_of_measurements_says_which_filter_hides_what(
    server: RunningServer, hands: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Nothing matches --device-type nothing" in _run(
        measurements.main, capsys, "list", "--device-type", "nothing"
    )
    token = (server.home / "enrolment.token").read_text().strip()
    board = hands.enrol("sim-1", "rk-sim", DeviceClass.SIMULATED, enrolment_token=token)
    spec = _spec_file(tmp_path, latency_spec(device={"device_type": "rk-sim"}))
    search_id = _run(search.main, capsys, "create", str(spec)).strip()
    _finish(hands, board, ())
    printed = _run(measurements.main, capsys, "list", "--search", search_id)
    assert printed == "Nothing measured matches, but 3 simulated: add --kind simulated to see them.\n"
    assert "simulated" in _run(measurements.main, capsys, "list", "--search", search_id, "--kind", "simulated")
    assert "simulated" in _run(search.main, capsys, "candidates", search_id)
    shown = _run(search.main, capsys, "front", search_id)
    assert "simulated latency on a simulated device" in shown
    assert shown.lower().count("macs") == 1, "an objective's column is not repeated"


def test_a_search_is_cancelled_and_its_follower_fails(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.json"
    document = {**latency_spec(), "objectives": [{"metric": "macs"}], "device": None}
    spec.write_text(json.dumps(document), encoding="utf-8")
    search_id = _json(search.main, capsys, "create", str(spec))["id"]
    assert "paused" in _run(search.main, capsys, "pause", search_id)
    assert "running" in _run(search.main, capsys, "resume", search_id)
    assert "cancelled" in _run(search.main, capsys, "cancel", search_id)
    assert search.main(["follow", search_id]) == 1
    assert "is cancelled" in capsys.readouterr().err


def test_a_search_whose_bound_nothing_meets_is_warned_of_and_fails_with_the_nearest(
    server: RunningServer, hands: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = hands.enrol("bench-limits", "rk-limits")
    device: dict[str, JsonValue] = {"device_type": "rk-limits"}
    _run(search.main, capsys, "create", str(_spec_file(tmp_path, latency_spec(device=device))))
    _finish(hands, board, ())
    spec = _spec_file(tmp_path, latency_spec(device=device, constraints=[{"metric": "latency_us", "maximum": 0.5}]))
    assert "warning: none of the 3 architectures" in _run(search.main, capsys, "create", str(spec), "--validate")
    assert search.main(["create", str(spec)]) == 0
    assert capsys.readouterr().err.startswith("warning: none of the 3 architectures of ")
    hands.step(_GENOTYPES)
    hands.step(last=True)  # every latency is known
    (failed,) = _json(search.main, capsys, "list", "--state", "failed")
    assert search.main(["follow", failed["id"]]) == 1
    assert "is failed: no candidate met latency <= 0.5 us: nearest " in capsys.readouterr().err
    assert failed["end_reason"] == "no_feasible_candidate"
    assert len(_json(search.main, capsys, "candidates", failed["id"])) == 3
    with httpx2.Client(base_url=server.url) as browser:
        browser.post("/login", data={"token": server.token})
        page = browser.get(f"/searches/{failed['id']}").text
    assert "no candidate met latency &lt;= 0.5 us" in page
    assert "Nothing met the constraints" in page


def test_an_impossible_spec_is_refused_with_every_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    impossible = latency_spec(device={"device_type": "nothing"}, constraints=[{"metric": "macs", "maximum": 1}])
    spec = _spec_file(tmp_path, impossible)
    assert search.main(["create", str(spec)]) == 1
    said = capsys.readouterr().err
    assert "/device/device_type" in said
    assert "/constraints/0/maximum" in said
    assert search.main(["create", str(spec), "--validate", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["valid"]
    assert search.main(["create", str(spec), "--validate"]) == 1
    assert capsys.readouterr().out.startswith("2 wrong:\n  /")


def test_what_a_spec_would_do_is_said_for_people(
    server: RunningServer, hands: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hands.enrol("bench-5", "rk3588")
    said = _run(search.main, capsys, "create", str(_spec_file(tmp_path, latency_spec())), "--validate")
    assert said.startswith("valid: ")
    assert "devices that can measure for it now: " in said
    assert "params: " in said


@pytest.mark.parametrize(
    ("content", "said"), [("{", "malformed"), ("- 1", "no spec"), ("a: [", "malformed"), (None, "cannot be read")]
)
def test_a_spec_file_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / "spec.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert search.main(["create", str(path)]) == 1
    assert said in capsys.readouterr().err


def test_a_supernet_is_ordered_by_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = _spec_file(tmp_path, {"space": {"id": "spos", "parameters": {**SMALL_PARAMETERS, "input_channels": 1}}})
    made = _json(train.main, capsys, str(file), "--dataset", "fashion-mnist-12k", "--epochs", "1", "--name", "mine")
    assert (made["spec"]["dataset"], made["spec"]["epochs"], made["name"]) == ("fashion-mnist-12k", 1, "mine")
    assert train.main(["--space", "spos"]) == 1
    assert "dataset" in capsys.readouterr().err


def test_boards_are_listed_drained_and_reserved(
    server: RunningServer, hands: World, capsys: pytest.CaptureFixture[str]
) -> None:
    device = hands.enrol("bench-9", "jetson")
    assert "bench-9" in _run(devices.main, capsys, "list", "--device-type", "jetson")
    assert "draining" in _run(devices.main, capsys, "drain", device.id, "--reason", "new fan")
    assert "active" in _run(devices.main, capsys, "resume", device.id)
    assert "reserved until" in _run(devices.main, capsys, "reserve", device.id, "--for", "Ada", "--minutes", "5")
    assert "reserved until" not in _run(devices.main, capsys, "release", device.id)
    assert "jetson" in {kind["device_type"] for kind in _json(devices.main, capsys, "types")}


def test_an_admin_says_what_devices_count_as(
    server: RunningServer, hands: World, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--class", "board", "--device-type", "orin", "--max-uses", "1", "--days", "2")
    made = _json(tokens.main, capsys, "enrolment", "one orin", *options)
    assert (made["device_class"], made["device_type"], made["max_uses"]) == ("board", "orin", 1)
    board = hands.enrol("orin-1", "orin", enrolment_token=made["secret"])
    assert "its token" in _run(devices.main, capsys, "list", "--device-type", "orin")
    confirmed = _run(devices.main, capsys, "confirm", board.id, "--class", "emulated", "--reason", "a loan")
    assert confirmed == f"{board.id}  orin-1  emulated, confirmed\n"
    shown = _run(devices.main, capsys, "list", "--device-type", "orin")
    assert "an admin" in shown
    assert "a loan" in shown
    assert "retired" in _run(devices.main, capsys, "retire", board.id)
    assert devices.main(["resume", board.id]) == 1
    capsys.readouterr()
    assert "active" in _run(devices.main, capsys, "unretire", board.id)
    assert tokens.main(["enrolment", "boards", "--class", "board"]) == 1
    assert "a token for boards names their type" in capsys.readouterr().err


def test_a_token_is_made_used_and_revoked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = _json(tokens.main, capsys, "create", "reader", "--role", "viewer", "--days", "1")
    assert made["roles"] == ["viewer"]
    assert made["owner"]["id"] in {one["id"] for one in _json(tokens.main, capsys, "principals")}
    assert _run(tokens.main, capsys, "weigh", "reader", "2.5") == "reader has weight 2.5\n"
    assert _json(tokens.main, capsys, "weigh", made["owner"]["id"], "0.5")["weight"] == 0.5
    assert tokens.main(["weigh", "reader", "0.01"]) == 2
    assert "WEIGHT" in capsys.readouterr().err
    shown = _run(tokens.main, capsys, "principals")
    assert "reader" in shown
    assert "0.5" in shown
    assert "list" not in made["secret"]
    assert search.main(["list", "--token", made["secret"]]) == 0
    capsys.readouterr()
    assert search.main(["cancel", "srch_x", "--token", made["secret"]]) == 1
    assert "needs the role engineer" in capsys.readouterr().err
    assert _run(tokens.main, capsys, "revoke", made["id"]) == ""
    assert search.main(["list", "--token", made["secret"]]) == 1
    assert "unauthenticated" in capsys.readouterr().err
    assert _run(tokens.main, capsys, "enrolment", "lab").startswith("nas_enr_")


def test_on_its_own_machine_a_user_needs_no_token(
    server: RunningServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HILNAS_TOKEN")
    monkeypatch.setenv("HILNAS_HOME", str(server.home))
    assert isinstance(_json(search.main, capsys, "list"), list)
    monkeypatch.setenv("HILNAS_HOME", str(server.home / "elsewhere"))
    assert search.main(["list"]) == 1
    assert "unauthenticated" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["list", "--server", "http://127.0.0.1:1"]) == 5
    assert "no answer from http://127.0.0.1:1" in capsys.readouterr().err
