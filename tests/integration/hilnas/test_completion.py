"""What shells complete: ids and names that a server lists, and nothing where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

import pytest

from hilnas.client.client import Hilnas
from server.fleet.device import Device
from tests.support.paths import ROOT
from tests.support.worlds.api_world import ADMIN, World, latency_spec
from tests.support.worlds.served_world import served


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = World.open(tmp_path_factory.mktemp("completion") / "home")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def board(world: World) -> Device:
    return world.enrol()


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with served(world) as address:
        yield address


def completed(words: str, environment: Mapping[str, str]) -> tuple[list[str], str]:
    """What a shell is told may follow, and what would disturb the line that is typed."""
    asked = {"_HILNAS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HILNAS_")}
    done = subprocess.run(
        [sys.executable, "-m", "hilnas.cli.main"],
        env={**kept, **asked, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else [], done.stderr


def offered(words: str, environment: Mapping[str, str]) -> list[str]:
    """As `completed`; asked again where a busy machine did not answer within the second that shells wait."""
    tries = (completed(words, environment)[0] for _ in range(5))
    return next((found for found in tries if found), [])


def test_candidates_are_completed_from_fronts(world: World, url: str, board: Device) -> None:
    there = {"HILNAS_URL": url, "HILNAS_TOKEN": ADMIN}
    with Hilnas(url, ADMIN) as nas:
        made = nas.searches.create(latency_spec(2, name="measured"))
        world.step([(0, 0, 0, 0), (1, 0, 0, 0)])
        world.convert_all()
        world.measure_all(board)
        world.step(last=True)
        front = nas.searches.front(made.id)
    assert front.points
    wanted = {point.candidate.short_id for point in front.points}
    assert wanted <= set(offered("hilnas candidates explain ", there))
    typed = {f"measured.{point.candidate.seq}" for point in front.points}
    assert set(offered("hilnas candidates show measured.", there)) == typed


@pytest.mark.usefixtures("board")
def test_ids_and_names_are_completed_as_the_server_lists_them(url: str) -> None:
    there = {"HILNAS_URL": url, "HILNAS_TOKEN": ADMIN}
    with Hilnas(url, ADMIN) as nas:
        named = nas.searches.create(latency_spec(3, name="front-door"))
        twins = [nas.searches.create(latency_spec(3, name="twin")) for _ in range(2)]
        spaced = nas.searches.create(latency_spec(3, name="two words"))
        (job, *_) = list(nas.jobs.all(limit=1))
    ids = {spaced.id, *(one.id for one in twins)}
    assert set(offered("hilnas search show ", there)) - {"measured"} == {"front-door", *ids}
    assert offered("hilnas search cancel fr", there) == ["front-door"]
    assert offered(f"hilnas search front {named.id[:8]}", there).count(named.id) == 1
    assert offered(f"hilnas search front {spaced.id[-8:-2]}", there) == [spaced.id[-8:]]
    assert offered("hilnas devices drain be", there) == ["bench-1"]
    assert completed("hilnas jobs list --search tw", there)[0] == []  # of two a name tells neither
    assert job.id in offered("hilnas jobs show job_", there)
    assert offered("hilnas spaces show spo", there) == ["spos"]
    assert offered("hilnas measurements create x --device-type rk", there) == ["rk3588"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://nowhere.invalid:8080", "not an address"])
def test_without_a_server_nothing_is_completed_nor_said(address: str) -> None:
    assert completed("hilnas search show ", {"HILNAS_URL": address}) == ([], "")


def test_a_server_that_says_nothing_is_not_waited_for_long() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_s = time.monotonic()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert completed("hilnas search show ", {"HILNAS_URL": address}) == ([], "")
        assert time.monotonic() - started_s < 30.0  # far from the 30 s and four tries that other commands grant


def test_recipes_are_completed_without_a_server() -> None:
    found, said = completed("hilnas presets show alpha", {"HILNAS_URL": "http://127.0.0.1:1"})
    assert (found, said) == (["alphanet-imagenet"], "")
