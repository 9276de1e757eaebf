"""Fronts of several searches side by side: over REST, by the SDK and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator

import moocore
import numpy as np
import pytest

from hilnas.cli import main as cli
from hilnas.client.client import Hilnas
from hilnas.client.errors import InvalidRequestError, NotFoundError
from nas_engine.domain.uncertainty import value_text
from tests.support.worlds.api_world import ADMIN, World, cheap_spec, latency_spec
from tests.support.worlds.served_world import served

SEARCHES = {"left": [(0, 0, 0, 0), (1, 0, 0, 0)], "right": [(3, 3, 3, 3), (2, 1, 0, 0), (1, 0, 0, 0)]}
TWO = [{"metric": "macs"}, {"metric": "params"}]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = World.open(tmp_path_factory.mktemp("comparisons") / "home")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with served(world) as address:
        yield address


@pytest.fixture(scope="module")
def nas(world: World, url: str) -> Iterator[Hilnas]:
    """With two searches of the same objectives that are over, and one that has no front yet."""
    with Hilnas(url, ADMIN) as client:
        for name, genotypes in SEARCHES.items():
            client.searches.create(cheap_spec(len(genotypes), name=name, objectives=TWO))
            world.step(genotypes)
            world.step(last=True)
        client.searches.create(cheap_spec(2, name="empty", objectives=TWO))
        yield client


def test_hypervolumes_are_those_of_all_points_against_one_reference(nas: Hilnas) -> None:
    found = nas.searches.compare(["left", "right", "empty"])
    assert [one.name for one in found.searches] == ["left", "right", "empty"]
    assert found.reference_point is not None
    everything = [point.values for one in found.searches for point in one.points]
    assert everything
    assert all(value < most for row in everything for value, most in zip(row, found.reference_point, strict=True))
    for one in (*found.searches, None):
        rows = everything if one is None else [point.values for point in one.points]
        wanted = moocore.hypervolume(np.array(rows), ref=found.reference_point) if rows else 0.0
        assert (found.hypervolume if one is None else one.hypervolume) == pytest.approx(wanted)
    best = [tuple(row) for row in moocore.filter_dominated(np.array(everything))]
    joint = [tuple(point.values) for one in found.searches for point in one.points if point.on_joint_front]
    assert set(joint) == set(best)
    assert sum(one.num_on_joint_front for one in found.searches) == len(joint)


def test_each_is_the_front_that_the_search_itself_has(nas: Hilnas) -> None:
    found = nas.searches.compare(["left"])
    (only,) = found.searches
    assert [point.values for point in only.points] == [point.values for point in nas.searches.front("left").points]
    assert only.share == pytest.approx(1.0)
    assert len(found.to_pandas()) == 1


def test_the_command_prints_a_table_and_the_same_as_json(
    nas: Hilnas, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HILNAS_URL", url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    assert cli.main(["search", "compare", "left", "right"]) == 0
    printed = capsys.readouterr().out
    found = nas.searches.compare(["left", "right"])
    assert value_text(found.hypervolume) in printed
    assert all(value_text(one.hypervolume) in printed for one in found.searches)
    assert cli.main(["search", "compare", "left", "right", "--json"]) == 0
    (printed,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    ]  # beside the server's log
    assert json.loads(printed) == found.model_dump(mode="json")
    assert cli.main(["search", "compare", "empty"]) == 0
    assert "No search has a front yet" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused_in_words(world: World, nas: Hilnas) -> None:
    with pytest.raises(NotFoundError, match="nothere"):
        nas.searches.compare(["left", "nothere"])
    world.enrol()
    nas.searches.create(latency_spec(2, name="other-axes"))
    with pytest.raises(InvalidRequestError, match="compared along the same axes"):
        nas.searches.compare(["left", "other-axes"])
