"""Fronts and answers of searches with several boards: over REST, by the SDK and the command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from hilnas.cli import main as cli
from hilnas.cli.exit_status import ExitStatus
from hilnas.client.client import Hilnas
from hilnas.client.errors import InvalidRequestError
from nas_engine.domain.measurement import DeviceClass
from server.searches.schemas import SearchResource
from tests.support.worlds.api_world import ADMIN, World
from tests.support.worlds.served_world import served

GENOTYPES = [(0, 0, 0, 0), (1, 0, 0, 0), (2, 1, 0, 0)]
EMULATED = "latency_us@cpu-emulator"
PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "search_for_several_boards.md"


def _spec_of_page() -> str:
    """The file that the page prints."""
    found = re.search(r"`several_boards.yaml`:\n\n```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = World.open(tmp_path_factory.mktemp("boards") / "home")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with served(world) as address:
        yield address


@pytest.fixture(scope="module")
def nas(url: str) -> Iterator[Hilnas]:
    with Hilnas(url, ADMIN) as client:
        yield client


@pytest.fixture(scope="module")
def search(world: World, nas: Hilnas) -> SearchResource:
    """The page's search, of three candidates: at 8000, 8080 and 8160.8 us on the board, at 20400, 20200 and 20000 us on
    the emulator.
    """
    board, emulator = world.enrol(), world.enrol("desk-1", "cpu-emulator", DeviceClass.EMULATED)
    made = nas.searches.create(yaml.safe_load(_spec_of_page()))
    world.step(GENOTYPES)
    world.convert_all()
    world.measure_all(board, 8000.0)
    for latency_us in (20400.0, 20200.0, 20000.0):
        job = world._assigned(emulator)
        assert job is not None
        world.put_result(emulator, job, latency_us)
    world.step(last=True)
    return nas.searches.get(made.id)


@pytest.fixture
def client(world: World, search: SearchResource) -> httpx2.Client:
    del search
    return world.client()


def test_a_search_says_what_each_board_is(search: SearchResource, client: httpx2.Client) -> None:
    assert search.state.value == "completed", search.reason
    assert set(search.board_hardware_keys) == {"cpu-emulator"}
    assert search.board_hardware_keys["cpu-emulator"] != search.hardware_key
    report = client.post("/api/v1/searches:validate", json=search.spec.model_dump(mode="json")).json()
    assert report["valid"]
    assert report["board_hardware_keys"] == search.board_hardware_keys


def test_the_front_for_all_boards_has_an_axis_for_each(client: httpx2.Client, search: SearchResource) -> None:
    front = client.get(f"/api/v1/searches/{search.id}/front").json()
    assert [one["metric"] for one in front["objectives"]] == ["macs", "latency_us", EMULATED]
    assert [one["column"] for one in front["objectives"]][2] == "latency p50 on cpu-emulator"
    kinds = [(one["name"], one["metric"], one["latency_kind"], one["device_class"]) for one in front["boards"]]
    assert kinds == [
        ("device", "latency_us", "measured", "board"),
        ("cpu-emulator", EMULATED, "measured", "emulated"),
    ]
    values = {one["name"]: one for one in front["points"][0]["candidate"]["values"]}
    assert values[EMULATED]["low"] is not None, "its samples gave an interval"


def test_the_front_of_one_board_goes_by_its_latency_alone(client: httpx2.Client, search: SearchResource) -> None:
    path = f"/api/v1/searches/{search.id}/front"
    own, emulated = (client.get(path, params={"board": name}).json() for name in ("device", "cpu-emulator"))
    assert [one["metric"] for one in own["objectives"]] == ["macs", "latency_us"]
    assert [one["metric"] for one in emulated["objectives"]] == ["macs", EMULATED]
    assert (own["device_class"], emulated["device_class"]) == ("board", "emulated")
    assert emulated["hardware_key"] == search.board_hardware_keys["cpu-emulator"]
    seqs = [[point["candidate"]["seq"] for point in front["points"]] for front in (own, emulated)]
    both = client.get(path).json()
    assert set(seqs[0]) | set(seqs[1]) <= {point["candidate"]["seq"] for point in both["points"]}
    assert seqs[0] != seqs[1]
    refused = client.get(path, params={"board": "rk3566"})
    assert refused.status_code == 422
    assert "its boards are device, cpu-emulator" in refused.text


def test_candidates_are_sorted_filtered_and_exported_by_the_latency_on_a_board(
    client: httpx2.Client, search: SearchResource
) -> None:
    path = f"/api/v1/searches/{search.id}/candidates"
    by_emulator = client.get(path, params={"order_by": f"-{EMULATED}"}).json()["items"]
    assert [one["seq"] for one in by_emulator] == [1, 2, 3]
    fast = client.get(path, params={"metric": [f"{EMULATED}:le:20250", "latency_us:le:8100"]}).json()["items"]
    assert [one["seq"] for one in fast] == [2]
    header, first, *_ = client.get(path, headers={"Accept": "text/csv"}).text.splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=False))
    assert float(row[EMULATED]) == pytest.approx(20400.0, abs=1.0)
    unknown = client.get(path, params={"order_by": "latency_us@rk3566"})
    assert unknown.status_code == 422
    assert "unknown metric 'latency_us@rk3566'" in unknown.text


def test_what_to_ship_within_a_latency_on_each_board(nas: Hilnas, search: SearchResource) -> None:
    answer = nas.searches.answer(search.id, latency_ms={"device": 8.1, "cpu-emulator": 20.25})
    assert answer.ship is not None
    assert answer.ship.short_id.endswith(".2")
    assert answer.headline.startswith("At <= 8.1 ms on rk3588 and <= 20.25 ms on cpu-emulator: ship "), answer.headline
    assert "latency on rk3588 8.08" in answer.headline
    assert "latency on cpu-emulator 20.2" in answer.headline
    assert "(measured on emulated)" in answer.headline
    nothing = nas.searches.answer(search.id, latency_ms={"device": 8.01, "cpu-emulator": 20.1})
    assert nothing.ship is None
    assert "nothing meets that" in nothing.headline


def test_what_to_ship_on_one_board(nas: Hilnas, search: SearchResource) -> None:
    answer = nas.searches.answer(search.id, latency_us=20_250, board="cpu-emulator")
    assert [(bound.metric, bound.maximum) for bound in answer.bounds] == [(EMULATED, 20_250.0)]
    assert {one.name for one in answer.boards} == {"cpu-emulator"}
    assert answer.headline.startswith("At <= 20.25 ms on cpu-emulator: ship ")
    with pytest.raises(InvalidRequestError, match="its boards are device, cpu-emulator"):
        nas.searches.answer(search.id, board="nobody")


def test_the_command_takes_a_latency_for_each_board(
    url: str, search: SearchResource, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del search
    monkeypatch.setenv("COLUMNS", "200")
    ours = ["--server", url, "--token", ADMIN]
    asked = ["search", "answer", "two-boards", "--latency-ms", "8.1", "--latency-ms", "20.25@cpu-emulator"]
    assert cli.main([*asked, *ours]) == ExitStatus.DONE
    said = capsys.readouterr().out
    assert "At <= 8.1 ms on rk3588 and <= 20.25 ms on cpu-emulator: ship" in " ".join(said.split())
    assert cli.main(["search", "front", "two-boards", "--board", "cpu-emulator", *ours]) == ExitStatus.DONE
    assert "measured on an emulated device: latency_us@cpu-emulator" in capsys.readouterr().out
    assert cli.main(["search", "answer", "two-boards", "--latency-ms", "fast@cpu-emulator", *ours]) == ExitStatus.USAGE
    assert "fast@cpu-emulator: write a number above 0" in " ".join(capsys.readouterr().err.split())


def test_what_the_how_to_page_prints_is_run(
    url: str,
    search: SearchResource,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HILNAS_URL", url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "several_boards.yaml").write_text(_spec_of_page(), encoding="utf-8")
    console = re.search(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert console is not None
    create, *asked = console[1].strip().splitlines()
    assert cli.main([*shlex.split(create.removeprefix("$ hilnas ")), "--validate"]) == ExitStatus.DONE
    capsys.readouterr()
    said = []
    for line in asked:
        assert cli.main(shlex.split(line.removeprefix("$ hilnas "))) == ExitStatus.DONE, line
        said.append(" ".join(capsys.readouterr().out.split()))
    assert len(said) == 6
    assert f"ship {search.short_id}.2" in said[3]
    assert f"ship {search.short_id}" in said[4]
    assert f"{search.short_id}.1" not in said[5]


def test_the_page_shows_the_latency_on_each_board(client: httpx2.Client, world: World, search: SearchResource) -> None:
    page = world.client(None)
    page.cookies.set("hilnas_session", world.session())
    shown = page.get(f"/searches/{search.id}").text + page.get(f"/fragments/searches/{search.id}/candidates").text
    assert "latency p50 on cpu-emulator" in shown
